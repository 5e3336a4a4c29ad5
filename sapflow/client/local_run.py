"""The preparation of a local run, for command line and Python: cutting data, checks, the first forecast."""

from collections.abc import Mapping

from sapflow.client import inputs, session
from sapflow.client.session import Session
from sapflow.data.blocks import Manifest, load_manifest
from sapflow.data.chunks import Source
from sapflow.data.manifest import manifest_key
from sapflow.errors import ObjectMissing
from sapflow.monitoring.display import Display
from sapflow.monitoring.progress import Progress
from sapflow.objects import keys
from sapflow.planning.extent import Extent
from sapflow.text import count
from sapflow.training import estimate


def find_manifest(opened: Session) -> Manifest | None:
    """The manifest of the job's data, or None if it is not cut yet."""
    try:
        return load_manifest(opened.store, manifest_key(keys.data(opened.prefix)))
    except ObjectMissing:
        return None


def prepare(
    opened: Session, display: Display, environ: Mapping[str, str], source: Source | None = None
) -> tuple[Manifest, int]:
    """Cut the data and check the job against it. Returns the manifest, and the model's arithmetic for the planner.

    `source` has the samples if they cannot be found by the name in the spec.
    Raises SpecError, DataError, StoreError, InputsChanged, and OtherNumerics before anything else if an earlier release
    began the job.
    """
    job, flops = opened.job, 0
    opened.check_numerics()
    inputs.check(opened, environ)
    manifest = find_manifest(opened)
    if manifest is not None and not opened.started() and inputs.changed_data(opened):
        display.stage("the data has changed since it was cut")
        manifest = None
    if manifest is None:
        display.stage(f"cutting {job.spec.data.source} into blocks")
        manifest = opened.cut_data(display.cut, source)
    session.check_data(job, manifest)
    if not opened.started():
        display.stage("checking the model against data and memory")
        flops = estimate.examine_apart(job, manifest, environ)
    extent = Extent.of(job, manifest.train_samples)
    samples = f"{manifest.train_samples:,} samples, {manifest.validation_samples:,} held out"
    task = manifest.task_for().described
    display.stage(f"training {opened.uid}: {count(extent.total, extent.unit)}, {samples}; {task}")
    display.begin(Progress(extent))
    return manifest, flops
