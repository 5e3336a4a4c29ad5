"""Tiny jobs, their prepared data, and whole runs of them in virtual time, crashes of the driver included."""

import asyncio
import copy
import itertools
import random
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from helpers import virtual_loop
from helpers.functions import Fault, Functions
from helpers.tapped_store import Failpoint, Killed, TappedStore, Write
from sapflow.client.session import Session, uid_of
from sapflow.data.blocks import Manifest
from sapflow.data.cut import cut, write_spec
from sapflow.driver.driver import Driver
from sapflow.driver.sweep import sweep_up
from sapflow.errors import InvocationError
from sapflow.objects import keys
from sapflow.objects.stores.factory import open_store
from sapflow.objects.stores.protocol import Store
from sapflow.records.commits import Account, Commit
from sapflow.records.memory_search import SearchSettings
from sapflow.spec.document import parse
from sapflow.spec.resolved import ResolvedJob
from sapflow.spec.training_job import TrainingJob
from sapflow.steps.observer import Observer

Outcome = dict[str, Any]


def document(**changes: Any) -> dict[str, Any]:
    """A TrainingJob on scikit-learn's iris: 120 training samples, 4 workers, 32 samples a step.

    Contributions go by the store, where tests can see them.

    Names of changes are paths in the spec with `_` between their parts: `merge_shards=2`.
    """
    spec: dict[str, Any] = {
        "model": {"name": "mlp", "args": {"hidden": [8]}},
        "data": {"source": "sklearn:iris", "batchSize": 8, "validationFraction": 0.2},
        "workers": 4,
        "algorithm": {"steps": 5, "seed": 3},
        "optimizer": {"name": "Momentum", "learningRate": 0.1},
        "merge": {"structure": [1, 2, 4], "channel": "Store"},
        "evaluation": {"everySteps": 2},
        "limits": {"retries": 100},
    }
    for path, value in changes.items():
        *parents, last = path.split("_")
        place = spec
        for parent in parents:
            place = place.setdefault(parent, {})
        if value is None:
            place.pop(last, None)
        else:
            place[last] = copy.deepcopy(value)
    return {
        "apiVersion": "sapflow.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": "tiny"},
        "spec": spec,
    }


def tiny_job(**changes: Any) -> TrainingJob:
    """The job of `document`."""
    return parse(document(**changes))


@dataclass(frozen=True)
class Place:
    """One job with its data cut, in a store of its own."""

    job: TrainingJob
    uid: str
    manifest: Manifest
    store: Store
    path: Path

    @property
    def resolved(self) -> ResolvedJob:
        """The job as driver and functions read it."""
        return Session(self.uid, self.job, self.store, self.path.as_uri()).resolved

    def listing(self) -> list[str]:
        """The keys of all objects, without the job's prefix; data left out."""
        root = self.path / keys.job(self.uid)
        found = (path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
        return sorted(name for name in found if not name.startswith("data/"))

    def of_no_version(self) -> list[str]:
        """What lies where objects of versions do, and neither the last version nor a checkpoint stands on it."""
        prefix = keys.job(self.uid)
        *_, last = self.commits()
        kept = set(last.objects(prefix))
        for name in self.listing():
            if name.startswith("checkpoints/"):
                version = int(name.partition("/")[2].removesuffix(".json"))
                kept |= {prefix + name, *self.commit(version).objects(prefix)}
        folders = tuple(keys.of_versions(""))
        return [name for name in self.listing() if name.startswith(folders) and prefix + name not in kept]

    def commit(self, version: int) -> Commit:
        """A commit record."""
        return Commit.model_validate_json(bytes(self.store.read(keys.commit(keys.job(self.uid), version))))

    def commits(self) -> Iterator[Commit]:
        """All commit records, in order."""
        for version in itertools.count():
            if not self.store.exists(keys.commit(keys.job(self.uid), version)):
                return
            yield self.commit(version)

    def result(self) -> bytes:
        """The bytes of the result's weights."""
        return bytes(self.store.read(keys.result(keys.job(self.uid), "model.safetensors")))


def make_place(path: Path, job: TrainingJob) -> Place:
    """A job with its data cut, in a new directory store at `path`."""
    store = open_store(str(path))
    session = Session(uid_of(job), job, store, path.as_uri())
    return Place(job, session.uid, session.cut_data(), store, path)


def make_search_place(path: Path, template: TrainingJob) -> Place:
    """The place of a search in a new directory store at `path`: its data is cut below its own prefix, for its trials
    alone."""
    store = open_store(str(path))
    resolved = ResolvedJob(template, keys.job(uid_of(template)))
    write_spec(resolved, store)
    return Place(template, resolved.uid, cut(resolved, store), store, path)


@dataclass(eq=False)
class Places:
    """Places whose data is copied instead of cut again."""

    path: Path
    make: Callable[[Path, TrainingJob], Place] = make_place
    _count: Iterator[int] = field(default_factory=itertools.count, repr=False)
    _templates: dict[str, Place] = field(default_factory=dict, repr=False)

    def place(self, job: TrainingJob) -> Place:
        """A new place of this job."""
        uid = uid_of(job)
        if uid not in self._templates:
            self._templates[uid] = self.make(self.path / f"template-{uid}", job)
        template = self._templates[uid]
        path = self.path / f"{next(self._count)}"
        shutil.copytree(template.path, path)
        return Place(job, uid, template.manifest, open_store(str(path)), path)

    def remove(self, place: Place) -> None:
        """Remove what a run left."""
        shutil.rmtree(place.path)


@dataclass(frozen=True, slots=True)
class Crash:
    """The end of a driver at its write number `write`: killed before or after it, or cancelled as by Ctrl-C."""

    write: int
    how: Literal["before", "after", "cancel"]


@dataclass
class Simulation:
    """One job run to its end by as many drivers as it takes."""

    place: Place
    faults: Mapping[int, Fault] = field(default_factory=dict)
    crashes: Sequence[Crash] = ()
    drivers: int = 1
    """Drivers that run at once."""
    hurry: float = 0.0
    seed: int = 0
    observer: Observer = field(default_factory=Observer)
    account: Account | None = None
    search: SearchSettings | None = None
    workers: int | None = None
    """What the next driver goes on with, if it is another number than the job has."""
    function_failpoint: Failpoint = lambda write, after: None
    driver_failpoint: Failpoint = lambda write, after: None
    on_crash: Callable[[], None] = lambda: None
    volumes: Sequence[Path] = ()
    """Of a placed job, one a cell."""
    remote: bool = False
    """Whether the driver's store is far away, so that small versions travel inside answers and requests."""

    def __post_init__(self) -> None:
        self.functions = Functions(
            self.place.store,
            self.seed,
            self.faults,
            self.hurry,
            self.function_failpoint,
            volumes=self.volumes,
        )
        self._writes = itertools.count()
        self._crashes = {crash.write: crash.how for crash in self.crashes}

    def run(self) -> Outcome:
        """The outcome; where several drivers ran, all of them gave it."""
        random.seed(self.seed)
        return virtual_loop.run(self._main(), expected=(Killed, InvocationError))

    async def _main(self) -> Outcome:
        outcomes = await asyncio.gather(*(self._until_done(index) for index in range(self.drivers)))
        # What is late is so late that the job is over.
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)
        # As whoever runs a driver does once no function is at work any more.
        await sweep_up(self.place.resolved, self.place.store)
        return outcomes[0]

    async def _until_done(self, index: int) -> Outcome:
        """One driver after the other until one finishes."""
        await asyncio.sleep(0.37 * index)
        while True:
            driver = _OneDriver(self)
            outcome = await driver.run()
            if outcome is not None:
                return outcome


class _OneDriver:
    """One driver's life."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._store = TappedStore(simulation.place.store, self._failpoint, remote=simulation.remote)
        self._cancelled = False
        self._task: asyncio.Task[Outcome] | None = None

    async def run(self) -> Outcome | None:
        """The outcome, or None where it died."""
        place = self._simulation.place
        driver = Driver(
            replace(place.resolved, search=self._simulation.search),
            place.manifest,
            self._store,
            self._simulation.functions,
            self._simulation.observer,
            self._simulation.account,
            workers=self._simulation.workers,
        )
        self._task = asyncio.create_task(driver.run())
        await asyncio.wait({self._task})
        if self._store.dead or self._cancelled:
            self._simulation.on_crash()
            if not self._task.cancelled():
                self._task.exception()
            return None
        return self._task.result()

    def _failpoint(self, write: Write, after: bool) -> None:
        simulation = self._simulation
        simulation.driver_failpoint(write, after)
        if not after:
            self._number = next(simulation._writes)
        how = simulation._crashes.get(self._number)
        if how == ("after" if after else "before"):
            # Its process is gone with all its tasks.
            assert self._task is not None
            self._task.cancel()
            raise Killed
        if how == "cancel" and not after:
            assert self._task is not None
            self._cancelled = True
            self._task.cancel()
