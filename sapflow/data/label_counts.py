"""Counts of labels by block, and how far blocks differ in them.

The cut shuffles samples within a few blocks only. A source that is sorted by class, or comes in parts of other
mixtures, gives blocks that differ, and so do the samples of workers and of consecutive steps.

The counts are bounded, whatever the data: labels are folded into LABELS numbers, and blocks into GROUPS groups of
consecutive ones.
"""

from collections.abc import Sequence

import numpy as np

from sapflow.tasks.task import Task

LABELS, GROUPS = 64, 1024
MARKED = 0.25
"""The share of a block's samples by which it differs markedly from all samples."""

Counts = tuple[tuple[int, ...], ...]


class LabelCounts:
    """Counts the labels of one block after the other."""

    def __init__(self, task: type[Task]) -> None:
        self._task = task
        self._blocks: list[np.ndarray] = []

    def add(self, targets: np.ndarray) -> None:
        """Count the next block's labels."""
        labels = self._task.labels(targets)
        if labels is not None:
            self._blocks.append(np.bincount(labels % LABELS, minlength=LABELS).astype(np.int32))

    def finish(self) -> Counts:
        """How often each label is in each group of blocks, without labels that are nowhere; () without labels."""
        if not self._blocks:
            return ()
        width = -(-len(self._blocks) // GROUPS)
        groups = [sum(self._blocks[at : at + width]) for at in range(0, len(self._blocks), width)]
        counts = np.array(groups, np.int64)
        return tuple(tuple(map(int, row)) for row in counts[:, counts.any(axis=0)])


def spread(counts: Sequence[Sequence[int]]) -> float:
    """The mean share of a block's labels that would have to change for it to be like all blocks together.

    What blocks of their sizes differ by at random is subtracted; 0 is the least.
    """
    table = np.array(counts, np.float64)
    if len(table) < 2 or not table.size:
        return 0.0
    sizes = table.sum(axis=1)
    shares = table.sum(axis=0) / table.sum()
    apart = 0.5 * np.abs(table / np.maximum(sizes, 1.0)[:, None] - shares).sum(axis=1)
    # The mean distance between a share of `sizes` draws and its expectation.
    by_chance = 0.5 * np.sqrt(2 / np.pi * shares * (1 - shares) / np.maximum(sizes, 1.0)[:, None]).sum(axis=1)
    return float(max(0.0, ((apart - by_chance) * sizes).sum() / sizes.sum()))
