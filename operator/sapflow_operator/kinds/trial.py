"""The objects of a search's trials, for people to see and to delete. The search's driver writes them.

There are objects for trials that run or wait, for the best and the last ones. The whole history is in the store.
"""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from sapflow.spec.tuning_job import MOST_PARAMETERS
from sapflow.spec.types import Model
from sapflow_operator import names
from sapflow_operator.kind import Definition
from sapflow_operator.kinds.status_schema import INTEGER, NUMBER, TIME, an_object, text
from sapflow_operator.kinds.tuning_status import VALUE_CHARACTERS
from sapflow_operator.names import Resource

SUMMARY_CHARACTERS = 256
"""The most characters of a trial's parameters in a column of `kubectl get`."""


class TrialSpec(Model):
    """What a trial is; it never changes."""

    number: Annotated[int, Field(ge=0, le=10_000_000)] = Field(
        description="Its number, from 0 in their order."
    )
    parameters: Annotated[
        dict[str, Annotated[str, Field(max_length=VALUE_CHARACTERS)]], Field(max_length=MOST_PARAMETERS)
    ] = Field(description="The values of its parameters as JSON, by path in the template.")


@dataclass(frozen=True, slots=True)
class Described:
    """A custom resource that has no controller."""

    resource: Resource
    definition: Definition


TRIAL = Described(
    names.TRIAL,
    Definition(
        short_names=(),
        description="A trial of a TuningJob. Deleting it stops the trial; whatever else is changed has no effect.",
        spec=TrialSpec,
        spec_description="What the trial is.",
        made_from="operator/sapflow_operator/kinds/trial.py",
        mutable=(),
        rules=(),
        columns=(
            {"name": "State", "type": "string", "jsonPath": ".status.state"},
            {"name": "Step", "type": "integer", "jsonPath": ".status.step"},
            {"name": "Objective", "type": "number", "jsonPath": ".status.objective"},
            {"name": "Parameters", "type": "string", "jsonPath": ".status.parameters"},
            {"name": "Dollars", "type": "number", "jsonPath": ".status.costUSD"},
        ),
        status=an_object(
            "What became of the trial.",
            {
                "state": text(32),
                "reason": text(1024),
                "step": INTEGER | {"description": "Units that it was trained for: epochs, or steps."},
                "objective": NUMBER,
                "secondObjective": NUMBER,
                "parameters": text(SUMMARY_CHARACTERS),
                "costUSD": NUMBER,
                "seconds": NUMBER,
                "updated": TIME,
            },
        ),
        served=False,
    ),
)
