"""Readers of raw sources: how they are cut into partitions, and batches of their rows."""
