"""The steps, one module a family, and their registry."""
