"""Compares an object with its manifest. Fields that others have added are no difference."""

from collections.abc import Mapping
from typing import Any


def differs(wanted: Any, standing: Any) -> bool:
    """Whether any field of `wanted` is different in `standing`. Lists are compared element by element."""
    if isinstance(wanted, Mapping):
        if not isinstance(standing, Mapping):
            return True
        return any(differs(value, standing.get(name)) for name, value in wanted.items())
    if isinstance(wanted, list):
        if not isinstance(standing, list) or len(wanted) != len(standing):
            return True
        return any(differs(mine, theirs) for mine, theirs in zip(wanted, standing, strict=True))
    return bool(wanted != standing)
