"""A job, or a trial of a search, as it is read from its store for a tracker: version by version."""

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sapflow.driver.windows import batched
from sapflow.errors import DataError, StoreError
from sapflow.monitoring.trackers import points
from sapflow.monitoring.trackers.points import Point
from sapflow.objects import keys
from sapflow.objects.stores.protocol import Store
from sapflow.records.commits import Commit, Records
from sapflow.records.evaluations import metrics_of
from sapflow.spec.training_job import TrainingJob

State = Literal["Succeeded", "Failed", "Stopped", "Unfinished"]
MODEL = "model.safetensors"
_AT_ONCE = 32
"""Versions that are read from the store at once."""
_CHUNK = 1 << 20


@dataclass(frozen=True)
class TrackedJob:
    """What a tracker is told about a job. Its versions are read when they are asked for."""

    uid: str
    name: str
    job: TrainingJob
    records: Records
    parameters: Mapping[str, bool | int | float | str]
    """By path without `spec.`: of a job what its values follow from, of a trial what was searched."""
    state: State
    started: float
    """When it began, in seconds since 1970; 0 if the store does not tell."""
    first: Commit | None
    """The version that it begins at; None if nothing of it is trained yet."""
    last: Commit | None
    reason: str = ""
    """Why it has failed or was stopped."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """What else a tracker may show as text, by name."""
    documents: Mapping[str, Any] = field(default_factory=dict)
    """JSON values by the name of their file: spec, outcome, provenance."""
    model: str | None = None
    """The key of its model in the store, if there is one."""
    evaluated: Collection[int] = ()
    """Versions that were evaluated apart from those that are due."""

    @property
    def ended(self) -> bool:
        return self.state != "Unfinished"

    @property
    def version(self) -> int:
        """The last version; -1 if nothing is trained yet."""
        return -1 if self.last is None else self.last.version

    @property
    def start(self) -> float:
        """When it began, in seconds since 1970, as if it ended now where the store does not tell."""
        return self.started or time.time() - self.seconds

    @property
    def seconds(self) -> float:
        """Its running time up to the last version."""
        if self.first is None or self.last is None:
            return 0.0
        return self.last.account.seconds - self.first.account.seconds

    async def digest(self, version: int) -> str | None:
        """The digest of a version's commit; None if there is no such version."""
        if not 0 <= version <= self.version:
            return None
        commit = await self.records.commit(version)
        return None if commit is None else commit.digest

    async def points(self, after: int = -1) -> AsyncIterator[Point]:
        """The figures of the versions behind `after`, in order, from the first step on.

        Raises DataError if one is missing, StoreError.
        """
        first, last = self.first, self.last
        if first is None or last is None:
            return
        begin = max(after, first.version)
        before = await self._commit(begin) if begin <= last.version else last
        for numbers in batched(range(begin + 1, last.version + 1), _AT_ONCE):
            commits = await asyncio.gather(*map(self._commit, numbers))
            olds = [before, *commits[:-1]]
            before = commits[-1]
            evaluations = await asyncio.gather(*map(self._metrics, olds, commits))
            for commit, metrics in zip(commits, evaluations, strict=True):
                yield points.point(commit, metrics, first.account.seconds)

    async def evaluations(self) -> AsyncIterator[tuple[int, Mapping[str, float]]]:
        """The versions that were evaluated, in order, and their metrics on the held-out samples."""
        head = f"{points.VALIDATION}/"
        async for each in self.points():
            found = {
                name.removeprefix(head): value for name, value in each.values.items() if name.startswith(head)
            }
            if found:
                yield each.version, found

    async def _commit(self, version: int) -> Commit:
        commit = await self.records.commit(version)
        if commit is None:
            missing = keys.commit(self.records.prefix, version)
            raise DataError(
                f"{missing} is missing, although later versions are there: the store is incomplete"
            )
        return commit

    async def _metrics(self, before: Commit, commit: Commit) -> Mapping[str, float] | None:
        if not self._may_be_evaluated(before, commit):
            return None
        record = await self.records.read(keys.evaluation(self.records.prefix, commit.version))
        return None if record is None else metrics_of(record)

    def _may_be_evaluated(self, before: Commit, commit: Commit) -> bool:
        """Whether a version may have been evaluated: every so many steps, by default once an epoch, and at the end."""
        if commit.version in self.evaluated or commit.version == self.version:
            return True
        every = self.job.spec.evaluation.every_steps
        if every is not None:
            return commit.version % every == 0
        # Commits of an asynchronous job do not end with an epoch.
        return bool(commit.applied) or commit.cursor.epoch != before.cursor.epoch

    def copy_model(self, folder: Path) -> Path:
        """Copy its model from the store into a folder. Raises StoreError."""
        assert self.model is not None, "there is no model"
        return copy_object(self.records.store, self.model, folder / MODEL)


def copy_object(store: Store, key: str, path: Path) -> Path:
    """Copy an object of a store into a file, a piece at a time. Raises StoreError."""
    with store.open(key) as reader, path.open("wb") as file:
        left = reader.size
        while left:
            piece = reader.next(min(left, _CHUNK))
            file.write(piece)
            left -= len(piece)
    return path


async def read_job(
    uid: str, name: str, job: TrainingJob, store: Store, version: int | None = None
) -> TrackedJob:
    """A job in its store, with `version` as it was then. Raises DataError if there is nothing of it, StoreError."""
    prefix = keys.job(uid)
    records = Records(store, prefix)
    newest = await records.last()
    if newest is None:
        raise DataError(f"nothing of job {uid} is trained yet: there is nothing to export")
    last = newest if version is None else await records.commit(version)
    first = await begin_of(records)
    if last is None or first is None or last.version < first.version:
        begins = "" if first is None else f"its first is {first.version}, "
        raise DataError(f"job {uid} has no version {version}: {begins}its last is {newest.version}")
    outcome, failure, provenance, started = await asyncio.gather(
        records.read(keys.result(prefix, "outcome.json")),
        records.read(keys.failure(prefix, last.version)),
        records.read(keys.result(prefix, "provenance.json")),
        begun_at(records),
    )
    if outcome is not None and version is not None and version < newest.version:
        outcome = None
    documents = {"spec": job.to_json(), "outcome": outcome, "provenance": provenance if outcome else None}
    state: State = "Succeeded" if outcome else "Failed" if failure else "Unfinished"
    chosen = () if outcome is None else (int(outcome["version"]),)
    return TrackedJob(
        uid=uid,
        name=name,
        job=job,
        records=records,
        parameters=points.parameters_of(job),
        state=state,
        started=started,
        first=first,
        last=last,
        reason=failure["reason"] if state == "Failed" and failure else "",
        notes={} if outcome is None else {"uri": outcome["uri"], "sha256": outcome["sha256"]},
        documents={file: value for file, value in documents.items() if value is not None},
        model=None if outcome is None else keys.result(prefix, MODEL),
        evaluated=chosen,
    )


async def begin_of(records: Records) -> Commit | None:
    """The version that a job begins at; None before there is one."""
    first = await records.commit(0)
    if first is None or first.first_version == 0:
        return first
    return await records.commit(first.first_version)


async def begun_at(records: Records) -> float:
    """When a job's version 0 was written, in seconds since 1970; 0 if the store does not tell."""
    key = keys.commit(records.prefix, 0)

    def ask() -> float:
        try:
            return next((each.modified for each in records.store.list(key) if each.key == key), 0.0)
        except StoreError:
            return 0.0  # who may read need not be allowed to list

    return await asyncio.to_thread(ask)
