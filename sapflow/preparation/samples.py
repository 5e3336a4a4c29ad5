"""From the columns after the last step to samples: features as they are stored, and targets.

Columns of numbers become one vector float32 of features in the columns' order; one column of images or of tokens is a
sample by itself. A row that has no finite value somewhere is a bad one.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from sapflow.data.chunks import MAX_VALUES
from sapflow.preparation.batch import Batch, Blobs, Column, Text
from sapflow.preparation.step import BadRows, ColumnType, Schema, StepProblem
from sapflow.text import some_of

AT_ONCE_BYTES = 16 << 20
"""So many bytes of features, as float64, are made at once; more rows take turns."""
_CACHED_BYTES = 256 << 10
_OVERFLOWS = 2.0**128 - 2.0**103
"""From this on a number is no float32: it is rounded to infinity."""
_REMEDIES: Mapping[str, str] = {
    "Text": "encode it (encode, bagOfWords, tokens), or leave it out (drop); if it holds numbers, say how they are "
    "written (options: decimal, thousands), or which words stand for none (prepare.missing)",
    "Time": "take its parts (dates), or leave it out (drop)",
    "Image": "make it a tensor (image), or leave it out (drop)",
}


@dataclass(frozen=True, slots=True)
class Samples:
    """How samples are made of the columns after the last step."""

    kind: Literal["numbers", "image", "tokens"]
    features: tuple[str, ...]
    """The columns that samples are of, in their order."""
    names: tuple[str, ...]
    """A name for each feature; empty where samples are images or tokens."""
    shape: tuple[int, ...]
    """Of a sample: [features], [channels, height, width], or [length]."""
    target: str | None
    """None: rows without a target, for a prediction."""
    target_width: int
    classes: tuple[str, ...] | None
    """The names of the classes that the target has numbers of; None where its values say what they are."""

    @property
    def rows_at_once(self) -> int:
        """The rows whose features are made at once. It follows from the shape alone."""
        return max(1, AT_ONCE_BYTES // (8 * math.prod(self.shape)))


@dataclass(frozen=True, slots=True)
class Made:
    """Samples of some rows, and the rows that gave none."""

    features: np.ndarray
    """uint8 or float32 [n, *shape], or [0, *shape] where only targets were asked for."""
    targets: np.ndarray
    """float64 [n] or [n, k]; of no use where there is no target."""
    numbers: np.ndarray
    """int64 [n], the rows' numbers within the partition."""
    held: np.ndarray
    """bool [n]: whether each is for validation."""
    bad: tuple[BadRows, ...]


def samples_of(schema: Schema, target: str | None) -> Samples:
    """How samples are made of these columns. Raises StepProblem, which names the column and a step that helps."""
    if target is not None and target not in schema:
        raise StepProblem(
            f"there is no column {target!r} after the last step; there are {some_of(schema)}",
            "target",
        )
    features = {name: kind for name, kind in schema.items() if name != target}
    if not features:
        raise StepProblem("no column is left for features after the last step but the target", "steps")
    width, classes = _target(schema[target], target) if target is not None else (1, None)
    found = {name: _kind(name, each, alone=len(features) == 1) for name, each in features.items()}
    kind = next(iter(found.values())) if len(found) == 1 else "numbers"
    if kind == "numbers":
        names = tuple(name for column, each in features.items() for name in _names(column, each))
        shape: tuple[int, ...] = (len(names),)
    else:
        names, (each,) = (), features.values()
        shape = each.shape if kind == "tokens" else (each.shape[2], *each.shape[:2])
    if not 0 < math.prod(shape) <= MAX_VALUES:
        raise StepProblem(
            f"a sample would have {math.prod(shape):,} values, and 1 to {MAX_VALUES:,} fit: make fewer features, by "
            "top or minCount of encode for one",
            "steps",
        )
    return Samples(kind, tuple(features), names, shape, target, width, classes)


def _kind(name: str, each: ColumnType, *, alone: bool) -> Literal["numbers", "image", "tokens"]:
    if each.kind in ("Number", "Class"):
        return "numbers"
    is_sample = each.shape and (each.kind == "Tokens" or len(each.shape) == 3)
    if is_sample and alone:
        return "tokens" if each.kind == "Tokens" else "image"
    if is_sample:
        raise StepProblem(
            f"the column {name!r} of {each.kind.lower()} is a sample by itself, and there are other features: drop "
            "them, or drop it",
            "steps",
        )
    remedy = _REMEDIES.get(each.kind, "leave it out (drop)")
    raise StepProblem(
        f"the column {name!r} is {each.kind} after the last step, and no number: {remedy}", "steps"
    )


def _target(each: ColumnType, name: str) -> tuple[int, tuple[str, ...] | None]:
    if each.kind == "Class":
        return 1, each.names
    if each.kind == "Number":
        return each.width, None
    raise StepProblem(
        f"the target {name!r} is {each.kind} after the last step, and no number: encode it with method: Classes, or "
        "cast it",
        "target",
    )


def _names(column: str, each: ColumnType) -> tuple[str, ...]:
    """The features' names of a column of numbers."""
    if each.kind == "Number" and len(each.names) == each.width:
        return each.names
    return (column,) if each.width == 1 else tuple(f"{column}.{place}" for place in range(each.width))


def made(samples: Samples, batch: Batch, *, features: bool = True) -> Made:
    """The samples of rows after the last step; `batch` has at most `rows_at_once`.

    Without `features` vectors of numbers are [0, features]: only whether each row gives a sample is found.
    """
    count = len(batch)
    good = np.ones(count, bool)
    bad: list[BadRows] = []
    if samples.kind == "numbers":
        columns = [_vectors(_numbers(batch.columns[name], name)) for name in samples.features]
        for name, column in zip(samples.features, columns, strict=True):
            fine = _fits_float32(column)
            _refuse(batch, name, column, fine, good, bad, "impute it, or drop such rows (dropRows)")
        if not features:
            columns = []
        found = _side_by_side(columns, count if features else 0, samples.shape[0])
    else:
        column = _numbers(batch.columns[samples.features[0]], samples.features[0])
        if samples.kind == "image":
            column = column.transpose(0, 3, 1, 2)
        small = column.dtype == np.uint8
        found = np.ascontiguousarray(column, np.uint8 if small else np.float32)
        if not small:
            fine = np.isfinite(found.reshape(count, -1)).all(axis=1)
            _refuse(batch, samples.features[0], column, fine, good, bad, "drop such rows (dropRows)")
    targets = np.zeros(count)
    if samples.target is not None:
        targets = _numbers(batch.columns[samples.target], samples.target).astype(np.float64, copy=False)
        fine = _fits_float32(_vectors(targets))
        _refuse(batch, samples.target, targets, fine, good, bad, "drop such rows (dropRows)")
        if samples.classes is not None:
            known = ~good | (targets >= 0)
            _refuse(batch, samples.target, targets, known, good, bad, "drop such rows (dropRows)")
    held = np.zeros(count, bool) if batch.held is None else batch.held
    if good.all():
        return Made(found, targets, batch.numbers, held, tuple(bad))
    if len(found):
        found = found[good]
    return Made(found, targets[good], batch.numbers[good], held[good], tuple(bad))


def _numbers(column: Column, name: str) -> np.ndarray:
    if isinstance(column, Text | Blobs):
        raise StepProblem(f"the column {name!r} has no numbers after the last step", "steps")
    return column


def _vectors(column: np.ndarray) -> np.ndarray:
    """[n, k] of numbers [n] or [n, k]."""
    return column[:, None] if column.ndim == 1 else column


def _fits_float32(values: np.ndarray) -> np.ndarray:
    """bool [n]: whether all of a row of [n, k] is finite, as float32 too."""
    if values.dtype.kind != "f":
        return np.ones(len(values), bool)
    fits = np.abs(values) < _OVERFLOWS
    return np.asarray(fits[:, 0] if fits.shape[1] == 1 else fits.all(axis=1))


def _side_by_side(columns: Sequence[np.ndarray], rows: int, width: int) -> np.ndarray:
    """float32 [rows, width] of columns, each [rows, k]."""
    found = np.empty((rows, width), np.float32)
    # Some rows at a time stay in the processor's cache while one column after the other is put into them.
    step = max(64, _CACHED_BYTES // (4 * width))
    with np.errstate(over="ignore", invalid="ignore"):
        for first in range(0, rows, step):
            at, part = 0, slice(first, first + step)
            for column in columns:
                found[part, at : at + column.shape[1]] = column[part]
                at += column.shape[1]
    return found


def _refuse(
    batch: Batch,
    name: str,
    column: np.ndarray,
    fine: np.ndarray,
    good: np.ndarray,
    bad: list[BadRows],
    remedy: str,
) -> None:
    """Note the rows that are not fine and were good so far, and that they are no longer."""
    broken = good & ~fine
    if not broken.any():
        return
    rows = np.flatnonzero(broken)
    values = [_shown(column[row]) for row in rows]
    lacking = all(each == "missing" for each in values)
    reason = "is missing" if lacking else "is no finite float32 number"
    bad.append(BadRows(batch.numbers[rows].tolist(), name, f"{reason} after the last step: {remedy}", values))
    good &= fine


def _shown(value: Any) -> str:
    first = np.asarray(value).reshape(-1)
    wrong = first[~np.isfinite(first)] if first.dtype.kind == "f" else first[:0]
    shown = wrong[0] if len(wrong) else first[0]
    return "missing" if np.isnan(shown) else repr(float(shown))


def pieces(batch: Batch, rows: int) -> list[Batch]:
    """The batch in consecutive pieces of at most so many rows; what is done row by row needs less memory on them."""
    if len(batch) <= rows:
        return [batch]
    return [batch.part(at, min(at + rows, len(batch))) for at in range(0, len(batch), rows)]
