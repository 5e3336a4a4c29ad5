"""A resolved job: everything that a job's driver and functions need to know of it, in one value and one document.

The document is the job's own with the values in force where it runs (the store, sizes that have grown since), and
beside them what the runtime has decided: `runtime`, and `memorySearch` where a search is under way. Whoever starts a
job writes it; its driver and its functions read it. So a field of the spec reaches both without another line of code.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import ValidationError

from sapflow.errors import SpecError
from sapflow.objects import keys
from sapflow.records.memory_search import SearchSettings
from sapflow.spec.document import parse
from sapflow.spec.training_job import Runtime, TrainingJob

RUNTIMES: tuple[Runtime, ...] = get_args(Runtime)
_OPERATORS: dict[str, Any] = {
    "spec": {
        "suspend": True,
        "ttl_seconds_after_finished": True,
        "storage": {"secret_name": True, "share_credentials": True, "deletion_policy": True},
    }
}
"""Fields that the operator alone acts on. No document has them, so that to change one starts no driver anew."""


@dataclass(frozen=True, slots=True)
class ResolvedJob:
    """A checked job, where it runs, and below which prefix of the store its keys lie."""

    job: TrainingJob
    prefix: str
    runtime: Runtime = "local"
    search: SearchSettings | None = None
    """The bounds in force of the search that `memory.optimize` asks for; the spec's sizes are those it starts from."""

    @property
    def uid(self) -> str:
        """What requests and logs call the job."""
        return keys.uid_of(self.prefix)

    def to_json(self) -> dict[str, Any]:
        """The document; `read` reads it back. That of a local job is its YAML's, with all defaults."""
        document = self.job.model_dump(by_alias=True, mode="json", exclude_none=True, exclude=_OPERATORS)
        if self.runtime != "local":
            document["runtime"] = self.runtime
        if self.search is not None:
            document["memorySearch"] = self.search.body()
        return document


def read(document: object, prefix: str) -> ResolvedJob:
    """The resolved job of a document whose job has its keys below `prefix`. Raises SpecError with all problems.

    A document without `runtime` is a local job's; one that an operator wrote before there was this field names the uid
    of its TrainingJob, and is a cluster's.
    """
    if not isinstance(document, Mapping):
        return ResolvedJob(parse(document), prefix)
    rest = dict(document)
    given = rest.pop("runtime", "kubernetes" if _has_uid(rest) else "local")
    runtime = next((each for each in RUNTIMES if each == given), None)
    if runtime is None:
        raise SpecError([("runtime", f"is {given!r}; this release of Sapflow knows {', '.join(RUNTIMES)}")])
    search = _search(rest.pop("memorySearch", None))
    return ResolvedJob(parse(rest, runtime), prefix, runtime, search)


def _has_uid(document: Mapping[str, Any]) -> bool:
    metadata = document.get("metadata")
    return isinstance(metadata, Mapping) and "uid" in metadata


def _search(given: object) -> SearchSettings | None:
    if given is None:
        return None
    try:
        return SearchSettings.model_validate(given)
    except ValidationError as error:
        raise SpecError(
            [(".".join(["memorySearch", *map(str, each["loc"])]), each["msg"]) for each in error.errors()]
        ) from error
