"""The schema of `status` that all kinds share. Only the driver writes `progress`, the operator everything else."""

from collections.abc import Mapping, Sequence
from typing import Any

from sapflow.objects import keys
from sapflow.quantities.roles import Role
from sapflow.records.memory_search import MOST_TRIALS
from sapflow.spec.tuning_job import MOST_PARAMETERS
from sapflow_operator.origin import MOST_OBJECTS

INTEGER = {"type": "integer", "format": "int64", "minimum": 0}
NUMBER = {"type": "number"}
TIME = {"type": "string", "format": "date-time"}


def status_schema(roles: Sequence[Role], own: Mapping[str, Any]) -> dict[str, Any]:
    """The structural schema of a kind's `status`, for functions of these roles and with the kind's own fields."""
    return an_object(
        "What became of the job.",
        {
            "observedGeneration": INTEGER,
            "conditions": conditions("One aspect of the job's state."),
            "startTime": TIME,
            "completionTime": TIME,
            "activeSince": TIME,
            "activeSeconds": INTEGER,
            "images": an_object(
                "Images that the job runs on to its end, whatever the chart is upgraded to.",
                {"driver": text(1024)} | {role: text(1024) for role in roles},
            ),
            "memory": an_object(
                "Memory limits in force, and the largest that a worker was killed over.",
                {role: text(32) for role in roles}
                | {f"{role}Killed": text(32) for role in roles if role == "worker"},
            ),
            "serving": an_object(
                "The ModelService that spec.serve has made.", {"name": text(63), "digest": text(64)}
            ),
            **own,
        },
    )


def conditions(description: str) -> dict[str, Any]:
    """The schema of `status.conditions`, each of which is what is described."""
    return {
        "type": "array",
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": an_object(description, _CONDITION, ["type", "status", "reason"]),
    }


def origin_schema(description: str) -> dict[str, Any]:
    """The schema of `status.origin`: what may be read of another job or search."""
    return an_object(
        description,
        {
            "uid": text(63),
            "trial": INTEGER | {"description": "The trial of that search."},
            "objects": {"type": "array", "maxItems": MOST_OBJECTS, "items": text(253)},
            "parameters": {
                "type": "object",
                "description": "The values of the trial's parameters, by path.",
                "x-kubernetes-preserve-unknown-fields": True,
            },
            "absent": {"type": "array", "maxItems": MOST_PARAMETERS, "items": text(253)},
        },
        ["uid", "objects"],
    )


def text(length: int) -> dict[str, Any]:
    return {"type": "string", "maxLength": length}


def an_object(
    description: str, properties: dict[str, Any], required: list[str] | None = None
) -> dict[str, Any]:
    schema = {"type": "object", "description": description, "properties": properties}
    return schema | {"required": required} if required else schema


MEMORY = an_object(
    "Memory limits of the functions; where memory.optimize searches for the workers', the one wanted.",
    {
        "worker": text(32),
        "merger": text(32),
        "preparer": text(32),
        "searching": {"type": "boolean"},
        "trials": {
            "type": "array",
            "maxItems": MOST_TRIALS,
            "items": an_object(
                "A size that was tried, until which step, and what one took.",
                {"worker": text(32), "step": INTEGER, "secondsPerStep": NUMBER, "costUSD": NUMBER},
            ),
        },
    },
)
RANGE = {
    "type": "array",
    "description": "Between what eight in ten draws of the forecast lie.",
    "maxItems": 2,
    "items": NUMBER,
}
GRADED = {
    "forecastSecondsRange": RANGE,
    "forecastSecondsError": NUMBER | {"description": "Relative to what was measured: +0.1 is 10 % too much."},
    "forecastSecondsWithin": {"type": "boolean"},
    "forecastCostUSD": NUMBER,
    "forecastCostRange": RANGE,
    "forecastCostError": NUMBER,
    "forecastCostWithin": {"type": "boolean"},
}
"""What is said of a forecast with a spread beside its seconds."""
PREPARATION = an_object(
    "How far the preparation of raw data is, or was when the driver ended it.",
    {
        "stage": text(1024) | {"description": "What preparers do; left out once they are done."},
        "partitions": INTEGER,
        "partitionsDone": INTEGER | {"description": "Of this stage."},
        "rows": INTEGER | {"description": "Rows that were read."},
        "rejectedRows": INTEGER | {"description": "Those of them that gave no sample."},
        "forecastSeconds": NUMBER
        | {"description": "Of the whole preparation, once its first rows are parsed."},
        **GRADED,
    },
)
SHARED_DATA = an_object(
    "The shared area of the store that has the job's data, fixed when it starts.",
    {"digest": {**text(keys.AREA_DIGITS), "pattern": f"^[0-9a-f]{{{keys.AREA_DIGITS}}}$"}},
)
_CONDITION = {
    "type": text(63),
    "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
    "reason": text(128),
    "message": text(32_768),
    "lastTransitionTime": TIME,
    "observedGeneration": INTEGER,
}
