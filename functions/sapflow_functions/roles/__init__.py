"""The roles that a function may have, one module each, and the handlers that they serve."""
