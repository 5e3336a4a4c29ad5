"""A resolved search: everything that its driver and functions need to know about it, as one value and one document.

The document is the TuningJob, with the values that apply where it runs and the decisions of the runtime, as a resolved
job has them (`sapflow.spec.resolved`). It is the search's `spec.json`, locally and in a cluster.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sapflow.objects import keys
from sapflow.records.memory_search import SearchSettings
from sapflow.spec import resolved, tuning_document
from sapflow.spec.resolved import AREA_FIELD, OPERATORS_FIELDS, SEARCH_FIELD, ResolvedJob
from sapflow.spec.training_job import Runtime
from sapflow.spec.tuning_job import TuningJob

RAISABLE = ("maxTrials", "maxFailedTrials", "maxWorkers", "parallelTrials", "budgetUSD", "deadlineSeconds")
"""Fields of a search's spec that may change between two runs of it, after its end too."""
_CHANGING = ("memory", "storage")
"""Fields of the template that may differ between two drivers of one search: memory grows, and the store may be reached
by another address."""


@dataclass(frozen=True, slots=True)
class ResolvedSearch:
    """A checked search, its runtime, and the prefix of its keys in the store."""

    job: TuningJob
    prefix: str
    runtime: Runtime = "local"
    warm_start: str | None = None
    """The uid of the search that `spec.warmStartFrom` names; None: that is found by its name, or there is none."""
    area: str | None = None
    """The digest of the shared area that has the template's data; None where it lies below the search's own prefix."""
    sizes: SearchSettings | None = None
    """The settings of the search for the workers' memory size that `memory.optimize` asks for, with current bounds."""

    @property
    def uid(self) -> str:
        """The search's name in requests and logs."""
        return keys.uid_of(self.prefix)

    @property
    def template(self) -> ResolvedJob:
        """The template as a job whose data is the search's."""
        return ResolvedJob(self.job.template, self.prefix, self.runtime, self.sizes, area=self.area)

    def to_json(self) -> dict[str, Any]:
        """The document for `read`."""
        document = self.job.model_dump(
            by_alias=True,
            mode="json",
            exclude_none=True,
            exclude={
                "spec": {
                    "serve": True,
                    "suspend": True,
                    "ttl_seconds_after_finished": True,
                    "template": {"spec": OPERATORS_FIELDS},
                }
            },
        )
        if self.runtime != "local":
            document["runtime"] = self.runtime
        if self.warm_start is not None:
            document["warmStart"] = self.warm_start
        if self.area is not None:
            document[AREA_FIELD] = self.area
        if self.sizes is not None:
            document[SEARCH_FIELD] = self.sizes.body()
        return document


def read(document: object, prefix: str) -> ResolvedSearch:
    """The resolved search of a document; its keys begin with `prefix`. Raises SpecError with all problems."""
    if not isinstance(document, Mapping):
        return ResolvedSearch(tuning_document.parse(document), prefix)
    rest = dict(document)
    runtime = resolved.runtime_of(rest.pop("runtime", "local"))
    warm_start, area, sizes = rest.pop("warmStart", None), resolved.area_of(rest), resolved.search_of(rest)
    for field in (AREA_FIELD, SEARCH_FIELD):
        rest.pop(field, None)
    named = None if warm_start is None else str(warm_start)
    return ResolvedSearch(tuning_document.parse(rest, runtime), prefix, runtime, named, area, sizes)


def fixed_fields(document: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a document of `to_json` that is the same for all drivers of a search."""
    metadata, spec = document["metadata"], document["spec"]
    template = {name: value for name, value in spec["template"]["spec"].items() if name not in _CHANGING}
    return {
        "metadata": {name: metadata[name] for name in ("name", "namespace", "uid") if name in metadata},
        "spec": {name: value for name, value in spec.items() if name not in (*RAISABLE, "template")},
        "template": template,
        "runtime": document.get("runtime"),
    }
