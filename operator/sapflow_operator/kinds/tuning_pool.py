"""The pool of a TuningJob: workers and mergers that all of its trials share, and the driver of the search."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from sapflow.objects import keys
from sapflow.quantities.memory import parse_quantity
from sapflow.quantities.roles import Role
from sapflow.spec.resolved_search import ResolvedSearch
from sapflow.spec.training_job import Metadata, StorageSpec
from sapflow.spec.tuning_job import TemplateSpec, TuningJob
from sapflow_operator import names
from sapflow_operator.kinds.job_pool import JobPool
from sapflow_operator.origin import granted
from sapflow_operator.wanted import Group, stored

MERGER_SHARE = 8
"""One in so many of the pool's functions is a merger: a merge is short beside the step of a worker."""


@dataclass(frozen=True)
class TuningPool(JobPool):
    """A search's functions and driver. `job` is its template, with the memory that the functions have now."""

    tuning: TuningJob
    begins_with: Mapping[str, Any] | None = None
    """`status.origin`: the uid of the search that `warmStartFrom` names, and the objects there that it reads."""

    resource: ClassVar = names.TUNING_JOB
    driver_module: ClassVar[str] = "sapflow_operator.driver_pod.search"
    deadline_field: ClassVar[str] = "spec.deadlineSeconds"
    fields: ClassVar[str] = "spec.template.spec"
    fails_alone: ClassVar[bool] = True

    @property
    def without_user_code(self) -> bool:
        """Whether neither the template nor a sampler has functions run a user's code. A parameter names none that the
        template does not: its path must be there."""
        return super().without_user_code and self.tuning.spec.search.entrypoint is None

    @property
    def groups(self) -> list[Group]:
        """The Knative Services. Their instances are at most maxWorkers together, unless one trial needs more.

        The driver keeps the calls in flight within maxWorkers; this bounds those of a driver that is gone, too.
        """
        return [Group(role, None, most) for role, most in self.instances_of(self.tuning).items()]

    @staticmethod
    def instances_of(tuning: TuningJob) -> dict[Role, int]:
        """The most functions of each role that a search has."""
        spec, one = tuning.spec, tuning.template.instances
        useful = one["merger"] * spec.trials_at_once
        mergers = max(1, min(useful, spec.max_workers // MERGER_SHARE))
        found: dict[Role, int] = {
            "worker": max(spec.most_workers, spec.max_workers - mergers),
            "merger": mergers,
        }
        if "preparer" in one:
            # They are at work before the first trial is, so they take nothing of maxWorkers from it.
            found["preparer"] = spec.max_workers
        return found

    @property
    def told(self) -> dict[str, Any]:
        """The search as its driver reads it: with the place of its store."""
        return self.resolved.to_json()

    @property
    def resolved(self) -> ResolvedSearch:
        """The search as driver and functions read it from its store, named by its uid.

        With the first memory sizes: the driver learns of others by itself, and need not begin anew.
        """
        storage = StorageSpec.model_validate(stored(self.place))
        template = self.tuning.template.spec.model_copy(update={"storage": storage})
        metadata = Metadata.model_validate({"name": self.name, "namespace": self.namespace, "uid": self.uid})
        spec = self.tuning.spec.model_copy(update={"template": TemplateSpec(spec=template), "serve": None})
        tuning = self.tuning.model_copy(update={"metadata": metadata, "spec": spec})
        warm = None if self.begins_with is None else str(self.begins_with["uid"])
        return ResolvedSearch(tuning, keys.job(self.uid), "kubernetes", warm, self.area, self.search)

    @property
    def origin(self) -> list[str]:
        return granted(self.begins_with)

    def environment(self, role: Role) -> dict[str, str]:
        return {"SAPFLOW_MEMORY_BYTES": str(parse_quantity(self.memory(role)))}

    @property
    def documents(self) -> dict[str, str]:
        return {names.JOB_KEY: json.dumps(self.told, sort_keys=True, indent=1)}

    @property
    def deadline_seconds(self) -> float | None:
        return self.tuning.spec.deadline_seconds

    @property
    def rights(self) -> list[dict[str, Any]]:
        """To the objects of trials; the chart's admission policy lets it have those of its own search only."""
        return [
            {
                "apiGroups": [names.GROUP],
                "resources": [names.TRIAL.plural],
                "verbs": [*names.TRIAL_VERBS],
            }
        ]
