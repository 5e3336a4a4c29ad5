"""The planner: of all sensible merge trees and shard counts those of least time, or of least dollars. Pure.

A level's least number of mergers for a fan-in f is ⌈width below / f⌉: more would cost calls and bring nothing. As
⌈⌈n/a⌉/b⌉ = ⌈n/(ab)⌉, all widths of such trees are among the ⌈n/f⌉, of which there are at most 2√n. The law adds up
over levels, so the least way from each width to the root is found by dynamic programming, and the best trees come
out of a best-first search with that as its bound, in order and exactly.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

from sapflow.errors import SpecError
from sapflow.planning.constants import Constants
from sapflow.planning.cost_model import Law, Leg, Prediction, Work
from sapflow.quantities.memory import Estimate, estimate_mergers
from sapflow.quantities.prices import Price
from sapflow.quantities.structure import Structure

MOST_LEVELS = 4
"""k: levels between workers and root. Of 10,000 workers no merger need then have more than 7 children."""
SHARDS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
_DIGITS = 11

Objective = Literal["seconds", "dollars"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to merge, and what the law says of it."""

    structure: Structure
    shards: int
    prediction: Prediction


def candidate(work: Work, constants: Constants, price: Price, tree: Structure, shards: int) -> Candidate:
    """What the law says of a given tree."""
    return Candidate(tree, shards, Law(work, constants).predict(tree, shards, price))


def merger_memory(work: Work, shards: int) -> Estimate:
    """The least memory of a merger. It does not grow with the number of children, only with a shard's bytes."""
    return estimate_mergers(
        total=work.total, parameters=work.parameters, slots=work.slots, shards=min(shards, work.total)
    )


def feasible_shards(work: Work, most: int, choices: Sequence[int] = SHARDS) -> list[int]:
    """Those of `choices`, `most` at most, with which a merger can hold its sum.

    Raises SpecError where there is none: then no structure helps either.
    """
    limit = work.memory(work.mergers)
    held = [
        shards for shards in choices if shards <= most and merger_memory(work, shards).shortage(limit) is None
    ]
    if not held:
        shortage = merger_memory(work, max(1, min(most, max(choices)))).shortage(limit)
        raise SpecError([(f"spec.memory.{work.mergers}", f"{shortage}, whatever the structure")])
    return held


def search(
    work: Work,
    constants: Constants,
    price: Price,
    *,
    shards: Sequence[int] = (1,),
    objective: Objective = "seconds",
    most: int = 10,
    max_levels: int = MOST_LEVELS,
) -> list[Candidate]:
    """The `most` best trees over `shards`, best first; all of them where there are fewer.

    Of equal ones that with fewer levels and mergers comes first. `feasible_shards` says which shards to try.
    """
    ranking = ranked(work, constants, price, shards=shards, objective=objective, max_levels=max_levels)
    return list(islice(ranking, most))


def ranked(
    work: Work,
    constants: Constants,
    price: Price,
    *,
    shards: Sequence[int] = (1,),
    objective: Objective = "seconds",
    max_levels: int = MOST_LEVELS,
) -> Iterator[Candidate]:
    """All sensible trees over `shards`, best first, each found when it is asked for."""
    trees = [_Trees(work, constants, price, number, objective) for number in shards]
    # A number of shards enters with a bound that is cheap, and is looked into only where that is good enough.
    heap = [_Partial(each.least(), index, (), 0.0) for index, each in enumerate(trees)]
    heapq.heapify(heap)
    while heap:
        best = heapq.heappop(heap)
        each = trees[best.index]
        if not best.widths:
            bound = each.base + each.bound(work.workers, max_levels + 1)
            heapq.heappush(heap, _Partial(bound, best.index, (work.workers,), each.base))
            continue
        if best.done:
            yield candidate(work, constants, price, best.widths[::-1], each.shards)
            continue
        below, left = best.widths[-1], max_levels + 1 - (len(best.widths) - 1)
        for here in each.steps(below):
            spent = best.spent + each.weight(below, here)
            if here == 1:
                heapq.heappush(heap, _Partial(spent, best.index, (*best.widths, 1), spent, done=True))
            elif left > 1:
                bound = spent + each.bound(here, left - 1)
                heapq.heappush(heap, _Partial(bound, best.index, (*best.widths, here), spent))


@dataclass(frozen=True, slots=True)
class _Partial:
    """The beginning of a tree, workers first; `bound` is what a whole one with it costs at least."""

    bound: float
    index: int
    widths: tuple[int, ...]
    spent: float
    done: bool = False
    rank: float = field(init=False)
    """`bound` to so few digits that sums of the same terms in another order are the same, but for one in millions."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "rank", float(f"{self.bound:.{_DIGITS}g}"))

    def __lt__(self, other: "_Partial") -> bool:
        return self._order < other._order

    @property
    def _order(self) -> tuple[float, int, int, int]:
        return (self.rank, len(self.widths), sum(self.widths), self.index)


class _Trees:
    """What levels of trees cost under one number of shards; widths are walked from the workers to the root."""

    def __init__(
        self,
        work: Work,
        constants: Constants,
        price: Price,
        shards: int,
        objective: Objective,
    ) -> None:
        self.shards = shards
        self._work, self._price, self._objective = work, price, objective
        self._law = Law(work, constants)
        self._level_seconds = constants.level
        self._workers = self._law.workers(shards)
        seconds = constants.seconds(self._law.fixed()) + self._workers.span
        self.base = seconds if objective == "seconds" else self._dollars([self._workers])
        self._weights: dict[tuple[int, int], float] = {}
        self._bounds: dict[tuple[int, int], float] = {}
        self._steps: dict[int, tuple[int, ...]] = {}

    def least(self) -> float:
        """A bound on every tree: the workers, and a root with a single child."""
        return self.base + self._of(self._law.root(1, self.shards, flat=True))

    def steps(self, width: int) -> tuple[int, ...]:
        """The widths of a sensible level above `width`: 1, which is the root, and ⌈width/f⌉."""
        known = self._steps.get(width)
        if known is None:
            fan_ins = _fan_ins(width)
            known = self._steps[width] = (1, *(above for above in fan_ins if 1 < above < width))
        return known

    def weight(self, below: int, here: int) -> float:
        """What a level adds."""
        known = self._weights.get((below, here))
        if known is None:
            known = self._weights[below, here] = self._of(self._legs(below, here))
        return known

    def bound(self, width: int, levels: int) -> float:
        """The least that is still to come above `width` in at most so many levels, the root's included."""
        known = self._bounds.get((width, levels))
        if known is None:
            known = self.weight(width, 1)
            if levels > 1:
                for above in self.steps(width):
                    if above > 1:
                        known = min(known, self.weight(width, above) + self.bound(above, levels - 1))
            self._bounds[width, levels] = known
        return known

    def _legs(self, below: int, here: int) -> Sequence[Leg]:
        first = below == self._work.workers
        if here == 1:
            return self._law.root(below, self.shards, flat=first)
        return [self._law.mergers(below, here, self.shards, self._workers if first else None)]

    def _of(self, legs: Sequence[Leg]) -> float:
        """What merging legs cost."""
        if self._objective == "seconds":
            return sum(leg.span + self._level_seconds for leg in legs)
        return self._dollars(legs)

    def _dollars(self, legs: Sequence[Leg]) -> float:
        return sum(leg.calls * self._work.cost(self._price, leg.role, leg.seconds) for leg in legs)


def _fan_ins(width: int) -> Iterator[int]:
    """The distinct ⌈width/f⌉ for f = 2, 3, …, largest first."""
    fan_in = 2
    while fan_in < width:
        above = -(-width // fan_in)
        yield above
        # The least fan-in that needs fewer mergers.
        fan_in = -(-width // (above - 1)) if above > 1 else width
