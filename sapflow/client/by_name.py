"""`sapflow.fork`, `export`, `verify`, `diff`: jobs and trials by their names in a store, as the commands take them."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from sapflow.client import diff as differences
from sapflow.client import fork as forks
from sapflow.client import stored, versions
from sapflow.client import verify as verifying
from sapflow.client.background import run_apart
from sapflow.client.diff import Difference
from sapflow.client.training_job import TrainingJob
from sapflow.client.verify import VerifiedJob


def fork(
    job: str,
    changes: Mapping[str, object] | None = None,
    *,
    version: int | None = None,
    name: str | None = None,
    store: str | Path | None = None,
) -> TrainingJob:
    """A job that begins at a version of another one, to be run in the same store: by default at its result, or else at
    its last version.

    `job` is called as in its YAML or by its uid, a trial of a search SEARCH/trials/7, the best one SEARCH/trials/best.
    `changes` are values by field, as `{"spec.optimizer.learningRate": 0.01}`; None takes a field out. `name` is that of
    the new job. `store` is a folder or a URL, by default `.sapflow` in the current folder. Raises SpecError for a
    version that is not kept and for what a fork may not change, DataError if the store has no such job, StoreError.
    """
    with stored.find(job, os.environ, store=None if store is None else str(store)) as opened:
        return TrainingJob.from_document(forks.document(opened, version, changes or {}, name=name))


def export(
    job: str,
    path: str | Path | None = None,
    *,
    version: int | None = None,
    store: str | Path | None = None,
) -> Path:
    """Write the model of a job or a trial into a safetensors file, and return its path: the result, or what the job has
    come to; with `version` that one, if it is kept. `job` and `store` are as `fork` has them, the default path is
    UID@VERSION.safetensors in the current folder.

    Raises DataError if there is no such job or version, StoreError.
    """
    with stored.find(job, os.environ, store=None if store is None else str(store)) as opened:
        return versions.export(opened, None if path is None else Path(path), version).path


def verify(
    job: str,
    versions: str | int | None = None,
    *,
    entrypoint: str | Iterable[str] | None = None,
    max_instances: int | None = None,
    store: str | Path | None = None,
) -> VerifiedJob:
    """Compute versions of a job or a trial again on this machine, and compare them with what was recorded: `10..20`,
    12, or by default all.

    `entrypoint` names the job's own code, which is imported and called only if it is named. At most `max_instances`
    calls are made at once, by default as many as there are cores. `job` and `store` are as `fork` has them. Raises
    DataError if the store has no such job or version, JobFailed, StoreError.
    """
    with stored.find(job, os.environ, store=None if store is None else str(store)) as opened:
        return verifying.by_program(opened, versions, entrypoint, max_instances)


def diff(first: str, second: str, *, store: str | Path | None = None) -> Difference:
    """Where two jobs or trials part, and why, by what their commits recorded. Both are called as `fork` has it, and lie
    in one store.

    Raises DataError if the store has no such job, or one has no version yet, and StoreError.
    """
    url = None if store is None else str(store)
    with (
        stored.find(first, os.environ, store=url) as one,
        stored.find(second, os.environ, store=url) as other,
    ):
        return run_apart(differences.diff(one, other))
