"""Whose an object is: the resource's own, an earlier resource's of the same name, or somebody else's. Pure."""

from collections.abc import Mapping
from typing import Any

from sapflow_operator import names
from sapflow_operator.errors import EarlierObjects, NotOwned, OperatorError
from sapflow_operator.observed import JobObject

Object = Mapping[str, Any]


def owns(job: JobObject, child: Object) -> bool:
    """Whether an object belongs to this very resource, not only to one of its name."""
    return any(each.get("uid") == job.uid for each in child["metadata"].get("ownerReferences", ()))


def obstacle(job: JobObject, child: Object) -> OperatorError:
    """The error that says why an object which has the name of one of the resource's children cannot be one."""
    metadata = child["metadata"]
    what = f"{child['kind']} {metadata['name']}"
    if _of_an_earlier(job, child):
        return EarlierObjects(f"{what} of an earlier {job.resource.kind} of this name is still being removed")
    return NotOwned(
        f"{what} is there already and belongs to something else, so it is left as it is: remove or rename it, or give "
        f"this {job.resource.kind} another name; until then nothing is made for it"
    )


def _of_an_earlier(job: JobObject, child: Object) -> bool:
    return any(
        (each.get("kind"), each.get("name")) == (job.resource.kind, job.name)
        and str(each.get("apiVersion", "")).partition("/")[0] == names.GROUP
        for each in child["metadata"].get("ownerReferences", ())
    )
