"""A resolved job: everything that a job's driver and functions need to know about it, as one value and one document.

The document is the job's own, with the values that apply where it runs (the store, memory sizes that have grown). It
also has the decisions of the runtime: `runtime`, `memorySearch` during a search, and `sharedArea`. The program that
starts a job writes it, and driver and functions read it. So a new field of the spec reaches both without further code.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard, get_args

from pydantic import ValidationError

from sapflow.errors import SpecError
from sapflow.objects import keys
from sapflow.records.memory_search import SearchSettings
from sapflow.spec.document import parse
from sapflow.spec.training_job import Runtime, TrainingJob

RUNTIMES: tuple[Runtime, ...] = get_args(Runtime)
AREA_FIELD = "sharedArea"
"""The field of a document that names the shared area of the data."""
SEARCH_FIELD = "memorySearch"
"""The field with the settings of the search for the workers' memory size."""
_AREA = re.compile(rf"[0-9a-f]{{{keys.AREA_DIGITS}}}")
OPERATORS_FIELDS: dict[str, Any] = {
    "serve": True,
    "suspend": True,
    "ttl_seconds_after_finished": True,
    "pods": True,
    "storage": {"secret_name": True, "share_credentials": True, "deletion_policy": True},
}
"""Fields of the spec that only the operator uses. They are not in the document, so a change of one does not restart
the driver."""
_CHANGING = ("limits", "checkpoint", "workers", "memory", "cpu", "storage", "prices")
"""Fields of the spec that may differ between two drivers of one job: the user may change some while the job lives,
memory grows, and the store may be reached by another address. None of them names code. (How many workers a step has is
the plan's, not the spec's.)"""


@dataclass(frozen=True, slots=True)
class ResolvedJob:
    """A checked job, its runtime, and the prefix of its keys in the store."""

    job: TrainingJob
    prefix: str
    runtime: Runtime = "local"
    search: SearchSettings | None = None
    """The settings of the search that `memory.optimize` asks for, with current bounds. The spec has the first sizes."""
    parent: str | None = None
    """The uid of the job that `spec.from` names; None: that is its uid itself, or the job is no fork."""
    shared_data: str | None = None
    """The prefix of data that a search has cut for its trials; None: the data is the job's own, or its area's."""
    area: str | None = None
    """The digest of the shared area that has the job's data; None where the data lies below the job's own prefix."""

    @property
    def parent_uid(self) -> str | None:
        """The uid of the job at a version of which this one begins; None if it is no fork."""
        origin = self.job.spec.begins_at
        return None if origin is None else self.parent or origin.job

    @property
    def uid(self) -> str:
        """The job's name in requests and logs."""
        return keys.uid_of(self.prefix)

    @property
    def data_prefix(self) -> str:
        """The prefix of the manifest and the blocks of its data."""
        if self.shared_data is not None:
            return self.shared_data
        return keys.data(self.prefix if self.area is None else keys.area(self.area))

    def to_json(self) -> dict[str, Any]:
        """The document for `read`. For a local job it is that of its YAML, with all defaults."""
        document = self.job.model_dump(
            by_alias=True, mode="json", exclude_none=True, exclude={"spec": OPERATORS_FIELDS}
        )
        if self.runtime != "local":
            document["runtime"] = self.runtime
        if self.search is not None:
            document[SEARCH_FIELD] = self.search.body()
        if self.parent is not None:
            document["parent"] = self.parent
        if self.area is not None:
            document[AREA_FIELD] = self.area
        return document


def read(document: object, prefix: str) -> ResolvedJob:
    """The resolved job of a document; its keys begin with `prefix`. Raises SpecError with all problems.

    A document without `runtime` is that of a local job. Operators of earlier releases did not write this field; their
    documents have the uid of the TrainingJob, and are those of a cluster.
    """
    if not isinstance(document, Mapping):
        return ResolvedJob(parse(document), prefix)
    rest = dict(document)
    given = rest.pop("runtime", "kubernetes" if _has_uid(rest) else "local")
    runtime = runtime_of(given)
    search, parent = search_of(rest), rest.pop("parent", None)
    rest.pop(SEARCH_FIELD, None)
    area = rest.pop(AREA_FIELD, None)
    if area is not None and not is_area(area):
        raise SpecError([(AREA_FIELD, f"is {area!r}, and must be the {keys.AREA_DIGITS} digits of a digest")])
    named = None if parent is None else str(parent)
    return ResolvedJob(parse(rest, runtime), prefix, runtime, search, named, area=area)


def area_of(document: object) -> str | None:
    """The shared area that a document of `to_json` names; None if it names none."""
    found = document.get(AREA_FIELD) if isinstance(document, Mapping) else None
    return found if is_area(found) else None


def is_area(value: object) -> TypeGuard[str]:
    """Whether a value can be the digest of a shared area."""
    return isinstance(value, str) and _AREA.fullmatch(value) is not None


def runtime_of(given: object) -> Runtime:
    """The runtime that a document names. Raises SpecError where it is none."""
    runtime = next((each for each in RUNTIMES if each == given), None)
    if runtime is None:
        raise SpecError([("runtime", f"is {given!r}; this release of Sapflow knows {', '.join(RUNTIMES)}")])
    return runtime


def fixed_fields(document: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a document of `to_json` that is the same for all drivers of a job."""
    metadata = document["metadata"]
    return {
        "metadata": {name: metadata[name] for name in ("name", "namespace", "uid") if name in metadata},
        "spec": {name: value for name, value in document["spec"].items() if name not in _CHANGING},
        "runtime": document.get("runtime"),
        AREA_FIELD: document.get(AREA_FIELD),
    }


def differences(one: object, other: object, path: str = "") -> list[str]:
    """The paths of the fields in which two JSON values differ, in order."""
    if not isinstance(one, Mapping) or not isinstance(other, Mapping):
        return [] if one == other else [path]
    found = []
    for name in sorted({*one, *other}):
        found += differences(one.get(name), other.get(name), f"{path}.{name}" if path else str(name))
    return found


def _has_uid(document: Mapping[str, Any]) -> bool:
    metadata = document.get("metadata")
    return isinstance(metadata, Mapping) and "uid" in metadata


def search_of(document: Mapping[str, Any]) -> SearchSettings | None:
    """The settings of the search for a memory size in a document; None if there is none. Raises SpecError."""
    given = document.get(SEARCH_FIELD)
    if given is None:
        return None
    try:
        return SearchSettings.model_validate(given)
    except ValidationError as error:
        raise SpecError(
            [(".".join([SEARCH_FIELD, *map(str, each["loc"])]), each["msg"]) for each in error.errors()]
        ) from error
