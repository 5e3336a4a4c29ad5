"""How far a merger reads ahead: what it does, and what the cost model counts."""

READ_AHEAD = 4
"""Children of a remote store that a merger asks for before they are needed."""
SMALL = 1 << 20
"""Bytes up to which it reads a remote child whole, ahead; larger ones are streamed."""
