"""Loads the callable that a user names as `package.module:name`."""

import importlib
from collections.abc import Callable
from typing import Any

from sapflow.errors import SpecError


def load(entrypoint: str, field: str) -> Callable[..., object]:
    """The callable of that name for `field`. Raises SpecError if it does not exist or is not callable."""
    module_name, _, attribute = entrypoint.partition(":")
    if not module_name or not attribute:
        raise SpecError([(field, f"{entrypoint!r} is not of the form package.module:factory")])
    try:
        target: Any = importlib.import_module(module_name)
    except ImportError as error:
        remedy = "a local run finds it beside the job's file or installed, a cluster in spec.model.image"
        raise SpecError([(field, f"cannot import {module_name!r}: {error}; {remedy}")]) from error
    for part in attribute.split("."):
        if not hasattr(target, part):
            raise SpecError([(field, f"module {module_name!r} has no {attribute!r}")])
        target = getattr(target, part)
    if not callable(target):
        raise SpecError([(field, f"{entrypoint!r} is a {type(target).__name__}, not a callable")])
    found: Callable[..., object] = target
    return found
