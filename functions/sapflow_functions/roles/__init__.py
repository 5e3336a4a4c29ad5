"""The roles of functions, one module each, and their handlers."""
