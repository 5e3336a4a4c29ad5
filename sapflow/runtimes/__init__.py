"""Where functions run, and how an invocation gets to one of them: one sender a runtime."""
