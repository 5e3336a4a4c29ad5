"""The runtimes that functions run on. Each has a sender, which delivers an invocation to a function."""
