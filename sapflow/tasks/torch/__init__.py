"""The losses of tasks: the only part of them that imports torch."""
