"""Cutting ranges of samples into batches."""


def micro_batches(samples: int, batch: int, size: int) -> list[tuple[int, int]]:
    """The numbers 0 to `samples` cut into batches of `batch`, each cut into micro-batches of at most `size`."""
    return [
        (micro, min(micro + size, start + batch, samples))
        for start in range(0, samples, batch)
        for micro in range(start, min(start + batch, samples), size)
    ]
