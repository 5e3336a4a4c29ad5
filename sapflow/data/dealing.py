"""Which samples of an epoch each rank takes, and in which step: pure arithmetic on places, without any data.

An epoch's blocks, permuted, lie end to end: N samples. Rank r of n owns the range from ⌊rN/n⌋ to ⌊(r+1)N/n⌋ and takes
its samples in the range's own order (`sapflow.data.order`): `per_rank` of them in each step, and in the last step what
is left, in which ranks differ by at most one sample. So a rank reads its own part of the data and no other, and any
number of workers uses every sample exactly once.

If the number of workers changes within an epoch, the places that no rank has taken, joined in the order of the ranks,
are dealt by the same rule. They keep their order: nothing is permuted again.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

WINDOW = 4
"""Pieces of blocks whose samples are mixed, of all ranks together."""


def steps_per_epoch(samples: int, per_step: int, *, drop_last: bool = False) -> int:
    """The number of steps that use `samples` once, `per_step` in each.

    The last step may have fewer, or is left out with `drop_last`.
    """
    return samples // per_step if drop_last else -(-samples // per_step)


def window_of(workers: int) -> int:
    """The number of pieces of blocks in which a rank's samples are mixed, where there are so many workers."""
    return max(1, WINDOW // workers)


@dataclass(frozen=True, slots=True)
class Share:
    """Places `begin` to `end` of the order of the range from `first` to `stop`.

    The range is in samples of the epoch, its blocks laid end to end. `window` pieces of it are mixed.
    """

    first: int
    stop: int
    window: int
    begin: int
    end: int

    @property
    def samples(self) -> int:
        return self.end - self.begin


class Deal:
    """What is left of an epoch, dealt to a number of workers."""

    def __init__(
        self,
        samples: int,
        per_rank: int,
        workers: int,
        earlier: Sequence[tuple[int, int]] = (),
        *,
        drop_last: bool = False,
    ) -> None:
        """`samples` is N, `per_rank` what a rank takes in a full step. `earlier` are the dealings of this epoch before
        this one: the number of workers, and how many steps they took."""
        self.workers, self.per_rank, self._samples = workers, per_rank, samples
        tail: list[Share] | None = None
        for count, steps in earlier:
            before = Deal(samples, per_rank, count)
            before._take(tail)
            tail = before._left(steps)
        self._take(tail)
        self.drop_last = drop_last

    def _take(self, tail: list[Share] | None) -> None:
        self._tail = tail
        self._starts = [0, *accumulate(share.samples for share in tail or ())]
        self.samples = self._samples if tail is None else self._starts[-1]

    @property
    def used(self) -> int:
        """The number of the epoch's samples that earlier dealings have used."""
        return self._samples - self.samples

    @property
    def steps(self) -> int:
        """The number of steps that this deal lasts."""
        return steps_per_epoch(self.samples, self.workers * self.per_rank, drop_last=self.drop_last)

    def step_at(self, used: int) -> int:
        """The number of the step, from 0, before which so many of the epoch's samples are used."""
        return (used - self.used) // (self.workers * self.per_rank)

    def used_after(self, steps: int) -> int:
        """The number of the epoch's samples that are used after so many steps of this deal."""
        return self.used + min(self.samples, steps * self.workers * self.per_rank)

    def size(self, rank: int) -> int:
        """The number of samples that a rank owns."""
        first, stop = self._owned(rank)
        return stop - first

    def count(self, rank: int, step: int) -> int:
        """The number of samples of a rank in a step of this deal."""
        begin = min(self.size(rank), step * self.per_rank)
        return min(self.size(rank), begin + self.per_rank) - begin

    def shares(self, rank: int, step: int) -> list[Share]:
        """The samples of a rank in a step of this deal, in the order in which it takes them; none: []."""
        begin = step * self.per_rank
        return self._places(rank, begin, begin + self.count(rank, step))

    def _owned(self, rank: int) -> tuple[int, int]:
        return rank * self.samples // self.workers, (rank + 1) * self.samples // self.workers

    def _places(self, rank: int, begin: int, end: int) -> list[Share]:
        """Places `begin` to `end` of what a rank owns."""
        if end <= begin:
            return []
        first, stop = self._owned(rank)
        if self._tail is None:
            return [Share(first, stop, window_of(self.workers), begin, end)]
        found, at = [], first + begin
        index = bisect_right(self._starts, at) - 1
        while at < first + end:
            share, start = self._tail[index], self._starts[index]
            until = min(first + end, self._starts[index + 1])
            if until > at:
                found.append(replace(share, begin=share.begin + at - start, end=share.begin + until - start))
            at, index = max(at, until), index + 1
        return found

    def _left(self, steps: int) -> list[Share]:
        """What no rank has taken after so many steps, in the order of the ranks."""
        taken = steps * self.per_rank
        return [share for rank in range(self.workers) for share in self._places(rank, taken, self.size(rank))]
