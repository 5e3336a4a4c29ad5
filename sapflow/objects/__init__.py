"""Objects in a store: their keys, their format, and the stores themselves."""
