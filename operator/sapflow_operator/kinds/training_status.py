"""The schema of a TrainingJob's `status`."""

from typing import Any

from sapflow.quantities.roles import ALL_ROLES
from sapflow.spec.placement import MAX_CELLS
from sapflow_operator.kinds.status_schema import (
    INTEGER,
    MEMORY,
    NUMBER,
    PREPARATION,
    SHARED_DATA,
    TIME,
    an_object,
    origin_schema,
    status_schema,
    text,
)


def training_status() -> dict[str, Any]:
    """The structural schema of `status`."""
    return status_schema(
        ALL_ROLES,
        {
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
            "sharedData": SHARED_DATA,
            "progress": an_object("What the driver last reported.", _PROGRESS),
            "result": an_object("Where the trained model is.", RESULT),
            "origin": origin_schema(
                "Of a fork: the uid of the other job, or of the search of the other trial, and the objects there that "
                "this one may read. Of a job with parametersFrom: the search's uid, the trial and its parameters."
            ),
            "checkpoint": an_object(
                "Of a job that was stopped by a limit, is suspended or diverged: its model as it stood.",
                _STOPPED,
            ),
        },
    )


_STOPPED = {"version": INTEGER, "uri": text(2048)}
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
    "memory": MEMORY,
    "structure": {"type": "array", "maxItems": 8, "items": INTEGER},
    "shards": INTEGER,
    "forecastSeconds": NUMBER,
    "forecastCostUSD": NUMBER,
    "forecastSecondsError": NUMBER,
    "forecastCostError": NUMBER,
    "checkpoint": INTEGER,
    "stopped": an_object("The model that the driver of a suspended job has left.", _STOPPED, [*_STOPPED]),
    "preparation": PREPARATION,
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
