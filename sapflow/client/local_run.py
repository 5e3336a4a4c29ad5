"""The preparation of a local run, for command line and Python: cutting data, checks, the first forecast."""

from collections.abc import Mapping
from dataclasses import dataclass

from sapflow.client import inputs, job_data, preparation, session, stored
from sapflow.client.background import run_apart
from sapflow.client.job_data import find_manifest
from sapflow.client.preparation import Run
from sapflow.client.session import Session
from sapflow.data import in_memory
from sapflow.data.chunks import Source
from sapflow.data.manifest import Manifest, block_key, manifest_key
from sapflow.monitoring.display import Display
from sapflow.monitoring.progress import Progress
from sapflow.planning.extent import Extent
from sapflow.records.commits import Account
from sapflow.text import count
from sapflow.training import estimate


def _take_over(opened: Session, environ: Mapping[str, str]) -> Manifest | None:
    """The blocks of the job that this one begins at, copied, where the samples were in the memory of a program and so
    are nowhere else; None where they are not. Raises DataError if there is no such job, StoreError."""
    uid, data = opened.resolved.parent_uid, opened.job.spec.data
    if uid is None or not data.source.startswith(f"{in_memory.SCHEME}:"):
        return None
    with stored.find(uid, environ, store=opened.url) as parent:
        manifest, source = find_manifest(parent), parent.resolved.data_prefix
        if manifest is None or parent.job.spec.data.source != data.source:
            return None
    names = [block_key("", "train", index) for index in range(len(manifest.train))]
    names += [block_key("", "validation", index) for index in range(len(manifest.validation))]
    for name in [*names, manifest_key("")]:
        content = opened.store.read(f"{source}{name}")
        opened.store.create(f"{opened.resolved.data_prefix}{name}", content, durable=True)
    return manifest


@dataclass(frozen=True, slots=True)
class Ready:
    """What is known before training begins."""

    manifest: Manifest
    forward_flops: int
    """The model's arithmetic, for the planner."""
    account: Account
    """What a preparation of raw data has consumed, in earlier runs too."""


def prepare(
    opened: Session,
    display: Display,
    environ: Mapping[str, str],
    source: Source | None = None,
    *,
    run: Run = run_apart,
    max_instances: int | None = None,
) -> Ready:
    """Cut the data, or have functions prepare it, and check the job against it.

    `source` has the samples if they cannot be found by the name in the spec. `run` runs a preparation, on at most
    `max_instances` functions at once; spec.limits bound it.

    Raises JobFailed if data cannot be prepared, SpecError, DataError, StoreError, InputsChanged, and OtherNumerics
    before anything else if an earlier release began the job.
    """
    job, flops = opened.job, 0
    opened.check_numerics()
    inputs.check(opened, environ)
    resolved, manifest = job_data.find_or_cut(
        opened, display.stage, display.cut, source, elsewhere=lambda: _take_over(opened, environ)
    )
    account = Account()
    if manifest is None:
        made = run(
            preparation.within_deadline(
                resolved, opened.store, opened.url, environ, display, max_instances=max_instances
            )
        )
        manifest, account = made.manifest, made.account
    elif job.spec.data.prepare is not None and not opened.started():
        account = run_apart(preparation.consumed(opened))
    session.check_data(job, manifest)
    if not opened.started():
        display.stage("checking the model against data and memory")
        flops = estimate.examine_apart(job, manifest, environ)
    extent = Extent.of(job, manifest.train_samples)
    samples = f"{manifest.train_samples:,} samples, {manifest.validation_samples:,} held out"
    task = manifest.task_for().described
    display.stage(f"training {opened.uid}: {count(extent.total, extent.unit)}, {samples}; {task}")
    display.begin(Progress(extent))
    return Ready(manifest, flops, account)
