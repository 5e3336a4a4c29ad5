"""Cutting a job's data into blocks, and the checks of a spec that need the data."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from sapflow.data.blocks import Manifest, cut_blocks
from sapflow.data.chunks import Source
from sapflow.data.data_file import DataFile
from sapflow.data.source import open_source
from sapflow.errors import AlteredObject, DataError, SpecError
from sapflow.messages.documents import Document
from sapflow.objects import keys
from sapflow.objects.stores.protocol import Store
from sapflow.spec.resolved import ResolvedJob, differences, fixed_fields
from sapflow.spec.resolved import read as read_resolved
from sapflow.spec.training_job import TrainingJob
from sapflow.text import parse_json


def write_spec(resolved: ResolvedJob, store: Store) -> Document:
    """Write the resolved job where functions read it, unless it is there already; what stands there.

    A name like the job's is easily guessed, so what stands there may be somebody else's. Raises AlteredObject if it is
    another job, and StoreError.
    """
    key, document = keys.spec(resolved.prefix), resolved.to_json()
    body = json.dumps(document, sort_keys=True, indent=1).encode()
    if store.create(key, body, durable=True):
        return Document.of(key, body)
    standing = bytes(store.read(key))
    if standing != body:
        _refuse_another(resolved, standing, key)
    return Document.of(key, standing)


def _refuse_another(resolved: ResolvedJob, standing: bytes, key: str) -> None:
    """Raise AlteredObject unless the standing spec differs only in what may change while a job lives."""
    remedy = "start it anew (in a local run: --again), or use another store"
    if resolved.runtime == "kubernetes":
        remedy = (
            "delete the job and what lies under its prefix, find out who may write there, and create it again"
        )
    try:
        found = fixed_fields(read_resolved(parse_json(standing), resolved.prefix).to_json())
    except (ValueError, SpecError) as error:
        raise AlteredObject(f"{key} in the store is no spec of this job: {error}; {remedy}") from error
    wanted = fixed_fields(resolved.to_json())
    if found != wanted:
        differing = ", ".join(differences(wanted, found)[:5])
        raise AlteredObject(
            f"{key} in the store is not the spec of this job: it differs in {differing}. Somebody else wrote it, and "
            f"nothing of it is used; {remedy}"
        )


@contextmanager
def naming_the_field() -> Iterator[None]:
    """Make every DataError name `spec.data`, the part of the spec that it is about."""
    try:
        yield
    except DataError as error:
        raise DataError(f"spec.data: {error}") from error


@naming_the_field()
def cut(
    resolved: ResolvedJob,
    store: Store,
    progress: Callable[[int], None] | None = None,
    source: Source | None = None,
) -> Manifest:
    """Cut the job's data into blocks, unless that is done. Raises DataError, StoreError.

    An s3:// source without an endpoint is read from the store's endpoint. `progress` is called with the number of
    samples so far. `source`: the samples, where the name that the spec has for them does not lead to them.
    """
    spec = resolved.job.spec
    data = spec.data

    def files(url: str) -> list[DataFile]:
        from sapflow.data.remote import s3_files  # only this needs its client

        return s3_files(beside(url, store.url))

    return cut_blocks(
        source or open_source(data.source, data.format, options=data.options, read_s3=files),
        store,
        keys.data(resolved.prefix),
        validation_fraction=data.validation_fraction,
        seed=spec.algorithm.seed,
        normalize=data.normalize,
        progress=progress,
    )


def beside(source: str, store: str) -> str:
    """An s3:// URL, completed with the endpoint and region of the store's URL if it has none of its own."""
    parts, own = urlsplit(source), urlsplit(store)
    if parts.query or own.scheme != "s3":
        return source
    return parts._replace(query=own.query).geturl()


def check_data(job: TrainingJob, manifest: Manifest) -> None:
    """Check the parts of a spec that depend on the data. Raises SpecError."""
    problems = []
    if manifest.train_samples < 1:
        problems.append(("spec.data.source", "has no training samples"))
    task = manifest.task_for(scale_target=bool(job.spec.data.scale_target))
    problems += task.problems(job.spec, manifest.validation_samples)
    if problems:
        raise SpecError(problems)
