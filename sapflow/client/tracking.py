"""Jobs and searches of a store in the format of an experiment tracker, for command line and Python."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sapflow.client import stored, tuning
from sapflow.client.background import run_apart
from sapflow.client.session import Session, find_session, uid_named
from sapflow.client.tuning import TuningSession
from sapflow.errors import SpecError
from sapflow.monitoring.trackers import registry
from sapflow.monitoring.trackers.registry import NAMES, Name
from sapflow.monitoring.trackers.tracked_job import read_job
from sapflow.monitoring.trackers.tracked_search import read_search
from sapflow.spec.trial_names import trial_named


@dataclass(frozen=True, slots=True)
class Tracked:
    """What an export to a tracker has written."""

    uid: str
    to: Name
    place: str
    versions: int
    """Versions that were not there before, those of all trials together."""
    trials: int | None
    """Trials of a search; None of a job."""
    opened_by: list[str]
    """The command, by its arguments, that shows it; empty where a server does."""


async def write(
    opened: Session | TuningSession, to: str, place: str | Path, version: int | None = None
) -> Tracked:
    """Write a job, with `version` as it was then, or a search with all its trials to a tracker's place.

    Raises SpecError for an unknown tracker, TrackerMissing, TrackerFailed, DataError, StoreError.
    """
    name = next((each for each in NAMES if each == to), None)
    if name is None:
        raise SpecError([("to", f"is {to!r}, and must be one of {', '.join(NAMES)}")])
    if version is not None and isinstance(opened, TuningSession):
        raise SpecError([("@VERSION", "is for a job, and this is a search: leave it out")])
    tracker = registry.tracker_at(name, os.fspath(place))
    if isinstance(opened, TuningSession):
        done = await tracker.write_search(await read_search(opened.uid, opened.job, opened.store))
    else:
        job = await read_job(opened.uid, opened.job.metadata.name, opened.job, opened.store, version)
        done = await tracker.write_job(job)
    return Tracked(opened.uid, name, tracker.place, done.versions, done.trials, tracker.opened_by)


def export_to(
    name: str, to: Name, place: str | Path, *, store: str | Path | None = None, version: int | None = None
) -> Tracked:
    """Write a job or a search into the format of an experiment tracker: `tensorboard`, `mlflow` or `optuna`.

    `name` is its uid, or its name in the YAML if that fits one alone, in `store`, by default `.sapflow` in the current
    folder. `place` is a folder; for MLflow it may be the URL of a tracking server, for Optuna that of a database. To
    write it again adds what is new, and writes nothing twice. With `version` a job is written as it was then.

    Raises TrackerMissing with what to install, TrackerFailed, DataError, StoreError.
    """
    with find(name, os.environ, None if store is None else str(store)) as opened:
        return run_apart(write(opened, to, place, version))


def find(name: str, environ: Mapping[str, str], store: str | None) -> Session | TuningSession:
    """The job, the search or the trial (SEARCH/trials/7) of this name in a store, for reading. Raises DataError,
    StoreError."""
    if trial_named(name) is not None:
        return stored.find(name, environ, store=store)
    found = tuning.find_tuning(uid_named(name, store), environ, store=store)
    return found or find_session(name, environ, store=store)
