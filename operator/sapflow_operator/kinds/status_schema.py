"""The schema of `status` that all kinds share. Only the driver writes `progress`, the operator everything else."""

from collections.abc import Mapping, Sequence
from typing import Any

from sapflow.quantities.roles import Role
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
            "conditions": {
                "type": "array",
                "maxItems": 16,
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
                "items": an_object(
                    "One aspect of the job's state.", _CONDITION, ["type", "status", "reason"]
                ),
            },
            "startTime": TIME,
            "completionTime": TIME,
            "activeSince": TIME,
            "activeSeconds": INTEGER,
            "images": an_object(
                "Images that the job runs on to its end, whatever the chart is upgraded to.",
                {"driver": text(1024)} | {role: text(1024) for role in roles},
            ),
            "memory": an_object("Memory limits in force.", {role: text(32) for role in roles}),
            **own,
        },
    )


def origin_schema(description: str) -> dict[str, Any]:
    """The schema of `status.origin`: what may be read of another job or search."""
    return an_object(
        description,
        {
            "uid": text(63),
            "trial": INTEGER | {"description": "The trial of that search."},
            "objects": {"type": "array", "maxItems": MOST_OBJECTS, "items": text(253)},
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


_CONDITION = {
    "type": text(63),
    "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
    "reason": text(128),
    "message": text(32_768),
    "lastTransitionTime": TIME,
    "observedGeneration": INTEGER,
}
