"""A discrete-event simulation of every call of one step. It checks the cost model, whose constants it uses.

The cost model adds up a critical path. Here each call is an event: the driver makes calls one after the other, an
instance serves one at a time, waiting merge calls go before waiting worker calls, and a merger is called as soon as
its own group of children is complete.
"""

import heapq
import math
import random
from collections import deque
from dataclasses import dataclass

from sapflow.planning.constants import Constants
from sapflow.planning.cost_model import CostModel, Work
from sapflow.quantities import structure
from sapflow.quantities.prices import Price
from sapflow.quantities.roles import Role
from sapflow.quantities.structure import Structure

_READY, _CALLED, _DONE = range(3)
_Call = tuple[int, int, int]
"""(level, index, shard). The root is on the last level; the second of its two phases counts as one level more."""


@dataclass(frozen=True, slots=True)
class Simulation:
    """The outcome of one simulated step."""

    seconds: float
    dollars: float
    calls: int
    waited: float
    """Seconds that calls waited for an instance, summed over all calls."""
    most_instances: int
    """The largest number of calls at work at once."""
    driver_busy: float
    """The share of the step in which the driver made calls."""
    ends: dict[int, float]
    """When the last call of each level was answered."""


def simulate(
    work: Work,
    constants: Constants,
    tree: Structure,
    shards: int,
    price: Price,
    *,
    jitter: float = 0.0,
    seed: int = 0,
) -> Simulation:
    """Simulate one step of `tree`.

    Each call's duration is multiplied by a log-normal random number of mean 1 whose sigma is `jitter`.
    """
    return _Step(work, constants, tree, shards, price, jitter, seed).run()


class _Step:
    def __init__(
        self,
        work: Work,
        constants: Constants,
        tree: Structure,
        shards: int,
        price: Price,
        jitter: float,
        seed: int,
    ) -> None:
        self._work, self._constants, self._price = work, constants, price
        self._model = CostModel(work, constants)
        self._tree, self._shards, self._top = tree, shards, structure.levels(tree)
        self._jitter, self._random = jitter, random.Random(seed)
        self._events: list[tuple[float, int, int, _Call]] = []
        self._number = 0
        self._missing: dict[_Call, int] = {}
        self._durations: dict[tuple[int, int], float] = {}
        self._free = work.instances
        self._urgent: deque[tuple[float, _Call]] = deque()
        self._ordinary: deque[tuple[float, _Call]] = deque()
        self._driver_free = 0.0
        self._dollars = self._waited = 0.0
        self._calls = self._busy = self._most = 0
        self._ends: dict[int, float] = {}

    def run(self) -> Simulation:
        for rank in range(self._work.workers):
            self._push(0.0, _READY, (0, rank, 0))
        now = 0.0
        while self._events:
            now, _, kind, call = heapq.heappop(self._events)
            if kind == _READY:
                self._driver_free = max(now, self._driver_free) + self._constants.dispatch
                self._push(self._driver_free, _CALLED, call)
            elif kind == _CALLED:
                self._called(now, call)
            else:
                self._done(now, call)
        seconds = now + self._constants.seconds(self._model.fixed())
        return Simulation(
            seconds=seconds,
            dollars=self._dollars,
            calls=self._calls,
            waited=self._waited,
            most_instances=self._most,
            driver_busy=self._calls * self._constants.dispatch / seconds,
            ends=self._ends,
        )

    def _push(self, when: float, kind: int, call: _Call) -> None:
        self._number += 1
        heapq.heappush(self._events, (when, self._number, kind, call))

    def _called(self, now: float, call: _Call) -> None:
        if self._free == 0:
            (self._urgent if call[0] else self._ordinary).append((now, call))
        else:
            self._start(now, call)

    def _start(self, now: float, call: _Call) -> None:
        if self._free is not None:
            self._free -= 1
        self._busy += 1
        self._most = max(self._most, self._busy)
        self._calls += 1
        level, index, _ = call
        taken = self._duration(level, self._fan_in(level, index)) * self._luck()
        role: Role = "worker" if level == 0 else self._work.mergers
        self._dollars += self._work.cost(self._price, role, taken)
        self._push(now + taken, _DONE, call)

    def _done(self, now: float, call: _Call) -> None:
        self._busy -= 1
        self._ends[call[0]] = now
        if self._free is not None:
            self._free += 1
            for line in (self._urgent, self._ordinary):
                if line:
                    since, waiting = line.popleft()
                    self._waited += now - since
                    self._start(now, waiting)
                    break
        for above in self._above(call):
            missing = self._missing.get(above)
            if missing is None:
                missing = self._shards if above[0] > self._top else self._fan_in(above[0], above[1])
            self._missing[above] = missing - 1
            if missing == 1:
                self._push(now + self._constants.level, _READY, above)

    def _above(self, call: _Call) -> list[_Call]:
        """The calls that wait for this one."""
        level, index, shard = call
        if level == 0:
            return [(1, self._parent(level, index), each) for each in range(self._shards)]
        if level < self._top:
            return [(level + 1, self._parent(level, index), shard)]
        if level == self._top and self._shards > 1:
            return [(level + 1, 0, each) for each in range(self._shards)]
        return []

    def _parent(self, level: int, index: int) -> int:
        return structure.parent(self._tree, level, index)

    def _fan_in(self, level: int, index: int) -> int:
        """The number of children of a call; 0 for workers and for the root's second phase."""
        if not 1 <= level <= self._top:
            return 0
        return len(structure.children(self._tree, level, index))

    def _duration(self, level: int, fan_in: int) -> float:
        known = self._durations.get((level, fan_in))
        if known is None:
            known = self._durations[level, fan_in] = self._computed(level, fan_in)
        return known

    def _computed(self, level: int, fan_in: int) -> float:
        model, shards = self._model, self._shards
        if level == 0:
            return self._work.worker_seconds + self._constants.seconds(model.worker_units(shards))
        if level < self._top:
            return self._constants.seconds(model.merge_units(fan_in, shards))
        flat = self._top == 1
        phase = level - self._top
        below = structure.width(self._tree, self._top - 1)
        return self._constants.seconds(model.root_units(below, shards, flat=flat)[phase])

    def _luck(self) -> float:
        if self._jitter == 0:
            return 1.0
        return math.exp(self._random.gauss(-(self._jitter**2) / 2, self._jitter))
