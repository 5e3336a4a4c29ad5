"""Scale by a column of groups: each group's numbers by what its own training rows have."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sapflow.preparation.batch import Batch, Column, Text
from sapflow.preparation.numerals import as_text
from sapflow.preparation.record import Record, words_of, words_to_arrays
from sapflow.preparation.step import Applied, Fit, Fitted, Schema, StepProblem
from sapflow.preparation.steps import column_moments as moments
from sapflow.preparation.steps.changed_numbers import ChangedNumbers
from sapflow.preparation.steps.column_moments import Moments
from sapflow.preparation.steps.present import numbers_of
from sapflow.preparation.steps.refusal import Refused, without
from sapflow.preparation.steps.scales import Method, Scales, scales_of

MAX_GROUPS = 10_000


@dataclass(frozen=True, slots=True)
class GroupMoments:
    """Moments of each column in each group: series g·k + c is that of column c of k in group g."""

    groups: tuple[str, ...]
    """In increasing order."""
    moments: Moments
    too_many: bool = False
    """There were more groups than the bound: none is told any more."""

    def record(self) -> Record:
        """The moments as a record."""
        arrays = dict(self.moments.record().arrays) | words_to_arrays("groups", self.groups)
        return Record({"too_many": self.too_many}, arrays)

    @classmethod
    def of_record(cls, record: Record) -> "GroupMoments":
        """The moments that `record` was made from."""
        groups = words_of("groups", record.arrays)
        return cls(groups, Moments.of_record(record), record.notes["too_many"])


@dataclass(frozen=True, slots=True)
class OfGroups(Fit):
    """Learns of each group by itself."""

    name: ClassVar[str] = "scale"
    columns: tuple[str, ...]
    by: str

    def reads(self) -> Sequence[str]:
        return (*self.columns, self.by)

    def writes(self) -> Sequence[str]:
        return self.columns

    @property
    def drops_rows(self) -> bool:
        return True

    def schema(self, given: Schema) -> Schema:
        return given


@dataclass(frozen=True, slots=True)
class GroupedFit(OfGroups):
    """Learns moments of each group in one pass."""

    method: Method

    def collect(self, batch: Batch, before: Record | None) -> Record:
        numbers = [np.asarray(batch.columns[name]) for name in self.columns]
        found = _moments(as_text(batch.columns[self.by]), numbers).record()
        return found if before is None else self.merge([before, found])

    def merge(self, records: Sequence[Record]) -> Record:
        total, *others = map(GroupMoments.of_record, records)
        for each in others:
            total = _merged(total, each, len(self.columns))
        return total.record()

    def next(self, total: Record | None) -> Fitted:
        found = GroupMoments.of_record(moments.given_rows(total))
        if found.too_many:
            raise StepProblem(
                f"column {self.by} has more than {MAX_GROUPS:,} different values: scale by another, or by none",
                "by",
            )
        if not found.groups:
            raise StepProblem(f"column {self.by} has no value in any training row: leave by out", "by")
        shape = (len(found.groups), len(self.columns))
        moments.refuse_empty(self.columns, found.moments.counts.reshape(shape).sum(axis=0))
        scales = scales_of(found.moments, self.method)
        some = found.moments.counts > 0
        of_some = np.array(self.columns * len(found.groups))[some].tolist()
        moments.refuse_infinite(of_some, scales.offsets[some], scales.divisors[some])
        offsets, divisors = (np.where(some, each, np.nan) for each in (scales.offsets, scales.divisors))
        return GroupScaled(
            self.columns, self.by, found.groups, Scales(offsets.reshape(shape), divisors.reshape(shape))
        )

    def record(self) -> Record:
        return Record({"columns": list(self.columns), "by": self.by, "method": self.method})

    @classmethod
    def of_record(cls, record: Record) -> "GroupedFit":
        notes = record.notes
        return cls(tuple(notes["columns"]), notes["by"], notes["method"])


@dataclass(frozen=True, slots=True)
class GroupScaled(ChangedNumbers):
    """(x - offset) / divisor by the row's group. A row of no known group is a bad row, as is one with a value where its
    group had none."""

    name: ClassVar[str] = "scale"
    by: str
    groups: tuple[str, ...]
    scales: Scales
    """Arrays [groups, columns]; NaN where a group has no values."""

    def reads(self) -> Sequence[str]:
        return (*self.columns, self.by)

    @property
    def drops_rows(self) -> bool:
        return True

    def apply(self, batch: Batch) -> Applied:
        text = as_text(batch.columns[self.by])
        known = {word: place for place, word in enumerate(self.groups)}
        groups = np.array([*(known.get(word, -1) for word in text.words), -1], np.int64)[text.codes]
        refused = [
            Refused(self.by, "has no value, which says the group to scale by", text.codes < 0),
            Refused(self.by, "is a group that no training row has", groups < 0),
        ]
        changed: dict[str, Column] = {}
        for place, name in enumerate(self.columns):
            if name in (numbers := numbers_of(batch, (name,))):
                changed[name] = scaled = self.scales.applied(numbers[name], (groups, place))
                unknown = np.isnan(scaled) & ~np.isnan(numbers[name])
                refused.append(Refused(name, "has a value, and its group had none in training", unknown))
        return without(batch, batch.changed(changed), refused)

    def record(self) -> Record:
        notes = {"columns": list(self.columns), "by": self.by}
        return Record(notes, self.scales.arrays() | words_to_arrays("groups", self.groups))

    @classmethod
    def of_record(cls, record: Record) -> "GroupScaled":
        notes, arrays = record.notes, record.arrays
        return cls(tuple(notes["columns"]), notes["by"], words_of("groups", arrays), Scales.of_arrays(arrays))


def _moments(text: Text, numbers: Sequence[np.ndarray]) -> GroupMoments:
    rows = np.bincount(text.codes[text.codes >= 0], minlength=len(text.words))
    groups = sorted(text.words[code] for code in np.flatnonzero(rows).tolist())
    places = {word: place for place, word in enumerate(groups)}
    owners = np.array([*(places.get(word, -1) for word in text.words), -1], np.int64)[text.codes]
    series = [_of_groups(owners, each, len(groups)) for each in numbers]
    counts, *rest = (np.stack(each, axis=1).reshape(-1) for each in zip(*series, strict=True))
    return _bounded(tuple(groups), Moments(counts.astype(np.int64), *rest), len(numbers))


def _of_groups(owners: np.ndarray, numbers: np.ndarray, groups: int) -> tuple[np.ndarray, ...]:
    """The moments of one column by group, each [groups]."""
    there = (owners >= 0) & ~np.isnan(numbers)
    whose, values = owners[there], numbers[there]

    def summed(weights: np.ndarray) -> np.ndarray:
        return np.bincount(whose, weights, groups)

    counts = np.bincount(whose, minlength=groups)
    some = np.maximum(counts, 1)
    with np.errstate(over="ignore", invalid="ignore"):
        means = summed(values) / some
        distances = values - means[whose]
        rests = summed(distances)
        squares = np.maximum(summed(np.square(distances)) - rests * rests / some, 0.0)
        means, rests = moments.normalised(means, rests / some)
    least, largest = np.full(groups, np.inf), np.full(groups, -np.inf)
    np.minimum.at(least, whose, values)
    np.maximum.at(largest, whose, values)
    return counts, means, rests, squares, least, largest


def _merged(one: GroupMoments, other: GroupMoments, columns: int) -> GroupMoments:
    if one.too_many or other.too_many:
        return one if one.too_many else other
    groups = tuple(sorted({*one.groups, *other.groups}))
    both = [_spread(each, groups, columns) for each in (one, other)]
    return _bounded(groups, moments.merged(both), columns)


def _spread(found: GroupMoments, groups: Sequence[str], columns: int) -> Moments:
    """The moments among more groups, of which the others have no numbers."""
    places = {word: place for place, word in enumerate(groups)}
    rows = np.array([places[word] for word in found.groups], np.int64)
    targets = (rows[:, None] * columns + np.arange(columns)).reshape(-1)
    spread = _none(len(groups) * columns)
    for mine, theirs in zip(
        spread.record().arrays.values(), found.moments.record().arrays.values(), strict=True
    ):
        mine[targets] = theirs
    return spread


def _none(series: int) -> Moments:
    zeros = np.zeros(series)
    return Moments(
        zeros.astype(np.int64),
        zeros.copy(),
        zeros.copy(),
        zeros,
        np.full(series, np.inf),
        np.full(series, -np.inf),
    )


def _bounded(groups: tuple[str, ...], found: Moments, columns: int) -> GroupMoments:
    if len(groups) > MAX_GROUPS:
        return GroupMoments((), _none(0), too_many=True)
    return GroupMoments(groups, found)
