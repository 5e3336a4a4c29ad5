"""Objects in a store: their keys, their format, and the stores that hold them."""
