"""How large the blocks are that data is cut into."""

MAX_BLOCK_BYTES = 8 << 20
