"""Which object holds each rank's newest state of its own, as a commit names it.

A step of all ranks writes one object a rank, all below one version and id, so a commit names them as a range. Ranks
that had no samples in a step keep the object of an earlier one. What a commit holds grows with the number of versions
that are still named, not with the number of ranks.
"""

from collections.abc import Iterable, Iterator, Sequence

from pydantic import Field

from sapflow.messages.message import Message
from sapflow.objects import keys


class RankStates(Message):
    """Ranks whose newest state was written by one step."""

    version: int = Field(ge=1)
    id: str
    ranks: list[tuple[int, int]]
    """Half-open ranges, in order."""


def find(states: Sequence[RankStates] | None, prefix: str, rank: int) -> str | None:
    """The key of a rank's newest state below a job's prefix; None for a rank that has none yet."""
    for each in states or ():
        if any(start <= rank < stop for start, stop in each.ranks):
            return keys.rank_state(prefix, each.version, each.id, rank)
    return None


def after(
    states: Sequence[RankStates] | None, version: int, ident: str, ranks: Iterable[int]
) -> list[RankStates]:
    """What a commit names whose step has written the states of `ranks`."""
    written = set(ranks)
    found = [RankStates(version=version, id=ident, ranks=_ranges(written))]
    for each in states or ():
        left = [rank for rank in _members(each) if rank not in written]
        if left:
            found.append(each.model_copy(update={"ranks": _ranges(left)}))
    return found


def below(states: Sequence[RankStates], workers: int) -> list[RankStates]:
    """The states of the ranks of so many workers: a rank that comes back after there were fewer starts anew."""
    found = []
    for each in states:
        ranks = [(start, min(stop, workers)) for start, stop in each.ranks if start < workers]
        if ranks:
            found.append(each.model_copy(update={"ranks": ranks}))
    return found


def all_keys(states: Sequence[RankStates] | None, prefix: str) -> list[str]:
    """The keys of all states that a commit names."""
    return [
        keys.rank_state(prefix, each.version, each.id, rank)
        for each in states or ()
        for rank in _members(each)
    ]


def _members(states: RankStates) -> Iterator[int]:
    for start, stop in states.ranks:
        yield from range(start, stop)


def _ranges(ranks: Iterable[int]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for rank in sorted(ranks):
        if found and found[-1][1] == rank:
            found[-1] = (found[-1][0], rank + 1)
        else:
            found.append((rank, rank + 1))
    return found
