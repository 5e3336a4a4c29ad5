"""A search over trials that are functions of their parameters, with a runner that may be restarted at any time."""

import asyncio
import heapq
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helpers.searches import search_job
from sapflow.objects.stores.directory import DirectoryStore
from sapflow.objects.stores.protocol import Store
from sapflow.tuning.actions import Action, Advance, Ask, Event, Failed, Finished, Fork, Report, Stop, Stopped
from sapflow.tuning.samplers.remote import answer
from sapflow.tuning.search import Search
from sapflow.tuning.settings import Limits, Settings

Curve = Callable[[dict[str, Any], int], float]
"""The score of a trial with these parameters after so many units."""


def quadratic(parameters: dict[str, Any], at: int) -> float:
    """Best at a rate of 0.1 and a momentum of 0.5; it comes near with the units done."""
    rate = float(parameters["spec.optimizer.learningRate"])
    momentum = float(parameters.get("spec.optimizer.momentum", 0.5))
    best = 1.0 - abs(rate - 0.1) / 2 - abs(momentum - 0.5) / 4
    return best * (1 - 0.5 / (1 + at))


@dataclass
class World:
    """What trials have in the store: how far they are, and from where they began. It outlives the runner."""

    curve: Curve = quadratic
    fails: frozenset[int] = frozenset()
    at: dict[int, int] = field(default_factory=dict)
    ended: dict[int, Event] = field(default_factory=dict)
    trained: dict[int, list[int]] = field(default_factory=dict)
    units: int = 0
    """Units that have been trained in all."""

    def advance(self, action: Advance, length: int) -> Event:
        """The answer; what has been done already is not done again."""
        number = action.trial
        if number in self.ended:
            return self.ended[number]
        before = self.at.get(number, 0)
        if action.to > before:
            self.units += action.to - before
            self.at[number] = action.to
            self.trained.setdefault(number, []).append(action.to)
        values = {"accuracy": self.curve(dict(action.parameters), action.to)}
        if number in self.fails:
            self.ended[number] = Failed(number, "OutOfMemory", "killed", 1.0, 0.01)
        elif action.to >= action.parameters.get("spec.algorithm.epochs", length):
            self.ended[number] = Finished(number, values, action.to, action.to, action.to, action.to / 100)
        else:
            return Report(number, action.to, action.to, values, action.to, action.to / 100)
        return self.ended[number]


@dataclass
class Runner:
    """Carries actions out; how long each takes is drawn from `chance`."""

    search: Search
    world: World
    length: int
    chance: random.Random
    slots: int = 1000
    steps: int = 10**9
    """Steps after which the runner dies."""
    most: int = 0
    """The most trials under way at once."""

    async def run(self) -> bool:
        """Run to the end of the search; False if the runner died before."""
        actions: list[Action] = await self.search.open()
        queue: list[tuple[float, int, Advance]] = []
        events: list[Event] = []
        now, count = 0.0, 0
        while True:
            if self.steps <= 0:
                return False
            self.steps -= 1
            for action in actions:
                match action:
                    case Advance():
                        heapq.heappush(queue, (now + self.chance.uniform(0.5, 2.0), count, action))
                        count += 1
                    case Fork(number, source, version, at):
                        assert version in self.search.kept(source)
                        assert self.world.at[source] >= at
                        self.world.at[number] = max(at, self.world.at.get(number, 0))
                    case Stop(number):
                        queue = [each for each in queue if each[2].trial != number]
                        heapq.heapify(queue)
                        events.append(Stopped(number, 1.0, 0.01))
                    case Ask():
                        events.append(answer(action.question))
            self.most = max(self.most, len(queue))
            actions = await self.search.step(events, free=self.slots - len(queue))
            events = []
            if self.search.over is not None:
                return True
            if not actions:
                assert queue, "nothing runs, and the search does not end"
                now, _, done = heapq.heappop(queue)
                events = [self.world.advance(done, self.length)]


def searching(store: Store, **spec: Any) -> tuple[Search, int]:
    """A search of `search_job`, and the length of its trials."""
    job = search_job(**spec)
    return Search(store, "jobs/s/", Settings.of(job), Limits.of(job)), job.spec.length


def simulate(
    *, seed: int = 0, deaths: list[int] | None = None, world: World | None = None, **spec: Any
) -> tuple[Search, World]:
    """Run a search to its end; a runner dies after each number of steps in `deaths`, and another goes on.

    The store is in memory where there is room for files: every record is flushed to the disk otherwise.
    """
    world, chance, pending = world or World(), random.Random(seed), list(deaths or [])
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        while True:
            search, length = searching(DirectoryStore(folder), **spec)
            runner = Runner(search, world, length, chance)
            if pending:
                runner.steps = pending.pop(0)
            if asyncio.run(runner.run()):
                assert runner.most <= search.state.limits.parallel_trials
                return search, world
