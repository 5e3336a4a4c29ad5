"""What stands in a store where a job's or a search's spec was to be written, and is somebody else's."""

from collections.abc import Callable, Mapping
from typing import Any

from sapflow.errors import AlteredObject, SpecError
from sapflow.spec.resolved import differences
from sapflow.spec.training_job import Runtime
from sapflow.text import parse_json


def refuse_another(
    what: str,
    key: str,
    standing: bytes,
    wanted: Mapping[str, Any],
    fixed_of: Callable[[object], Mapping[str, Any]],
    *,
    runtime: Runtime,
    again: str,
) -> None:
    """Raise AlteredObject unless the spec that stands differs only in what may change while a job or search lives.

    `what` is `job` or `search`, `wanted` the part of its own spec that is fixed, and `fixed_of` takes that part of a
    document; it raises SpecError for what is none. `again`: how a local run begins anew.
    """
    remedy = f"start it anew ({again}), or use another store"
    if runtime == "kubernetes":
        remedy = f"delete the {what} and what lies under its prefix, find out who may write there, and create it again"
    try:
        found = fixed_of(parse_json(standing))
    except (ValueError, SpecError) as error:
        raise AlteredObject(f"{key} in the store is no spec of this {what}: {error}; {remedy}") from error
    if found != wanted:
        differing = ", ".join(differences(wanted, found)[:5])
        raise AlteredObject(
            f"{key} in the store is not the spec of this {what}: it differs in {differing}. Somebody else wrote it, "
            f"and nothing of it is used; {remedy}"
        )
