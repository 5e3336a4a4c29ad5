"""A job and a search that have run, for trackers."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from helpers.jobs import Place, Simulation, make_place, make_search_place, tiny_job
from helpers.search_runs import TEMPLATE, Searching, iris_search
from sapflow.monitoring.trackers.tracked_job import TrackedJob, read_job
from sapflow.monitoring.trackers.tracked_search import TrackedSearch, read_search
from sapflow.objects import keys
from sapflow.spec.resolved_search import ResolvedSearch
from sapflow.spec.tuning_job import TuningJob
from sapflow.tuning.spec_record import write_spec

Found = TypeVar("Found")


def run(work: Coroutine[Any, Any, Found]) -> Found:
    return asyncio.run(work)


@dataclass(frozen=True)
class RunJob:
    """A job in its place."""

    place: Place

    def at(self, version: int | None = None) -> TrackedJob:
        place = self.place
        return run(read_job(place.uid, place.job.metadata.name, place.job, place.store, version))


def run_job(path: Path, **changes: Any) -> RunJob:
    """The tiny job, run to its end in virtual time."""
    place = make_place(path, tiny_job(**changes))
    Simulation(place).run()
    return RunJob(place)


@dataclass(frozen=True)
class RunSearch:
    """A search in its place."""

    place: Place
    job: TuningJob
    outcome: dict[str, Any]

    def read(self) -> TrackedSearch:
        return run(read_search(self.place.uid, self.job, self.place.store))


def run_search(path: Path, **spec: Any) -> RunSearch:
    """A search for the learning rate of the tiny job, run to its end in virtual time; commands find it."""
    job = iris_search(**spec)
    place = make_search_place(path, tiny_job(**TEMPLATE))
    _, outcome = Searching(place, job).run()
    prefix = place.resolved.prefix
    place.store.delete([keys.spec(prefix)])
    write_spec(ResolvedSearch(job, prefix), place.store)
    return RunSearch(place, job, outcome)
