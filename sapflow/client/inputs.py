"""Whether the code and the data of a job are still what it was begun with: its name in the store follows from its YAML
alone."""

from collections.abc import Mapping

from sapflow.client.session import Session
from sapflow.data import cut
from sapflow.errors import DataError, InputsChanged, StoreUnavailable
from sapflow.spec import source_code


def check(opened: Session, environ: Mapping[str, str]) -> None:
    """Raise InputsChanged if a job that has versions was begun with other code or other data than there is now.

    `environ` is that of the functions. A source that cannot be read any more is no change: the job stands on its
    blocks.
    """
    first = opened.first_commit()
    if first is None:
        return
    changed = changed_data(opened)
    if changed:
        raise InputsChanged(cut.data_changed(opened.uid, changed))
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


def changed_data(opened: Session) -> list[str]:
    """The files of the source that are not as they were when they were cut, in words."""
    try:
        return cut.changed_files(opened.resolved, opened.store)
    except (DataError, StoreUnavailable):
        return []
