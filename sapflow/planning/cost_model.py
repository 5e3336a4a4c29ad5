"""The law of a step's time: eq. 1 of Feng et al. (2018) with terms for what else a step waits for. Pure.

    t = step + request                                        the driver and the commit
      + n · dispatch + waves · t(worker)                      the workers
      + Σ levels (level + dispatches + waves · t(merger))     the tree; the root's two phases count as two levels

    t(merger) = call + fan-in · (child + bytes · child_byte) + request + bytes · write
                + rounds · (fetch + bytes · fetch_byte)

Each t is a sum of counts times `Constants`. With M shards there are M trees of an M-th of the bytes, and a worker
writes M objects. Calls beyond the instances that run at once wait: they come in waves. A level's calls leave the
driver while those below are at work, except the last group's, one a shard. Mergers read ahead: small children of a
store that is far away come READ_AHEAD at a time, so many rounds; large ones come one after the other, and the next
one is asked for meanwhile.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from sapflow.planning.constants import Constants, Units
from sapflow.quantities import structure
from sapflow.quantities.prices import Price, cost
from sapflow.quantities.read_ahead import READ_AHEAD, SMALL
from sapflow.quantities.roles import Role
from sapflow.quantities.structure import Structure

FLOAT = 4
_CAUSES = {
    "step": "driver",
    "level": "driver",
    "dispatch": "driver",
    "call": "calls",
    "request": "store requests",
    "read": "store bytes",
    "write": "store bytes",
    "child": "merging",
    "child_byte": "merging",
    "fetch": "store requests",
    "fetch_byte": "store bytes",
}
CAUSES = ("computing", *dict.fromkeys(_CAUSES.values()), "waiting for instances")
"""Where a step's time goes."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a step of a job has to do, whatever its tree. Memory in bytes."""

    workers: int
    parameters: int
    """Trained float32 values."""
    compute_seconds: float
    """Of one worker in one step."""
    averaged: int = 0
    """Values behind the parameters that are averaged past the optimiser."""
    slots: int = 0
    """The root's state vectors."""
    worker_memory: int = 512 << 20
    merger_memory: int = 256 << 20
    merger_cpus: float = 1.0
    """Below 1, summing takes that much longer."""
    mergers: Role = "merger"
    """Who merges: warm workers may."""
    cpu_limits: tuple[float | None, float | None] = (None, None)
    """CPUs that a worker and a merger are billed for; None: what comes with their memory."""
    instances: int | None = None
    """Calls that can be at work at once; None: any number."""

    @property
    def total(self) -> int:
        """Values of a contribution."""
        return self.parameters + self.averaged

    def memory(self, role: Role) -> int:
        return self.worker_memory if role == "worker" else self.merger_memory

    def cost(self, price: Price, role: Role, seconds: float) -> float:
        """USD of one call."""
        limit = self.cpu_limits[0] if role == "worker" else self.cpu_limits[1]
        return cost(price, self.memory(role), seconds, limit)


@dataclass(frozen=True, slots=True)
class Leg:
    """Invocations of one kind: workers, one level of mergers in all shards, or one phase of the root."""

    name: str
    role: Role
    calls: int
    units: Units
    """Of the largest invocation."""
    seconds: float
    """Of the largest invocation, computing included."""
    waves: int
    dispatches: float
    """Calls of the driver that the leg waits for."""
    span: float
    """Seconds that the leg adds to the step."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """A step under one tree."""

    seconds: float
    dollars: float
    calls: int
    parts: dict[str, float]
    """Seconds of the step by cause."""
    legs: tuple[Leg, ...]

    @property
    def bottleneck(self) -> str:
        """The cause that most of the step is spent on."""
        return max(self.parts, key=lambda cause: self.parts[cause])


@dataclass(frozen=True, slots=True)
class Law:
    """Predicts steps of one job under one set of constants."""

    work: Work
    constants: Constants

    def predict(self, tree: Structure, shards: int, price: Price) -> Prediction:
        """Seconds and dollars of one step. Functions alone are billed, not driver and store."""
        legs = tuple(self.legs(tree, shards))
        parts = dict.fromkeys(CAUSES, 0.0)
        for name, number in self.path(legs).items():
            parts[_CAUSES[name]] += number * getattr(self.constants, name)
        parts["computing"] = self.work.compute_seconds
        parts["waiting for instances"] = sum((leg.waves - 1) * leg.seconds for leg in legs)
        dollars = sum(leg.calls * self.work.cost(price, leg.role, leg.seconds) for leg in legs)
        return Prediction(sum(parts.values()), dollars, sum(leg.calls for leg in legs), parts, legs)

    def path(self, legs: tuple[Leg, ...], *, waiting: bool = False) -> dict[str, float]:
        """The units that the step's time consists of, `waiting` for instances included or not."""
        units = {name: float(number) for name, number in self.fixed().items()}
        for leg in legs:
            times = leg.waves if waiting else 1
            own = {"dispatch": leg.dispatches, "level": float(leg.name != "workers")}
            for taken, factor in ((leg.units, times), (own, 1)):
                for name, number in taken.items():
                    units[name] = units.get(name, 0.0) + factor * number
        return units

    def legs(self, tree: Structure, shards: int) -> Iterator[Leg]:
        """From the workers to the root."""
        workers = self.workers(shards)
        yield workers
        top = structure.levels(tree)
        for level in range(1, top):
            below, here = structure.width(tree, level - 1), structure.width(tree, level)
            yield self.mergers(below, here, shards, workers if level == 1 else None, f"level {level}")
        yield from self.root(structure.width(tree, top - 1), shards, flat=top == 1)

    def fixed(self) -> Units:
        """What a step costs whatever its tree: the driver's own work and the commit."""
        return {"step": 1, "request": 1}

    def workers(self, shards: int) -> Leg:
        """All ranks. The driver calls them one after the other, instances permitting they work at once."""
        calls, units = self.work.workers, self.worker_units(shards)
        seconds = self.work.compute_seconds + self.constants.seconds(units)
        return self._leg("workers", "worker", calls, units, seconds, calls, self._at_once(calls))

    def mergers(self, below: int, here: int, shards: int, first: Leg | None, name: str = "") -> Leg:
        """A level of `here` mergers in each shard above `below` nodes; `first` are the workers on level 1."""
        calls, units = here * shards, self.merge_units(-(-below // here), shards)
        # The last group's calls, and on level 1 whatever the driver had no time for while the workers worked.
        dispatches = float(shards)
        if first is not None and calls > shards and self.constants.dispatch > 0:
            # The driver calls mergers once it has called all workers, and once the first of them are done.
            started = max(first.calls * self.constants.dispatch, first.seconds)
            spare = (first.span - started) / self.constants.dispatch
            dispatches = max(dispatches, calls - spare)
        return self._leg(
            name, self.work.mergers, calls, units, self.constants.seconds(units), dispatches, shards
        )

    def root(self, below: int, shards: int, *, flat: bool) -> tuple[Leg, ...]:
        """The root's one phase, or its two where the vector is cut; `flat`: nobody else merges."""
        names = ("root",) if shards == 1 else ("root, sum", "root, apply")
        legs = []
        for name, units in zip(names, self.root_units(below, shards, flat=flat), strict=True):
            seconds = self.constants.seconds(units)
            legs.append(self._leg(name, self.work.mergers, shards, units, seconds, shards, shards))
        return tuple(legs)

    def _at_once(self, calls: int) -> int:
        return calls if self.work.instances is None else min(calls, self.work.instances)

    def _leg(
        self, name: str, role: Role, calls: int, units: Units, seconds: float, dispatches: float, fill: int
    ) -> Leg:
        """`fill`: calls that the driver makes before the first wave of a leg that waits is under way."""
        waves = math.ceil(calls / self._at_once(calls))
        span = dispatches * self.constants.dispatch + seconds
        if waves > 1:
            fill = self._at_once(fill)
            queued = fill * self.constants.dispatch + waves * seconds
            if queued > span:
                return Leg(name, role, calls, units, seconds, waves, fill, queued)
        return Leg(name, role, calls, units, seconds, 1, dispatches, span)

    def worker_units(self, shards: int) -> Units:
        """Reads all parameters, writes a contribution, both one object a shard."""
        size = FLOAT * self.work.total
        return {"call": 1, "request": 2 * shards, "read": size, "write": size}

    def merge_units(self, fan_in: int, shards: int) -> Units:
        """Sums its children and writes the sum."""
        part = FLOAT * self.work.total / shards
        return {"call": 1, "request": 1, "write": part, **self._sum(fan_in, part)}

    def root_units(self, fan_in: int, shards: int, *, flat: bool) -> list[Units]:
        """Sums, takes norms, updates (two more passes over the bytes) and writes parameters and optimiser state.

        A root of which there is one instance keeps both warm; any other reads what the last step's wrote.
        """
        work = self.work
        part, objects = FLOAT * work.total / shards, 1 + (work.slots > 0)
        state = part + FLOAT * work.slots * work.parameters / shards
        warm = flat and shards == 1
        update: dict[str, float] = {
            "request": objects * (1 if warm else 2),
            "read": 0 if warm else state,
            "write": state,
        }
        if shards == 1:
            return [{"call": 1, **update, **self._sum(fan_in, part, passes=2)}]
        apply = {**update, "request": update["request"] + 1, "read": update["read"] + part}
        total: Units = {"call": 1, "request": 1, "write": part, **self._sum(fan_in, part, passes=1)}
        return [total, {"call": 1, **apply, "child_byte": part / self._speed}]

    def _sum(self, fan_in: int, part: float, passes: int = 0) -> dict[str, float]:
        return {
            "child": fan_in / self._speed,
            "child_byte": (fan_in + passes) * part / self._speed,
            **self._fetches(fan_in, part),
        }

    def _fetches(self, fan_in: int, part: float) -> dict[str, float]:
        """How often a merger waits for answers of a store far away, and for how many bytes on one connection."""
        if part <= SMALL:
            rounds = -(-fan_in // READ_AHEAD)
            return {"fetch": rounds, "fetch_byte": rounds * part}
        # Streams: while one comes in, the next one is asked for.
        asking = self.constants.fetch > part * self.constants.fetch_byte
        return {"fetch": fan_in if asking else 1, "fetch_byte": (1 if asking else fan_in) * part}

    @property
    def _speed(self) -> float:
        return min(1.0, self.work.merger_cpus)
