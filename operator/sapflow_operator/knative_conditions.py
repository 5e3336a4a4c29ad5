"""What Knative says of its Services."""

from collections.abc import Mapping
from typing import Any


def condition(service: Mapping[str, Any] | None, type: str) -> Mapping[str, Any]:
    """A condition of the current generation of a Knative Service; empty if Knative has not set it yet."""
    if service is None:
        return {}
    status = service.get("status", {})
    if status.get("observedGeneration") != service["metadata"].get("generation"):
        return {}
    return next((each for each in status.get("conditions", ()) if each["type"] == type), {})
