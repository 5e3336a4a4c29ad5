"""The schema of `status`: conditions, result and sizes are the operator's, `progress` is the driver's alone."""

from typing import Any

from sapflow.quantities.roles import TRAINING_ROLES
from sapflow.records.memory_search import MOST_TRIALS
from sapflow.spec.placement import MAX_CELLS

_INTEGER = {"type": "integer", "format": "int64", "minimum": 0}
_NUMBER = {"type": "number"}
_TIME = {"type": "string", "format": "date-time"}


def status_schema() -> dict[str, Any]:
    """The structural schema of `status`."""
    return _object(
        "What became of the job.",
        {
            "observedGeneration": _INTEGER,
            "conditions": {
                "type": "array",
                "maxItems": 16,
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
                "items": _object("One aspect of the job's state.", _CONDITION, ["type", "status", "reason"]),
            },
            "startTime": _TIME,
            "completionTime": _TIME,
            "images": _object(
                "Images that the job runs on to its end, whatever the chart is upgraded to.",
                {"driver": _text(1024)} | {role: _text(1024) for role in TRAINING_ROLES},
            ),
            "memory": _object(
                "Memory limits in force, and the largest that a worker was killed over.",
                {role: _text(32) for role in TRAINING_ROLES} | {"workerKilled": _text(32)},
            ),
            "placement": _object(
                "The cells of a job with affinity, fixed when it starts.",
                {
                    "cells": _INTEGER,
                    "memoryPerCell": _text(32),
                    "nodes": {
                        "type": "array",
                        "maxItems": MAX_CELLS,
                        "x-kubernetes-list-type": "map",
                        "x-kubernetes-list-map-keys": ["cell"],
                        "items": _object(
                            "Where a cell is.", {"cell": _INTEGER, "node": _text(253)}, ["cell", "node"]
                        ),
                    },
                },
            ),
            "progress": _object("What the driver last reported.", _PROGRESS),
            "result": _object("Where the trained model is.", RESULT),
        },
    )


def _text(length: int) -> dict[str, Any]:
    return {"type": "string", "maxLength": length}


def _object(
    description: str, properties: dict[str, Any], required: list[str] | None = None
) -> dict[str, Any]:
    schema = {"type": "object", "description": description, "properties": properties}
    return schema | {"required": required} if required else schema


_CONDITION = {
    "type": _text(63),
    "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
    "reason": _text(128),
    "message": _text(32_768),
    "lastTransitionTime": _TIME,
    "observedGeneration": _INTEGER,
}
_PROGRESS = {
    "step": _INTEGER,
    "steps": _INTEGER,
    "epoch": _INTEGER,
    "percent": _NUMBER,
    "loss": _NUMBER,
    "accuracy": _NUMBER,
    "validationLoss": _NUMBER,
    "validationAccuracy": _NUMBER,
    "secondsPerStep": _NUMBER,
    "estimatedSecondsLeft": _NUMBER,
    "costUSD": _NUMBER,
    "invocations": _INTEGER,
    "coldStarts": _INTEGER,
    "retries": _INTEGER,
    "hedges": _INTEGER,
    "memory": _object(
        "Memory limits of the functions; where memory.optimize searches for the workers', the one wanted.",
        {
            "worker": _text(32),
            "merger": _text(32),
            "searching": {"type": "boolean"},
            "trials": {
                "type": "array",
                "maxItems": MOST_TRIALS,
                "items": _object(
                    "A size that was tried, until which step, and what one took.",
                    {"worker": _text(32), "step": _INTEGER, "secondsPerStep": _NUMBER, "costUSD": _NUMBER},
                ),
            },
        },
    ),
    "structure": {"type": "array", "maxItems": 8, "items": _INTEGER},
    "shards": _INTEGER,
    "forecastSeconds": _NUMBER,
    "forecastCostUSD": _NUMBER,
    "forecastSecondsError": _NUMBER,
    "forecastCostError": _NUMBER,
    "checkpoint": _INTEGER,
    "updated": _TIME,
}
RESULT = {
    "uri": _text(2048),
    "sha256": _text(64),
    "version": _INTEGER,
    "loss": _NUMBER,
    "validationLoss": _NUMBER,
    "validationAccuracy": _NUMBER,
    "targetReached": {"type": "boolean"},
}
