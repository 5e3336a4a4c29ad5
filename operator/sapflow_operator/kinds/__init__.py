"""The kinds of custom resources: their definitions, and the children of each."""
