"""The schema of a TrainingJob's `status`."""

from typing import Any

from sapflow.objects import keys
from sapflow.quantities.roles import TRAINING_ROLES
from sapflow.records.memory_search import MOST_TRIALS
from sapflow.spec.placement import MAX_CELLS
from sapflow_operator.kinds.status_schema import (
    INTEGER,
    NUMBER,
    TIME,
    an_object,
    origin_schema,
    status_schema,
    text,
)


def training_status() -> dict[str, Any]:
    """The structural schema of `status`."""
    return status_schema(
        TRAINING_ROLES,
        {
            "memory": an_object(
                "Memory limits in force, and the largest that a worker was killed over.",
                {role: text(32) for role in TRAINING_ROLES} | {"workerKilled": text(32)},
            ),
            "placement": an_object(
                "The cells of a job with affinity, fixed when it starts.",
                {
                    "cells": INTEGER,
                    "memoryPerCell": text(32),
                    "nodes": {
                        "type": "array",
                        "maxItems": MAX_CELLS,
                        "x-kubernetes-list-type": "map",
                        "x-kubernetes-list-map-keys": ["cell"],
                        "items": an_object(
                            "Where a cell is.", {"cell": INTEGER, "node": text(253)}, ["cell", "node"]
                        ),
                    },
                },
            ),
            "sharedData": an_object(
                "The shared area of the store that has the job's data, fixed when it starts.",
                {"digest": {**text(keys.AREA_DIGITS), "pattern": f"^[0-9a-f]{{{keys.AREA_DIGITS}}}$"}},
            ),
            "progress": an_object("What the driver last reported.", _PROGRESS),
            "result": an_object("Where the trained model is.", RESULT),
            "origin": origin_schema(
                "Of a fork: the uid of the other job, or of the search of the other trial, and the objects there that "
                "this one may read."
            ),
            "checkpoint": an_object(
                "Of a job that was stopped by a limit or diverged: its model as it stood.",
                {"version": INTEGER, "uri": text(2048)},
            ),
        },
    )


METRICS = {
    "type": "object",
    "description": "Other metrics on the held-out samples, by name.",
    "maxProperties": 16,
    "additionalProperties": NUMBER,
}
_PROGRESS = {
    "step": INTEGER,
    "steps": INTEGER,
    "epoch": INTEGER,
    "percent": NUMBER,
    "skippedSteps": INTEGER,
    "loss": NUMBER,
    "accuracy": NUMBER,
    "validationLoss": NUMBER,
    "validationAccuracy": NUMBER,
    "validationMetrics": METRICS,
    "secondsPerStep": NUMBER,
    "estimatedSecondsLeft": NUMBER,
    "costUSD": NUMBER,
    "invocations": INTEGER,
    "coldStarts": INTEGER,
    "retries": INTEGER,
    "hedges": INTEGER,
    "memory": an_object(
        "Memory limits of the functions; where memory.optimize searches for the workers', the one wanted.",
        {
            "worker": text(32),
            "merger": text(32),
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
    ),
    "structure": {"type": "array", "maxItems": 8, "items": INTEGER},
    "shards": INTEGER,
    "forecastSeconds": NUMBER,
    "forecastCostUSD": NUMBER,
    "forecastSecondsError": NUMBER,
    "forecastCostError": NUMBER,
    "checkpoint": INTEGER,
    "updated": TIME,
}
RESULT = {
    "uri": text(2048),
    "sha256": text(64),
    "version": INTEGER,
    "loss": NUMBER,
    "validationLoss": NUMBER,
    "validationAccuracy": NUMBER,
    "validationMetrics": METRICS,
    "targetReached": {"type": "boolean"},
    "chosenBy": text(32),
}
