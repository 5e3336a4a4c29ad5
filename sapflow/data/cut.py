"""Cutting a job's data into blocks, and the checks of a spec that need the data."""

import json
from collections.abc import Callable, Sequence
from functools import partial

from sapflow.data import fingerprint, shared_data
from sapflow.data.blocks import Manifest, cut_blocks, load_manifest
from sapflow.data.chunks import Source
from sapflow.data.data_file import DataFile
from sapflow.data.manifest import manifest_key
from sapflow.data.source import open_data
from sapflow.data.source_files import data_files, names_files, naming
from sapflow.errors import DataError, InputsChanged, ObjectMissing, SpecError
from sapflow.messages.documents import Document
from sapflow.objects import keys
from sapflow.objects.stores.protocol import Store
from sapflow.spec.resolved import ResolvedJob, fixed_fields
from sapflow.spec.resolved import read as read_resolved
from sapflow.spec.standing import refuse_another
from sapflow.spec.training_job import TrainingJob


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
        refuse_another(
            "job",
            key,
            standing,
            fixed_fields(document),
            lambda found: fixed_fields(read_resolved(found, resolved.prefix).to_json()),
            runtime=resolved.runtime,
            again="in a local run: --again",
        )
    return Document.of(key, standing)


@naming("spec.data")
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
    prefix, files = resolved.data_prefix, shared_data.finder(store.url)
    if data.prepare is not None:
        try:
            return load_manifest(store, manifest_key(prefix))
        except ObjectMissing as error:
            raise DataError(
                f"{data.source} is raw data, which is prepared by functions of its own: `sapflow run` and "
                "`sapflow prepare` do that"
            ) from error
    confirm: Callable[[], None] | None = None
    if resolved.area is not None:
        try:
            # Cut by another job, or an earlier driver, from a source that had the area's files.
            return load_manifest(store, manifest_key(prefix))
        except ObjectMissing:
            confirm = partial(refuse_changed, resolved, store, begun=False)
            confirm()
    elif source is None and (found := data_files(data, files)):
        settle_files(resolved, store, found)
    return cut_blocks(
        source or open_data(data, files),
        store,
        prefix,
        validation_fraction=data.validation_fraction,
        seed=spec.algorithm.seed,
        split=data.split,
        normalize=data.normalize,
        progress=progress,
        confirm=confirm,
    )


def refuse_changed(resolved: ResolvedJob, store: Store, *, begun: bool) -> None:
    """Raise InputsChanged if the files of a source in a shared area are not those that the area is for."""
    if changed := changed_files(resolved, store):
        cluster = resolved.runtime == "kubernetes"
        raise InputsChanged(data_changed(resolved.uid, changed, cluster=cluster, begun=begun))


def changed_files(resolved: ResolvedJob, store: Store) -> list[str]:
    """The files of the job's sources that are not as they were when they were cut, in words.

    There are none where nothing was cut, or the sources have no files. Raises DataError, StoreError.
    """
    data = resolved.job.spec.data
    before = fingerprint.read(store, resolved.data_prefix) if names_files(data) else None
    if before is None:
        return []
    found = data_files(data, shared_data.finder(store.url))
    return fingerprint.differences(before, found)


def settle_files(resolved: ResolvedJob, store: Store, files: list[DataFile]) -> None:
    """Record the files of the source before they are cut; what was cut of others is removed.

    Raises InputsChanged if the job has a version already, because that stands on what was cut.
    """
    prefix = resolved.data_prefix
    before = fingerprint.read(store, prefix)
    if before is not None:
        changed = fingerprint.differences(before, files)
        if not changed:
            return
        if store.exists(keys.commit(resolved.prefix, 0)):
            raise InputsChanged(data_changed(resolved.uid, changed))
        # In this order an interruption leaves what is found and removed the next time.
        store.delete([manifest_key(prefix)])
        for part in ("train", "validation", "work", "rejected"):
            store.delete_prefix(f"{prefix}{part}/")
        store.delete([keys.fitted_preparation(prefix), keys.profile(prefix)])
        store.delete([fingerprint.source_key(prefix)])
    store.create(fingerprint.source_key(prefix), fingerprint.describe(files).encode(), durable=True)


def data_changed(uid: str, changed: Sequence[str], *, cluster: bool = False, begun: bool = True) -> str:
    """The message about data that is not what the job has trained on, or is about to."""
    more = f" and {len(changed) - 5} more" if len(changed) > 5 else ""
    remedy = (
        "begin anew with `sapflow run --again` (in Python: again=True), or give the job another metadata.name "
        "or store"
    )
    if cluster:
        remedy = "delete the job and apply it again, or apply it under another metadata.name"
    when = "" if begun else ": it has changed while it was cut"
    return (
        f"the data of job {uid} is not what it was begun with{when}: {', '.join(changed[:5])}{more}. To train on what "
        f"is there now, {remedy}"
    )


def no_step(per_step: int, samples: int) -> str:
    """What is wrong with dropLast where no step would be left."""
    return (
        f"leaves no step: one takes {per_step:,} samples, and there are {samples:,}; leave it out, or lower "
        "data.batchSize, workers or algorithm.localSteps"
    )


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
