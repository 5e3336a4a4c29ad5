"""The spec of a TuningJob as the API server checks it. Its template is checked by the rules of TrainingJobs."""

from collections.abc import Mapping
from typing import Any

from sapflow.spec.tuning_job import SHORT_NAME, TuningSpec
from sapflow.spec.tuning_rules import TUNING_RULES
from sapflow_operator.kind import Definition
from sapflow_operator.kinds.job_rules import job_rules

TUNING_MUTABLE = ("serve", "suspend", "ttlSecondsAfterFinished")
_RAISED = ("parallelTrials", "maxWorkers", "maxTrials", "maxFailedTrials", "budgetUSD", "deadlineSeconds")
_ENDLESS = ("budgetUSD", "deadlineSeconds")
"""Limits that are none where they are left out."""


def _only_up(name: str) -> tuple[str, str]:
    up = f"has(self.{name}) && has(oldSelf.{name}) && self.{name} >= oldSelf.{name}"
    if name == "maxWorkers":
        up = f"self.{name} >= oldSelf.{name}"
    elif name in _ENDLESS:
        up = f"!has(self.{name}) || {up}"
    return up, "may be raised, also after the search's end, and not lowered"


def tuning_definition(columns: tuple[Mapping[str, Any], ...], status: Mapping[str, Any]) -> Definition:
    """The definition of TuningJobs, but for what their driver reports."""
    return Definition(
        short_names=(SHORT_NAME,),
        description="A search for the hyperparameters of a TrainingJob.",
        spec=TuningSpec,
        spec_description="What is searched, for what, and how.",
        made_from="sapflow/spec/tuning_job.py",
        mutable=TUNING_MUTABLE,
        conditional={name: _only_up(name) for name in _RAISED},
        rules=tuple(
            {"rule": rule.cel, "message": rule.message, "fieldPath": f".{rule.field}"}
            for rule in TUNING_RULES
        ),
        inner_rules={"template.spec": tuple(job_rules())},
        columns=columns,
        status=status,
    )
