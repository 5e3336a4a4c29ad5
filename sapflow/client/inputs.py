"""Whether the code and the data of a job are still what it was begun with: its name in the store follows from its YAML
alone."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from sapflow.client.session import Session
from sapflow.data import cut
from sapflow.errors import DataError, InputsChanged, StoreUnavailable
from sapflow.objects.stores.protocol import Store
from sapflow.spec import source_code
from sapflow.spec.resolved import ResolvedJob


def check(opened: Session, environ: Mapping[str, str]) -> None:
    """Raise InputsChanged if a job that has versions was begun with other code or other data than there is now.

    `environ` is that of the functions. A source that cannot be read any more is no change: the job stands on its
    blocks.
    """
    first = opened.first_commit()
    if first is None:
        return
    changed = changed_data(opened.resolved, opened.store)
    if changed:
        raise InputsChanged(cut.data_changed(opened.uid, changed))
    # A fork begins with another job's version: what that began with matters no more.
    weights = None if first.get("origin") is not None else opened.job.spec.model.weights
    if weights is not None and (was := first.get("weights")) is not None:
        now = _digest(weights)
        if now not in (None, was):
            raise InputsChanged(
                f"the weights that job {opened.uid} was begun with, {weights}, are not those of the file now. To start "
                "from it, begin anew with `sapflow run --again` (in Python: again=True), or give the job another "
                "metadata.name or store"
            )
    code = opened.job.spec.model.code
    if not code or not isinstance(before := first.get("code"), dict):
        return
    differing = source_code.differences(before, source_code.apart(code, environ))
    if differing:
        more = f" and {len(differing) - 5} more" if len(differing) > 5 else ""
        raise InputsChanged(
            f"the code of job {opened.uid} ({', '.join(code)}) is not what it was begun with: "
            f"{', '.join(differing[:5])}{more}. To train what is there now, begin anew with `sapflow run --again` (in "
            "Python: again=True), or give the job another metadata.name or store; to go on, put the code back as it was"
        )


def _digest(path: str) -> str | None:
    """The SHA-256 of a local file; None of one that is gone, or lies elsewhere."""
    if path.startswith("s3://"):
        return None
    try:
        with Path(path.removeprefix("file://")).expanduser().open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def changed_data(resolved: ResolvedJob, store: Store) -> list[str]:
    """The files of the source that are not as they were when they were cut, in words."""
    try:
        return cut.changed_files(resolved, store)
    except (DataError, StoreUnavailable):
        return []
