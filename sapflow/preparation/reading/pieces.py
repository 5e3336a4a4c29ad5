"""Partitions of consecutive pieces of files."""

from collections.abc import Sequence

from sapflow.preparation.reading.reader import PARTITION_BYTES, Partition, Piece

MAX_PIECES = 1024


def grouped(pieces: Sequence[Piece], sizes: Sequence[int] | None = None) -> tuple[Partition, ...]:
    """Partitions of up to PARTITION_BYTES and MAX_PIECES, in the pieces' order. `sizes` are the pieces' in bytes, where
    their `begin` and `end` are none."""
    sizes = [piece.end - piece.begin for piece in pieces] if sizes is None else sizes
    partitions: list[Partition] = []
    group: list[Piece] = []
    total = 0
    for piece, size in zip(pieces, sizes, strict=True):
        if group and (total + size > PARTITION_BYTES or len(group) == MAX_PIECES):
            partitions.append(Partition(pieces=tuple(group)))
            group, total = [], 0
        group.append(piece)
        total += size
    if group:
        partitions.append(Partition(pieces=tuple(group)))
    return tuple(partitions)
