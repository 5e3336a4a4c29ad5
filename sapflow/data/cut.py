"""Cutting a job's data into blocks, and the checks of a spec that need the data."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import urlsplit

from sapflow.data import fingerprint
from sapflow.data.blocks import POOL_BLOCKS, Manifest, cut_blocks
from sapflow.data.chunks import Source
from sapflow.data.data_file import DataFile
from sapflow.data.label_counts import MARKED, spread
from sapflow.data.manifest import manifest_key
from sapflow.data.source import has_files, open_source, used_files
from sapflow.errors import AlteredObject, DataError, InputsChanged, SpecError
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
        return _read_s3(url, store)

    if source is None and has_files(data.source):
        _settle_files(resolved, store, used_files(data.source, data.format, files)[1])
    return cut_blocks(
        source or open_source(data.source, data.format, options=data.options, read_s3=files),
        store,
        keys.data(resolved.prefix),
        validation_fraction=data.validation_fraction,
        seed=spec.algorithm.seed,
        normalize=data.normalize,
        progress=progress,
    )


def _read_s3(url: str, store: Store) -> list[DataFile]:
    from sapflow.data.remote import s3_files  # only this needs its client

    return s3_files(beside(url, store.url))


def changed_files(resolved: ResolvedJob, store: Store) -> list[str]:
    """The files of the job's source that are not as they were when they were cut, in words.

    There are none where nothing was cut, or the source has no files. Raises DataError, StoreError.
    """
    data = resolved.job.spec.data
    before = fingerprint.read(store, keys.data(resolved.prefix)) if has_files(data.source) else None
    if before is None:
        return []
    found = used_files(data.source, data.format, lambda url: _read_s3(url, store))[1]
    return fingerprint.differences(before, found)


def _settle_files(resolved: ResolvedJob, store: Store, files: list[DataFile]) -> None:
    """Record the files of the source before they are cut; what was cut of others is removed.

    Raises InputsChanged if the job has a version already, because that stands on what was cut.
    """
    prefix = keys.data(resolved.prefix)
    before = fingerprint.read(store, prefix)
    if before is not None:
        changed = fingerprint.differences(before, files)
        if not changed:
            return
        if store.exists(keys.commit(resolved.prefix, 0)):
            raise InputsChanged(data_changed(resolved.uid, changed))
        # In this order an interruption leaves what is found and removed the next time.
        store.delete([manifest_key(prefix)])
        for part in ("train", "validation"):
            store.delete_prefix(f"{prefix}{part}/")
        store.delete([fingerprint.source_key(prefix)])
    store.create(fingerprint.source_key(prefix), fingerprint.describe(files).encode(), durable=True)


def data_changed(uid: str, changed: Sequence[str]) -> str:
    """The message about data that is not what the job has trained on."""
    more = f" and {len(changed) - 5} more" if len(changed) > 5 else ""
    return (
        f"the data of job {uid} is not what it was begun with: {', '.join(changed[:5])}{more}. To train on what is "
        "there now, begin anew with `sapflow run --again` (in Python: again=True), or give the job another "
        "metadata.name or store"
    )


def no_step(per_step: int, samples: int) -> str:
    """What is wrong with dropLast where no step would be left."""
    return (
        f"leaves no step: one takes {per_step:,} samples, and there are {samples:,}; leave it out, or lower "
        "data.batchSize, workers or algorithm.localSteps"
    )


def beside(source: str, store: str) -> str:
    """An s3:// URL, completed with the endpoint and region of the store's URL if it has none of its own."""
    parts, own = urlsplit(source, allow_fragments=False), urlsplit(store)
    if parts.query or own.scheme != "s3":
        return source
    return parts._replace(query=own.query).geturl()


def label_warning(job: TrainingJob, manifest: Manifest) -> str | None:
    """What is to be said where the blocks' labels differ markedly; None where they do not.

    It begins with WARNING where workers go on alone with such samples: with local steps, or a fixed partition.
    """
    apart = spread(manifest.label_counts)
    if apart < MARKED:
        return None
    said = (
        f"labels are not mixed: {apart:.0%} of a block's labels would have to change for it to be like the whole, on "
        f"average, and the cut shuffles samples within {POOL_BLOCKS} blocks only"
    )
    remedy = "shuffle the rows of the source, across its files, before they are cut"
    local, fixed = job.spec.algorithm.facts.local_steps > 1, job.spec.data.partition == "Fixed"
    if local or fixed:
        named = " and ".join(["spec.algorithm.localSteps"] * local + ["spec.data.partition: Fixed"] * fixed)
        return f"WARNING: {said}. With {named} workers learn from other labels than the rest: {remedy}"
    return f"{said}; steps see other labels at other times of an epoch. If that matters, {remedy}"


def check_data(job: TrainingJob, manifest: Manifest) -> None:
    """Check the parts of a spec that depend on the data. Raises SpecError."""
    problems = []
    if manifest.train_samples < 1:
        problems.append(("spec.data.source", "has no training samples"))
    per_step = job.spec.workers * job.spec.data.batch_size * job.spec.algorithm.facts.local_steps
    if job.spec.data.drop_last and 0 < manifest.train_samples < per_step:
        problems.append(("spec.data.dropLast", no_step(per_step, manifest.train_samples)))
    task = manifest.task_for(scale_target=bool(job.spec.data.scale_target))
    problems += task.problems(job.spec, manifest.validation_samples)
    if problems:
        raise SpecError(problems)
