"""How far a merger reads ahead. Mergers and the cost model use the same figures."""

READ_AHEAD = 4
"""Number of children that a merger requests from a remote store before it needs them."""
SMALL = 1 << 20
"""Bytes up to which a merger reads a remote child ahead in one piece; larger children are streamed."""
