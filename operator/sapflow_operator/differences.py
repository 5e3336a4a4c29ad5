"""Compares an object with its manifest. Fields that others have added are no difference."""

from collections.abc import Mapping
from typing import Any

from sapflow_operator import names


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


def labelled_as(manifest: Mapping[str, Any], standing: Mapping[str, Any]) -> Mapping[str, Any]:
    """The manifest without the label of its owner's uid if the standing object was made before there was that label.

    With a new label of its pods, a running job's Service would get a new revision.
    """
    if names.UID_LABEL in standing["metadata"].get("labels", {}):
        return manifest
    return dict(_without_uid(manifest))


def _without_uid(found: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        name: _without_uid(value) if isinstance(value, Mapping) else value
        for name, value in found.items()
        if name != names.UID_LABEL
    }
