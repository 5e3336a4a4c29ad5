"""Requests of the driver to functions, and their replies."""
