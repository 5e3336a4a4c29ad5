"""The cost model of a step's time: eq. 1 of Feng et al. (2018), with terms for what else a step waits for. Pure.

    t = step + request                                        the driver and the commit
      + n · dispatch + waves · t(worker)                      the workers
      + Σ levels (level + dispatches + waves · t(merger))     the tree; the root's two phases count as two levels

    t(worker) = data + computing + call + parameters and contribution, each M requests and their bytes
    t(merger) = call + fan-in · (child + bytes · child_byte) + request + bytes · write
                + rounds · (fetch + bytes · fetch_byte)

Each t is a sum of counts times `Constants`. With M shards there are M trees, each of which carries an M-th of the
bytes, and a worker writes M objects. Calls for which no instance is free wait, so a level runs in waves. The driver
makes a level's calls while the level below is still at work, except those of the last group, one for each shard.
Mergers read ahead: they ask a remote store for READ_AHEAD small children at a time, which makes a number of rounds;
large children come one after the other, and the merger asks for the next one meanwhile. Where contributions are inline,
`inline` and `bytes · inline_byte` stand for a child's and a contribution's store requests; where versions are, the
latter stand for the workers' reads and the root's writes too, which the driver makes while the next step's workers are
at work.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from sapflow.planning.constants import Constants, Units
from sapflow.planning.inline import STEP, fits, version_travels
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
    "inline": "calls",
    "inline_byte": "calls",
}
CAUSES = ("computing", "data", *dict.fromkeys(_CAUSES.values()), "waiting for instances")
"""The causes by which a prediction splits a step's time."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a step of a job has to do, whatever its merge tree. Memory is in bytes."""

    workers: int
    parameters: int
    """Trained float32 values."""
    compute_seconds: float
    """Computing time of one worker in one step."""
    data_seconds: float = 0.0
    """Seconds in which one worker reads the samples of one step. Every tree has them alike."""
    data_bytes: float = 0.0
    """Bytes that it reads of them from the store in a step, on average; what an instance keeps costs none."""
    averaged: int = 0
    """Values behind the parameters that are averaged and bypass the optimiser, such as running statistics."""
    slots: int = 0
    """Number of the optimiser's state vectors that the root keeps."""
    worker_memory: int = 512 << 20
    merger_memory: int = 256 << 20
    merger_cpus: float = 1.0
    """CPUs of a merger; below 1, summing takes longer in proportion."""
    mergers: Role = "merger"
    """The role that merges; with `reuseWorkers` it is the worker."""
    cpu_limits: tuple[float | None, float | None] = (None, None)
    """CPUs that a worker and a merger are billed for; None means those that come with their memory."""
    instances: int | None = None
    """Calls that can be at work at once; None means any number."""
    roots_return: bool = False
    """Whether a root is called on the instance that served it last, where that is free."""
    request_bytes: int = 0
    """Bytes of contributions that one request may carry; 0: all of them go by the store."""
    remote: bool = False
    """Whether requests to the store go over a network; then small versions are inside answers and requests, too."""

    @property
    def total(self) -> int:
        """The number of values in a contribution."""
        return self.parameters + self.averaged

    @property
    def worker_seconds(self) -> float:
        """Seconds of one worker in one step that no tree changes: to read its samples, and to compute."""
        return self.compute_seconds + self.data_seconds

    def memory(self, role: Role) -> int:
        return self.worker_memory if role == "worker" else self.merger_memory

    def cost(self, price: Price, role: Role, seconds: float) -> float:
        """The cost of one call in USD."""
        limit = self.cpu_limits[0] if role == "worker" else self.cpu_limits[1]
        return cost(price, self.memory(role), seconds, limit)


@dataclass(frozen=True, slots=True)
class Stage:
    """Calls of one kind in a step: all workers, one level of mergers in all shards, or one phase of the root."""

    name: str
    role: Role
    calls: int
    units: Units
    """Units of work of the largest call."""
    seconds: float
    """Duration of the largest call, computing included."""
    waves: int
    """How many calls each instance serves one after the other, because there are more calls than instances."""
    dispatches: float
    """Number of the driver's own calls that delay the stage."""
    span: float
    """Seconds that the stage adds to the step."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What one step takes with one merge tree."""

    seconds: float
    dollars: float
    calls: int
    parts: dict[str, float]
    """Seconds of the step by cause, one of `CAUSES`."""
    stages: tuple[Stage, ...]

    @property
    def bottleneck(self) -> str:
        """The cause that takes most of the step's time."""
        return max(self.parts, key=lambda cause: self.parts[cause])


@dataclass(frozen=True, slots=True)
class CostModel:
    """Predicts the steps of one job from one set of constants."""

    work: Work
    constants: Constants

    def predict(self, tree: Structure, shards: int, price: Price) -> Prediction:
        """Seconds and dollars of one step. The dollars are those of functions; driver and store are not counted."""
        stages = tuple(self.stages(tree, shards))
        parts = dict.fromkeys(CAUSES, 0.0)
        for name, number in self.path(stages).items():
            parts[_CAUSES[name]] += number * getattr(self.constants, name)
        parts["computing"], parts["data"] = self.work.compute_seconds, self.work.data_seconds
        parts["waiting for instances"] = sum((stage.waves - 1) * stage.seconds for stage in stages)
        dollars = sum(stage.calls * self.work.cost(price, stage.role, stage.seconds) for stage in stages)
        return Prediction(sum(parts.values()), dollars, sum(stage.calls for stage in stages), parts, stages)

    def path(self, stages: tuple[Stage, ...], *, waiting: bool = False) -> dict[str, float]:
        """The units of work on the step's critical path; `waiting` adds the time that calls wait for instances."""
        units = {name: float(number) for name, number in self.fixed().items()}
        for stage in stages:
            times = stage.waves if waiting else 1
            own = {"dispatch": stage.dispatches, "level": float(stage.name != "workers")}
            for taken, factor in ((stage.units, times), (own, 1)):
                for name, number in taken.items():
                    units[name] = units.get(name, 0.0) + factor * number
        return units

    def stages(self, tree: Structure, shards: int) -> Iterator[Stage]:
        """The stages of a step from the workers to the root."""
        workers = self.workers(shards)
        yield workers
        top = structure.levels(tree)
        for level in range(1, top):
            below, here = structure.width(tree, level - 1), structure.width(tree, level)
            yield self.mergers(below, here, shards, workers if level == 1 else None, f"level {level}")
        yield from self.root(structure.width(tree, top - 1), shards, flat=top == 1)

    def fixed(self) -> Units:
        """The units that every step takes, whatever its tree: the driver's own work and the commit."""
        return {"step": 1, "request": 1}

    def workers(self, shards: int) -> Stage:
        """The stage of all ranks. The driver calls them one after the other; as many run at once as there are
        instances."""
        calls, units = self.work.workers, self.worker_units(shards)
        seconds = self.work.worker_seconds + self.constants.seconds(units)
        return self._stage("workers", "worker", calls, units, seconds, calls, self._at_once(calls))

    def mergers(self, below: int, here: int, shards: int, first: Stage | None, name: str = "") -> Stage:
        """The stage of a level with `here` mergers in each shard above `below` nodes.

        `first` is the workers' stage where this is level 1, else None.
        """
        calls, units = here * shards, self.merge_units(-(-below // here), shards)
        # The step waits for the last group's calls, and on level 1 for those that the driver had no time to make
        # while the workers ran.
        dispatches = float(shards)
        if first is not None and calls > shards and self.constants.dispatch > 0:
            # The driver calls mergers once it has called all workers and the first of them are done.
            # The reading of data is left out, so that it adds the same to every tree.
            reading = self.work.data_seconds
            started = max(first.calls * self.constants.dispatch, first.seconds - reading)
            spare = (first.span - first.waves * reading - started) / self.constants.dispatch
            dispatches = max(dispatches, calls - spare)
        return self._stage(
            name, self.work.mergers, calls, units, self.constants.seconds(units), dispatches, shards
        )

    def root(self, below: int, shards: int, *, flat: bool) -> tuple[Stage, ...]:
        """The root's stage, or its two stages where there are shards. `flat` says that no other level merges."""
        names = ("root",) if shards == 1 else ("root, sum", "root, apply")
        stages = []
        for name, units in zip(names, self.root_units(below, shards, flat=flat), strict=True):
            seconds = self.constants.seconds(units)
            stages.append(self._stage(name, self.work.mergers, shards, units, seconds, shards, shards))
        return tuple(stages)

    def _at_once(self, calls: int) -> int:
        return calls if self.work.instances is None else min(calls, self.work.instances)

    def _stage(
        self, name: str, role: Role, calls: int, units: Units, seconds: float, dispatches: float, fill: int
    ) -> Stage:
        """`fill` is the number of calls that the driver makes until the first wave of a waiting stage is under way."""
        waves = math.ceil(calls / self._at_once(calls))
        span = dispatches * self.constants.dispatch + seconds
        if waves > 1:
            fill = self._at_once(fill)
            queued = fill * self.constants.dispatch + waves * seconds
            if queued > span:
                return Stage(name, role, calls, units, seconds, waves, fill, queued)
        return Stage(name, role, calls, units, seconds, 1, dispatches, span)

    def worker_units(self, shards: int) -> Units:
        """A worker reads all parameters and makes a contribution, each as one object per shard."""
        size = FLOAT * self.work.total
        if self._carried(shards):
            return {"call": 1, "inline_byte": 2 * size}
        if self._inline(size / shards):
            return {"call": 1, "request": shards, "read": size, "inline_byte": size}
        return {"call": 1, "request": 2 * shards, "read": size, "write": size}

    def merge_units(self, fan_in: int, shards: int) -> Units:
        """A merger sums its children and writes the sum."""
        part = FLOAT * self.work.total / shards
        units: dict[str, float] = {"call": 1, **self._sum(fan_in, part)}
        if self._inline(part):
            return {**units, "inline_byte": units.get("inline_byte", 0.0) + part}
        return {**units, "request": 1, "write": part}

    def root_units(self, fan_in: int, shards: int, *, flat: bool) -> list[Units]:
        """The root sums, takes norms and updates, which are two more passes over the bytes, and writes parameters and
        optimiser state.

        A root that always runs on one instance keeps both in memory; any other reads what the last step wrote. With
        shards such a root also keeps the sum from one phase to the other.
        """
        work = self.work
        part, objects = FLOAT * work.total / shards, 1 + (work.slots > 0)
        state = part + FLOAT * work.slots * work.parameters / shards
        warm = self._root_returns(shards, flat=flat)
        if self._carried(shards):
            summing = self._sum(fan_in, part, passes=2)
            carrying = summing.pop("inline_byte", 0.0) + state
            reading = {} if warm else {"request": objects, "read": state}
            return [{"call": 1, **reading, **summing, "inline_byte": carrying}]
        update: dict[str, float] = {
            "request": objects * (1 if warm else 2),
            "read": 0 if warm else state,
            "write": state,
        }
        if shards == 1:
            return [{"call": 1, **update, **self._sum(fan_in, part, passes=2)}]
        apply = {
            **update,
            "request": update["request"] + (not warm),
            "read": update["read"] + (0 if warm else part),
        }
        total: Units = {"call": 1, "request": 1, "write": part, **self._sum(fan_in, part, passes=1)}
        return [total, {"call": 1, **apply, "child_byte": part / self._speed}]

    def _root_returns(self, shards: int, *, flat: bool) -> bool:
        """Whether a root finds what it wrote in the step before in its instance's memory."""
        if self.work.roots_return:
            return self.work.instances is None or shards <= self.work.instances
        # The only merger that there is.
        return flat and shards == 1 and self.work.mergers == "merger"

    def _inline(self, part: float, fan_in: int = 1) -> bool:
        """Whether contributions of so many bytes, `fan_in` of them in a request, are inline, the width of their level
        apart (`sapflow.planning.inline` knows that)."""
        work = self.work
        return fits(part, fan_in, work.request_bytes) and work.workers * FLOAT * work.total <= STEP

    def _carried(self, shards: int) -> bool:
        """Whether versions are inside the root's answers and the workers' requests, which spares a remote store."""
        work = self.work
        small = version_travels(work.total, work.slots * work.parameters, work.workers)
        return work.remote and shards == 1 and small and self._inline(FLOAT * work.total)

    def _sum(self, fan_in: int, part: float, passes: int = 0) -> dict[str, float]:
        if self._inline(part, fan_in):
            adding = (fan_in + passes) * part / self._speed
            return {"inline": fan_in, "inline_byte": fan_in * part, "child_byte": adding}
        return {
            "child": fan_in / self._speed,
            "child_byte": (fan_in + passes) * part / self._speed,
            **self._fetches(fan_in, part),
        }

    def _fetches(self, fan_in: int, part: float) -> dict[str, float]:
        """How often a merger waits for answers of a remote store, and for how many bytes on one connection."""
        if part <= SMALL:
            rounds = -(-fan_in // READ_AHEAD)
            return {"fetch": rounds, "fetch_byte": rounds * part}
        # Children are streamed: while one comes in, the merger asks for the next one.
        asking = self.constants.fetch > part * self.constants.fetch_byte
        return {"fetch": fan_in if asking else 1, "fetch_byte": (1 if asking else fan_in) * part}

    @property
    def _speed(self) -> float:
        return min(1.0, self.work.merger_cpus)
