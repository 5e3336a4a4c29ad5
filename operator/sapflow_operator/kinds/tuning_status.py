"""The schema of a TuningJob's `status`."""

import json
from collections.abc import Mapping
from typing import Any

from sapflow.quantities.roles import ALL_ROLES
from sapflow.spec.tuning_job import MOST_PARAMETERS
from sapflow_operator.kinds.status_schema import (
    GRADED,
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

TOP = 10
"""The number of best trials in the status."""
FAILURES = 5
"""The number of last failures in the status."""
MESSAGE_CHARACTERS = 1024
"""The most characters that are shown of a failure's message."""
VALUE_CHARACTERS = 256
"""The most characters that are shown of a parameter's value."""


def parameter_texts(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Parameters as the status and the objects of trials show them: values as JSON, cut where they are long."""
    found = {}
    for path, value in sorted(parameters.items()):
        said = json.dumps(value, separators=(",", ":"))
        found[path] = said if len(said) <= VALUE_CHARACTERS else f"{said[: VALUE_CHARACTERS - 1]}…"
    return found


def tuning_status() -> dict[str, Any]:
    """The structural schema of `status`."""
    return status_schema(
        ALL_ROLES,
        {
            "limits": an_object("Limits that the search last ran under.", LIMITS),
            "progress": an_object("What the driver last reported.", _PROGRESS),
            "result": an_object("The best trial, and where its model is.", RESULT),
            "origin": origin_schema(
                "Of a search with warmStartFrom: the other search's uid, and its objects that this one may read."
            ),
            "sharedData": SHARED_DATA,
            "toldFailures": INTEGER | {"description": "Failed trials of which events have told."},
        },
    )


LIMITS = {"maxTrials": INTEGER, "maxFailedTrials": INTEGER, "budgetUSD": NUMBER, "deadlineSeconds": INTEGER}
"""The limits whose raising lets a search go on that has ended."""
_NUMBER_OF_TRIAL = {"trial": INTEGER}
_PARAMETERS = {
    "type": "object",
    "description": "The values of its parameters, by path.",
    "maxProperties": MOST_PARAMETERS,
    "additionalProperties": text(VALUE_CHARACTERS),
}
_STANDING = {
    **_NUMBER_OF_TRIAL,
    "state": text(32),
    "step": INTEGER | {"description": "Units that it was trained for: epochs, or steps."},
    "objective": NUMBER,
    "secondObjective": NUMBER,
    "costUSD": NUMBER,
    "parameters": _PARAMETERS,
}
_PROGRESS = {
    "preparation": PREPARATION,
    "trials": text(32) | {"description": "Trials that have ended or are paused, and how many there may be."},
    "begun": INTEGER,
    "done": INTEGER | {"description": "Trials that have ended or are paused: no call is at work for them."},
    "maxTrials": INTEGER,
    "running": INTEGER,
    "paused": INTEGER,
    "finished": INTEGER | {"description": "Trials that were trained to their end."},
    "pruned": INTEGER,
    "failed": INTEGER,
    "percent": NUMBER,
    "best": an_object("The best trial so far.", _STANDING),
    "top": {
        "type": "array",
        "maxItems": TOP,
        "items": an_object("One of the best trials, in their order.", _STANDING),
    },
    "failures": {
        "type": "array",
        "maxItems": FAILURES,
        "items": an_object(
            "A trial that failed, the last one first.",
            {**_NUMBER_OF_TRIAL, "reason": text(128), "message": text(MESSAGE_CHARACTERS)},
        ),
    },
    "callsInFlight": INTEGER,
    "maxWorkers": INTEGER | {"description": "The most calls in flight."},
    "budgetUSD": NUMBER,
    "costUSD": NUMBER,
    "reservedUSD": NUMBER | {"description": "The worst price of what is under way, kept free in the budget."},
    "memory": MEMORY,
    "secondsActive": NUMBER | {"description": "How long the search has run, its drivers' times together."},
    "forecastSeconds": NUMBER | {"description": "From the first trial to the end, as forecast before it."},
    **GRADED,
    "updated": TIME,
}
RESULT = {
    "uri": text(2048),
    "sha256": text(64),
    "trial": INTEGER,
    "version": INTEGER,
    "objective": NUMBER,
    "secondObjective": NUMBER,
    "parameters": _PARAMETERS,
    "endedBy": text(64) | {"description": "Why the search has ended."},
}
