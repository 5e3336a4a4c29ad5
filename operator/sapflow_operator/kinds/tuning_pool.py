"""The pool of a TuningJob: workers and mergers that all of its trials share, and the driver of the search."""

import json
from dataclasses import dataclass
from typing import Any, ClassVar

from sapflow.quantities.roles import Role
from sapflow.spec.resolved import OPERATORS_FIELDS
from sapflow.spec.tuning_job import TuningJob
from sapflow_operator import names
from sapflow_operator.kinds.job_pool import JobPool
from sapflow_operator.wanted import Group, stored

MERGER_SHARE = 8
"""One in so many of the pool's functions is a merger: a merge is short beside the step of a worker."""


@dataclass(frozen=True)
class TuningPool(JobPool):
    """A search's functions and driver. `job` is its template, with the memory that the functions have now."""

    tuning: TuningJob

    resource: ClassVar = names.TUNING_JOB
    driver_module: ClassVar[str] = "sapflow_operator.driver_pod.search"
    deadline_field: ClassVar[str] = "spec.deadlineSeconds"
    fields: ClassVar[str] = "spec.template.spec"

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
        return {"worker": max(spec.most_workers, spec.max_workers - mergers), "merger": mergers}

    @property
    def told(self) -> dict[str, Any]:
        """The search as its driver reads it: with the place of its store, and the current memory sizes."""
        document = self.tuning.model_dump(
            by_alias=True,
            mode="json",
            exclude_none=True,
            exclude={
                "metadata": True,
                "spec": {"suspend": True, "ttl_seconds_after_finished": True, "template": True},
            },
        )
        template = self.job.spec.model_dump(
            by_alias=True, mode="json", exclude_none=True, exclude=OPERATORS_FIELDS
        )
        template["storage"] = stored(self.place)
        document["spec"]["template"] = {"spec": template}
        document["metadata"] = {"name": self.name, "namespace": self.namespace, "uid": self.uid}
        return document

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
