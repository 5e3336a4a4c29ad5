"""Cutting ranges of samples into batches."""


def micro_batches(begin: int, end: int, batch: int, size: int) -> list[tuple[int, int]]:
    """`begin` to `end` cut into batches of `batch`, each cut into micro-batches of at most `size`."""
    return [
        (micro, min(micro + size, start + batch, end))
        for start in range(begin, end, batch)
        for micro in range(start, min(start + batch, end), size)
    ]
