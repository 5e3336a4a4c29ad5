"""The model of any version whose parameters are in the store, of a job that has finished, has stopped or is running."""

import hashlib
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sapflow.algorithms.export import file_of
from sapflow.algorithms.merge import Workspace
from sapflow.client.background import run_apart
from sapflow.client.job_data import find_manifest
from sapflow.client.session import Session
from sapflow.driver.result import export_request
from sapflow.errors import DataError, ObjectMissing
from sapflow.objects import keys
from sapflow.records.commits import Commit, Records
from sapflow.timing import Timing

MODEL = "model.safetensors"


def split(name: str) -> tuple[str, int | None]:
    """The job and the version in JOB@VERSION; None where no version is named."""
    found = re.fullmatch(r"(.+)@([0-9]{1,12})", name)
    return (name, None) if found is None else (found[1], int(found[2]))


@dataclass(frozen=True, slots=True)
class Exported:
    """A model that was written into a file."""

    version: int
    path: Path
    sha256: str


def export(opened: Session, path: Path | None, version: int | None) -> Exported:
    """Write the model of a version into a file; what is left out is as `read` has it, and UID@VERSION.safetensors in
    the current folder, a trial's slashes being hyphens. Raises what `read` and `write` raise."""
    found, parts = read(opened, version)
    path = path or Path(f"{opened.uid.replace('/', '-')}@{found}.safetensors")
    sha256 = write(path, parts)
    if (beside := preparation(opened)) is not None:
        name = f"{path.name.removesuffix('.safetensors')}.{keys.fitted_preparation('')}"
        write(path.with_name(name), [beside])
    return Exported(found, path, sha256)


def preparation(opened: Session) -> bytes | None:
    """What raw rows are made samples by, of a job whose data was prepared; None of others. Raises StoreError."""
    manifest = find_manifest(opened)
    if manifest is None or not manifest.preparation:
        return None
    return bytes(opened.store.read(keys.fitted_preparation(opened.resolved.data_prefix)))


def read(opened: Session, version: int | None) -> tuple[int, list[bytes | memoryview]]:
    """The version and the parts of its model's file: by default the result, or else the last version.

    Raises DataError if there is no such version, or its parameters are not kept; StoreError.
    """
    outcome = opened.outcome()
    if outcome is not None and version in (None, outcome["version"]):
        try:
            content = opened.store.read(keys.result(opened.prefix, MODEL))
            return int(outcome["version"]), [content]
        except ObjectMissing:
            version = int(outcome["version"])
    return run_apart(_export(opened, version))


def write(path: Path, parts: Sequence[bytes | memoryview]) -> str:
    """Write a model's file at once or not at all; its SHA-256. Raises DataError."""
    digest = hashlib.sha256()
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            for part in parts:
                digest.update(part)
                file.write(part)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise DataError(f"{path} cannot be written: {error.strerror}; give another path") from error
    return digest.hexdigest()


async def _export(opened: Session, version: int | None) -> tuple[int, list[bytes | memoryview]]:
    records = Records(opened.store, opened.prefix)
    last, first = await records.last(), await records.commit(0)
    manifest = find_manifest(opened)
    if last is None or first is None or manifest is None:
        raise DataError(f"job {opened.uid} has no version yet: nothing of it is trained")
    commit = last if version is None else await records.commit(version)
    if commit is not None and commit.version < first.first_version:
        raise DataError(f"job {opened.uid} begins at version {first.first_version} of {_origin(first)}")
    if commit is None:
        raise DataError(f"job {opened.uid} has no version {version}: its last is {last.version}")
    request = export_request(opened.uid, opened.job, manifest, first, commit, "")
    try:
        return commit.version, file_of(opened.store, request, Workspace(), Timing(math.inf))
    except ObjectMissing as error:
        kept = ", ".join(map(str, await _kept(opened, records, last))) or "none any more"
        raise DataError(
            f"version {commit.version} of job {opened.uid} is not kept: its store has {kept}; spec.checkpoint says "
            "which versions stay"
        ) from error


def _origin(first: Commit) -> str:
    return "" if first.origin is None else first.origin.job


async def kept(opened: Session) -> list[int]:
    """The versions that a job keeps: checkpoints, its result and the last."""
    records = Records(opened.store, opened.prefix)
    last = await records.last()
    return [] if last is None else await _kept(opened, records, last)


async def _kept(opened: Session, records: Records, last: Commit) -> list[int]:
    every = opened.job.spec.checkpoint.every_steps
    due = range(every, last.version + 1, every)[-opened.job.spec.checkpoint.keep :] if every else ()
    found = []
    outcome = opened.outcome()
    chosen = [] if outcome is None else [int(outcome["version"])]
    for version in sorted({*due, *chosen, last.version}):
        commit = await records.commit(version)
        named = [] if commit is None else commit.params
        if named and all(opened.store.exists(part.key) for part in named):
            found.append(version)
    return found
