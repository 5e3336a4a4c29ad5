"""Reading what is built for Kubernetes."""

from collections.abc import Mapping
from typing import Any


def variables_of(container: Mapping[str, Any]) -> dict[str, str]:
    """The variables of a container, all of which have their values in it."""
    return {each["name"]: each["value"] for each in container["env"]}
