"""The limits of a search whose raising lets one go on that has ended."""

from collections.abc import Mapping
from typing import Any

REOPENING = ("maxTrials", "maxFailedTrials", "budgetUSD", "deadlineSeconds")


def limits_in(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a TuningJob's spec that are set."""
    return {name: spec[name] for name in REOPENING if spec.get(name) is not None}


def raised(before: Mapping[str, Any], spec: Mapping[str, Any]) -> bool:
    """Whether a spec allows more than `before`, which has the limits that were set then."""
    return any(before[name] < spec.get(name, float("inf")) for name in REOPENING if name in before)
