"""Assigns the parameters of a model to groups by patterns for their names. Pure.

The spec defines groups, which become ranges of the flat vector once the model's layout is known.
"""

import difflib
import fnmatch
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from sapflow.algorithms.hyperparameters import OptimizerSettings
from sapflow.algorithms.optimizers.groups import Group, Grouping
from sapflow.errors import SpecError

FIELD = "spec.optimizer.groups"
MAX_RANGES = 16_384
"""The most ranges of a vector. Each request to the root has those of its part, about ten bytes for each."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A group in the spec: patterns for parameters' names, and the group's settings."""

    match: tuple[str, ...]
    weight_decay: float | None = None
    """None means the optimiser's."""
    factor: float = 1.0
    """Of the learning rate."""


def unmatched(asked: Sequence[Asked], names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(field, problem) of each pattern that matches no parameter's name."""
    known = list(names)
    for index, group in enumerate(asked):
        for place, pattern in enumerate(group.match):
            if not any(fnmatch.fnmatchcase(name, pattern) for name in known):
                close = difflib.get_close_matches(pattern.replace("*", ""), known, n=3, cutoff=0.0)
                yield (
                    f"{FIELD}[{index}].match[{place}]",
                    f"{pattern!r} matches none of the model's {len(known)} parameters; the nearest names are "
                    f"{', '.join(close)}",
                )


def resolve(
    asked: Sequence[Asked], layout: Iterable[Mapping[str, Any]], settings: OptimizerSettings
) -> Grouping | None:
    """The groups as ranges of the vector; None if all parameters have the same settings and no ranges are needed.

    `layout` is that of commit 0: name, kind, shape and offset of each tensor. A parameter belongs to the first group
    with a pattern that matches one of its names, or else has the optimiser's own settings. Neighbours in one group are
    joined to a range, except for a layerwise optimiser, for which each tensor is a range. A pattern may match frozen
    parameters alone, which have no update.
    Raises SpecError for a pattern that matches nothing, and for more ranges than requests can carry.
    """
    if not asked and not settings.layerwise:
        return None
    tensors: dict[int, tuple[int, list[str]]] = {}
    known: list[str] = []
    for entry in layout:
        size = prod(entry["shape"])
        if entry["kind"] in ("parameter", "frozen") and size:
            known.append(entry["name"])
        if entry["kind"] == "parameter" and size:
            tensors.setdefault(entry["offset"], (size, []))[1].append(entry["name"])
    problems = list(unmatched(asked, known))
    if problems:
        raise SpecError(problems)
    own = Group(settings.weight_decay)
    groups = [
        Group(own.weight_decay if each.weight_decay is None else each.weight_decay, each.factor)
        for each in asked
    ]
    ranges: list[tuple[int, int]] = []
    for offset, (size, names) in sorted(tensors.items()):
        group = _group_of(names, asked)
        if ranges and ranges[-1][1] == group and not settings.layerwise:
            ranges.pop()
        ranges.append((offset + size, group))
    if len(ranges) > MAX_RANGES:
        raise SpecError(
            [
                (
                    FIELD if asked else "spec.optimizer.name",
                    f"cuts the model's {len(tensors):,} parameters into {len(ranges):,} ranges; {MAX_RANGES:,} are the "
                    "most that a request can carry: take another optimizer, or patterns that match neighbours alike",
                )
            ]
        )
    return Grouping((*groups, own), tuple(ranges))


def _group_of(names: Sequence[str], asked: Sequence[Asked]) -> int:
    """The index of the first group that matches one of a tensor's names, or the number of groups if none does."""
    for index, group in enumerate(asked):
        if any(fnmatch.fnmatchcase(name, pattern) for name in names for pattern in group.match):
            return index
    return len(asked)
