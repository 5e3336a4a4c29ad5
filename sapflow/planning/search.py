"""The planner: finds the merge trees and shard counts of least time or least cost. Pure.

With a fan-in of f, a level needs ⌈width below / f⌉ mergers: more would cost calls and gain nothing. As
⌈⌈n/a⌉/b⌉ = ⌈n/(ab)⌉, all widths of such trees are among the ⌈n/f⌉, of which there are at most 2√n. The cost model is a
sum over levels. So dynamic programming gives the least cost from each width to the root, and a best-first search
with that as its bound yields the best trees, exactly and in order.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

from sapflow.errors import SpecError
from sapflow.planning.constants import Constants
from sapflow.planning.cost_model import CostModel, Prediction, Stage, Work
from sapflow.quantities.memory import Estimate, estimate_mergers
from sapflow.quantities.prices import Price
from sapflow.quantities.structure import Structure

MOST_LEVELS = 4
"""The most levels between workers and root (the paper's k). With 4, no merger of 10,000 workers has more than 7
children."""
SHARDS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
_DIGITS = 11

Objective = Literal["seconds", "dollars"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to merge, and what the cost model predicts for it."""

    structure: Structure
    shards: int
    prediction: Prediction


def candidate(work: Work, constants: Constants, price: Price, tree: Structure, shards: int) -> Candidate:
    """The prediction for a given tree."""
    return Candidate(tree, shards, CostModel(work, constants).predict(tree, shards, price))


def merger_memory(work: Work, shards: int) -> Estimate:
    """The least memory that a merger needs. It grows with a shard's bytes, not with the number of children."""
    return estimate_mergers(
        total=work.total, parameters=work.parameters, slots=work.slots, shards=min(shards, work.total)
    )


def feasible_shards(work: Work, most: int, choices: Sequence[int] = SHARDS) -> list[int]:
    """The shard counts among `choices`, none above `most`, with which a merger can hold its sum.

    Raises SpecError if there is none: no structure would help then.
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
    """The best trees over the shard counts `shards`, at most `most`, best first.

    Of equal trees the one with fewer levels and mergers comes first. `feasible_shards` says which shard counts to try.
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
    """All trees over the shard counts `shards` whose levels have no needless merger, best first, found lazily."""
    trees = [_Trees(work, constants, price, number, objective) for number in shards]
    # A shard count enters with a bound that is cheap to compute. Its trees are expanded only once that bound is the
    # best of all.
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
    """The lower levels of a tree, workers first; `bound` is the least cost of a complete tree that starts with them."""

    bound: float
    index: int
    widths: tuple[int, ...]
    spent: float
    done: bool = False
    rank: float = field(init=False)
    """`bound` rounded to so few digits that sums of the same terms in another order almost always compare equal."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "rank", float(f"{self.bound:.{_DIGITS}g}"))

    def __lt__(self, other: "_Partial") -> bool:
        return self._order < other._order

    @property
    def _order(self) -> tuple[float, int, int, int]:
        return (self.rank, len(self.widths), sum(self.widths), self.index)


class _Trees:
    """The costs of levels for one shard count. Trees are built from the workers to the root."""

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
        self._model = CostModel(work, constants)
        self._level_seconds = constants.level
        self._workers = self._model.workers(shards)
        seconds = constants.seconds(self._model.fixed()) + self._workers.span
        self.base = seconds if objective == "seconds" else self._dollars([self._workers])
        self._weights: dict[tuple[int, int], float] = {}
        self._bounds: dict[tuple[int, int], float] = {}
        self._steps: dict[int, tuple[int, ...]] = {}

    def least(self) -> float:
        """A lower bound for every tree: the workers, and a root with a single child."""
        return self.base + self._of(self._model.root(1, self.shards, flat=True))

    def steps(self, width: int) -> tuple[int, ...]:
        """The widths that a level above one of `width` may have: 1, which is the root, and each ⌈width/f⌉."""
        known = self._steps.get(width)
        if known is None:
            fan_ins = _fan_ins(width)
            known = self._steps[width] = (1, *(above for above in fan_ins if 1 < above < width))
        return known

    def weight(self, below: int, here: int) -> float:
        """What a level of `here` mergers above `below` nodes adds to the cost."""
        known = self._weights.get((below, here))
        if known is None:
            known = self._weights[below, here] = self._of(self._stages(below, here))
        return known

    def bound(self, width: int, levels: int) -> float:
        """The least cost of everything above a level of `width`, in at most `levels` levels, the root's included."""
        known = self._bounds.get((width, levels))
        if known is None:
            known = self.weight(width, 1)
            if levels > 1:
                for above in self.steps(width):
                    if above > 1:
                        known = min(known, self.weight(width, above) + self.bound(above, levels - 1))
            self._bounds[width, levels] = known
        return known

    def _stages(self, below: int, here: int) -> Sequence[Stage]:
        first = below == self._work.workers
        if here == 1:
            return self._model.root(below, self.shards, flat=first)
        return [self._model.mergers(below, here, self.shards, self._workers if first else None)]

    def _of(self, stages: Sequence[Stage]) -> float:
        """The cost of merging stages."""
        if self._objective == "seconds":
            return sum(stage.span + self._level_seconds for stage in stages)
        return self._dollars(stages)

    def _dollars(self, stages: Sequence[Stage]) -> float:
        return sum(stage.calls * self._work.cost(self._price, stage.role, stage.seconds) for stage in stages)


def _fan_ins(width: int) -> Iterator[int]:
    """The distinct ⌈width/f⌉ for f = 2, 3, …, largest first."""
    fan_in = 2
    while fan_in < width:
        above = -(-width // fan_in)
        yield above
        # This is the least fan-in with which fewer mergers suffice.
        fan_in = -(-width // (above - 1)) if above > 1 else width
