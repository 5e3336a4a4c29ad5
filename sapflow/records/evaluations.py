"""The record of an evaluation: the metrics of a version on the held-out samples."""

import math
from collections.abc import Mapping
from typing import Any

PLAIN = ("loss", "accuracy")
"""Metrics that are fields of the record itself, as in earlier releases; all others are below `metrics`."""


def record_of(version: int, samples: int, values: Mapping[str, float]) -> dict[str, Any]:
    """The JSON object of an evaluation."""
    record: dict[str, Any] = {"version": version, "samples": samples}
    record |= {name: values[name] for name in PLAIN if name in values}
    others = {name: value for name, value in values.items() if name not in PLAIN}
    return record | ({"metrics": others} if others else {})


def metrics_of(record: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of a record by name; NaN for values that were not finite, which JSON has as null."""
    values = {name: record[name] for name in PLAIN if name in record} | record.get("metrics", {})
    return {name: math.nan if value is None else float(value) for name, value in values.items()}


def held_out(values: Mapping[str, float]) -> dict[str, Any]:
    """Metrics on the held-out samples for results and status, with loss and accuracy as separate fields.

    Other values that are not finite are left out, because a status cannot express them.
    """
    plain = {f"validation{name.capitalize()}": values[name] for name in PLAIN if name in values}
    others = {name: value for name, value in values.items() if name not in PLAIN and math.isfinite(value)}
    return plain | ({"validationMetrics": others} if others else {})


def of_held_out(body: Mapping[str, Any]) -> dict[str, float]:
    """The inverse of `held_out`, for any record or event with those fields; values that are not finite are left out."""
    named = {name: body.get(f"validation{name.capitalize()}") for name in PLAIN}
    found = named | dict(body.get("validationMetrics", {}))
    return {name: float(value) for name, value in found.items() if value is not None}


def chosen_in_words(outcome: Mapping[str, Any]) -> str:
    """Why a version is the result, as text; empty if it is the last one."""
    if outcome.get("targetReached"):
        return "the first that reached the target"
    by = {"Best": "the best that was evaluated", "EarlyStopping": "where early stopping ended the job"}
    return by.get(outcome.get("chosenBy", ""), "")
