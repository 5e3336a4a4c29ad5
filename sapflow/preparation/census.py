"""What is counted of all samples in the last pass before blocks are written: how many there are in each partition, and
what the manifest says of their targets. The blocks' numbers follow from it.

A census is a Record like what steps count: of one partition, or merged of several in their order.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sapflow.data.label_counts import GROUPS, LABELS, Counts
from sapflow.preparation.record import Record
from sapflow.preparation.samples import Made
from sapflow.quantities.moments import divisors
from sapflow.tasks.classification import MAX_CLASSES

EXAMPLES = 5
"""Bad rows that an error names, at most."""


@dataclass(frozen=True, slots=True)
class Values:
    """The targets of training samples: which values they have, as long as these are few, and their moments."""

    distinct: np.ndarray = field(default_factory=lambda: np.zeros(0))
    """float64 [v], ascending; empty where a sample has several values."""
    rows: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    """int64 [v]: how many samples have each."""
    too_many: bool = False
    """There are more than MAX_CLASSES values, or some sample has several: none is told."""
    count: int = 0
    mean: np.ndarray = field(default_factory=lambda: np.zeros(1))
    squares: np.ndarray = field(default_factory=lambda: np.zeros(1))
    """Sums of squared distances from the mean, float64 [k]."""
    sums: np.ndarray = field(default_factory=lambda: np.zeros(1))
    binary: bool = True
    """Whether every value is 0 or 1."""
    bounds: np.ndarray = field(default_factory=lambda: np.array([np.inf, -np.inf]))
    """float64 [2]: the least and the largest value of all samples, those for validation too."""
    integral: bool = True
    """Whether every value of all samples is a whole number."""

    def deviation(self) -> np.ndarray:
        """The standard deviation of each value over the training samples; 1 where it is constant."""
        return divisors(self.mean, np.sqrt(self.squares / max(self.count, 1)))


@dataclass(frozen=True, slots=True)
class Census:
    """What is counted of consecutive partitions."""

    train: tuple[int, ...]
    """Training samples of each partition."""
    held: tuple[int, ...]
    bad: int = 0
    """Rows that steps could not take, or that gave no sample."""
    examples: tuple[Mapping[str, Any], ...] = ()
    values: Values = field(default_factory=Values)
    small: bool = True
    """Whether all features are bytes."""
    labels: Mapping[int, np.ndarray] = field(default_factory=dict)
    """How often each label, modulo LABELS, is among the training samples of a group of partitions; int64 [LABELS]."""

    def record(self) -> Record:
        """The census as a record."""
        values = self.values
        groups = sorted(self.labels)
        return Record(
            {
                "bad": self.bad,
                "small": self.small,
                "examples": [dict(each) for each in self.examples],
                "tooMany": values.too_many,
                "count": values.count,
                "binary": values.binary,
                "integral": values.integral,
            },
            {
                "train": np.array(self.train, np.int64),
                "held": np.array(self.held, np.int64),
                "distinct": values.distinct,
                "rows": values.rows,
                "mean": values.mean,
                "squares": values.squares,
                "sums": values.sums,
                "bounds": values.bounds,
                "groups": np.array(groups, np.int64),
                "labels": np.array([self.labels[each] for each in groups], np.int64).reshape(-1, LABELS),
            },
        )

    @classmethod
    def of_record(cls, record: Record) -> "Census":
        """The census that `record` was made from. Raises KeyError, TypeError, ValueError if it is none."""
        notes, arrays = record.notes, record.arrays
        values = Values(
            arrays["distinct"], arrays["rows"], bool(notes["tooMany"]), int(notes["count"]),
            arrays["mean"], arrays["squares"], arrays["sums"], bool(notes["binary"]),
            arrays["bounds"], bool(notes["integral"]),
        )  # fmt: skip
        return cls(
            tuple(arrays["train"].tolist()),
            tuple(arrays["held"].tolist()),
            int(notes["bad"]),
            tuple(notes["examples"]),
            values,
            bool(notes["small"]),
            dict(zip(arrays["groups"].tolist(), arrays["labels"], strict=True)),
        )

    def label_counts(self) -> Counts:
        """How often each label is in each group of blocks, as manifests have it; () where targets are no labels."""
        filled = [self.labels[group] for group in sorted(self.labels) if self.labels[group].any()]
        if not filled:
            return ()
        table = np.array(filled, np.int64)
        return tuple(tuple(map(int, row)) for row in table[:, table.any(axis=0)])


def group_of(partition: int, partitions: int) -> int:
    """The group of consecutive partitions that a partition's labels are counted in; there are at most GROUPS."""
    return partition // max(1, math.ceil(partitions / GROUPS))


def counted(
    samples: Made, group: int, before: Census | None, examples: Sequence[Mapping[str, Any]]
) -> Census:
    """The census of a partition's samples so far, these included; `examples` are of their bad rows."""
    kept = ~samples.held
    targets = samples.targets[kept]
    bad = sum(len(each.numbers) for each in samples.bad)
    values = replace(_values(targets), bounds=_bounds(samples.targets), integral=_integral(samples.targets))
    one = Census(
        (int(kept.sum()),),
        (int(samples.held.sum()),),
        bad,
        tuple(examples)[:EXAMPLES],
        values,
        not len(samples.numbers) or samples.features.dtype == np.uint8,
        _labels(targets, group),
    )
    return one if before is None else _added(before, one, same=True)


def merged(found: Sequence[Census]) -> Census:
    """The census of several ranges of partitions, in their order."""
    total = found[0]
    for each in found[1:]:
        total = _added(total, each, same=False)
    return total


def _added(one: Census, other: Census, *, same: bool) -> Census:
    """Two censuses as one. `same`: both are of the same partition."""
    labels = dict(one.labels)
    for group, counts in other.labels.items():
        labels[group] = labels[group] + counts if group in labels else counts
    return Census(
        (one.train[0] + other.train[0],) if same else one.train + other.train,
        (one.held[0] + other.held[0],) if same else one.held + other.held,
        one.bad + other.bad,
        (one.examples + other.examples)[:EXAMPLES],
        _both(one.values, other.values),
        one.small and other.small,
        labels,
    )


def _values(targets: np.ndarray) -> Values:
    if not len(targets):
        return Values()
    flat = targets.reshape(len(targets), -1)
    mean = np.add.reduce(flat, axis=0) / len(flat)
    apart = flat - mean
    squares = np.add.reduce(apart * apart, axis=0)
    distinct, rows, too_many = np.zeros(0), np.zeros(0, np.int64), True
    if flat.shape[1] == 1:
        distinct, rows = np.unique(flat[:, 0] + 0.0, return_counts=True)
        too_many = len(distinct) > MAX_CLASSES
    if too_many:
        distinct, rows = np.zeros(0), np.zeros(0, np.int64)
    binary = bool(((flat == 0) | (flat == 1)).all())
    return Values(distinct, rows, too_many, len(flat), mean, squares, np.add.reduce(flat, axis=0), binary)


def _both(one: Values, other: Values) -> Values:
    """Chan, Golub, LeVeque, *Updating formulae and a pairwise algorithm for computing sample variances* (1979)."""
    bounds = np.array([min(one.bounds[0], other.bounds[0]), max(one.bounds[1], other.bounds[1])])
    integral = one.integral and other.integral
    if not one.count or not other.count:
        return replace(other if not one.count else one, bounds=bounds, integral=integral)
    total = one.count + other.count
    apart = other.mean - one.mean
    distinct, places = np.unique(np.concatenate([one.distinct, other.distinct]), return_inverse=True)
    rows = np.zeros(len(distinct), np.int64)
    np.add.at(rows, places, np.concatenate([one.rows, other.rows]))
    too_many = one.too_many or other.too_many or len(distinct) > MAX_CLASSES
    return Values(
        distinct[: 0 if too_many else None],
        rows[: 0 if too_many else None],
        too_many,
        total,
        one.mean + apart * (other.count / total),
        one.squares + other.squares + apart * apart * (one.count * other.count / total),
        one.sums + other.sums,
        one.binary and other.binary,
        bounds,
        integral,
    )


def _bounds(targets: np.ndarray) -> np.ndarray:
    if not targets.size:
        return np.array([np.inf, -np.inf])
    return np.array([float(targets.min()), float(targets.max())])


def _integral(targets: np.ndarray) -> bool:
    return bool((targets == np.floor(targets)).all())


def _labels(targets: np.ndarray, group: int) -> dict[int, np.ndarray]:
    """How often each label is, if every value can be one."""
    if not len(targets):
        return {}
    if targets.ndim > 1:
        rows, labels = np.nonzero(targets)
        del rows
        return (
            {group: np.bincount(labels % LABELS, minlength=LABELS)}
            if ((targets == 0) | (targets == 1)).all()
            else {}
        )
    if not ((targets >= 0) & (targets < MAX_CLASSES) & (targets == np.floor(targets))).all():
        return {}
    return {group: np.bincount(targets.astype(np.int64) % LABELS, minlength=LABELS)}
