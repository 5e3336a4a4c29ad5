"""The data of a local job, or of a local search, in blocks: where it lies, whether it is that of now, and its cut."""

from collections.abc import Callable
from typing import Protocol

from sapflow.client import inputs
from sapflow.data import cut
from sapflow.data.blocks import load_manifest
from sapflow.data.chunks import Source
from sapflow.data.manifest import Manifest, manifest_key
from sapflow.errors import ObjectMissing
from sapflow.objects.stores.protocol import Store
from sapflow.spec.resolved import ResolvedJob


class DataHolder(Protocol):
    """A job in a store, or a search, whose trials have the data of its template."""

    @property
    def store(self) -> Store: ...

    @property
    def data_of(self) -> ResolvedJob:
        """The job whose data it is: the job itself, or the search's template."""

    def started(self) -> bool:
        """Whether there is a first version, which stands on the data."""

    def settle(self, source: Source | None = None) -> ResolvedJob:
        """Write down where the data lies. Raises DataError, AlteredObject, StoreError."""


def find_manifest(opened: DataHolder) -> Manifest | None:
    """The manifest of the data, or None if it is not in blocks yet. Raises StoreError."""
    try:
        return load_manifest(opened.store, manifest_key(opened.data_of.data_prefix))
    except ObjectMissing:
        return None


def find_or_cut(
    opened: DataHolder,
    stage: Callable[[str], None],
    progress: Callable[[int], None] | None = None,
    source: Source | None = None,
    *,
    elsewhere: Callable[[], Manifest | None] = lambda: None,
) -> tuple[ResolvedJob, Manifest | None]:
    """The job whose data it is, with the place of that, and the manifest; None where functions are to prepare raw data.

    Samples are cut here unless that is done; `progress` is told of how many. Blocks of other files than there are now
    count only where something stands on them. `source` has the samples if the spec's name does not lead to them, and
    `elsewhere` finds blocks at another place. Raises DataError, StoreError, InputsChanged.
    """
    changed = (
        not opened.started()
        and find_manifest(opened) is not None
        and bool(inputs.changed_data(opened.data_of, opened.store))
    )
    if changed:
        stage("the data has changed since it was cut")
    resolved = opened.settle(source)
    manifest = None if changed and resolved.area is None else find_manifest(opened)
    if manifest is None and source is None:
        manifest = elsewhere()
    data = resolved.job.spec.data
    if manifest is None and data.prepare is None:
        stage(f"cutting {data.source} into blocks")
        manifest = cut.cut(resolved, opened.store, progress, source)
    return resolved, manifest
