"""What the columns of a source hold, counted batch by batch in bounded memory."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sapflow.preparation.batch import Blobs, Column, Text, missing
from sapflow.preparation.numerals import numeral
from sapflow.preparation.reading.reader import PlannedColumn
from sapflow.preparation.steps.categories import Counts, counts_of
from sapflow.preparation.steps.categories import merged as merged_counts
from sapflow.preparation.steps.column_moments import Moments, moments_of
from sapflow.preparation.steps.column_moments import merged as merged_moments

_QUARTERS = (0.25, 0.5, 0.75)
_BINS, _MOST_BINS = 24, 60
"""Bars of a histogram, and of one with a bar for each whole number."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """The finite numbers of a column. Quartiles and histogram are those of the sample, all else is of all rows."""

    least: float
    quartiles: tuple[float, float, float]
    largest: float
    mean: float
    deviation: float
    """Divided by the number of values, as StandardScaler has it."""
    infinite: int
    integral: bool
    increasing: bool
    """From each row to the next, without a missing one."""
    histogram: tuple[int, ...]
    """Rows in intervals of one width, from `least` to `largest`; few whole numbers have one each."""


@dataclass(frozen=True, slots=True)
class Times:
    """The times of a column, ISO 8601 in UTC."""

    first: str
    last: str
    days_only: bool
    """All are midnights."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """Of text, in characters, and the mean number of words between blanks."""

    least: int
    mean: float
    largest: int
    words: float


@dataclass(frozen=True, slots=True)
class ColumnSummary:
    """What a column holds. Numbers, times and lengths are None where it is of another type, or has no value."""

    column: PlannedColumn
    rows: int
    missing: int
    counts: Counts | None
    """Of text and of numbers; None for others and for vectors."""
    distinct_sample: int
    """Different values in the sample, which is all that is known where there are too many to count."""
    sampled: int
    """Values in the sample."""
    numbers: Numbers | None = None
    times: Times | None = None
    lengths: Lengths | None = None

    @property
    def name(self) -> str:
        return self.column.name

    @property
    def present(self) -> int:
        """Rows that have a value."""
        return self.rows - self.missing

    @property
    def distinct(self) -> int | None:
        """The number of different values; None where it is not known, or beyond what is counted."""
        return None if self.counts is None or self.counts.too_many else len(self.counts.rows)

    @property
    def difference(self) -> float:
        """How many different values there are for each row that has one: 1 if all are different. As far as is known:
        of the sample where there are too many to count."""
        if self.counts is None or not self.present:
            return 0.0
        if self.distinct is not None:
            return self.distinct / self.present
        return self.distinct_sample / max(self.sampled, 1)

    def top(self, most: int) -> list[tuple[str, int]]:
        """The most frequent values with their rows; of several the first in order."""
        if self.counts is None:
            return []
        values, rows = self.counts.values, self.counts.rows
        order = np.argsort(-rows, kind="stable")[:most].tolist()
        return [(_word(values[place]), int(rows[place])) for place in order]


def _histogram(values: np.ndarray, least: float, largest: float, *, each: bool) -> tuple[int, ...]:
    """The bars; one for `each` whole number where these are few."""
    if each and largest - least < _MOST_BINS:
        return tuple(
            np.bincount((values - least).astype(np.int64), minlength=int(largest - least) + 1).tolist()
        )
    return tuple(np.histogram(values, _BINS, (least, largest))[0].tolist())


def _can_be_cut(least: float, largest: float) -> bool:
    """Whether there are numbers enough between the two for the bars of a histogram."""
    with np.errstate(over="ignore"):
        width = np.float64(largest) - least
    narrowest = np.spacing(max(abs(least), abs(largest))) * 2 * _BINS
    return least == largest or bool(np.isfinite(width) and width > narrowest)


def _word(value: object) -> str:
    return value if isinstance(value, str) else numeral(float(value))  # type: ignore[arg-type]


class Counter:
    """Counts one column."""

    def __init__(self, column: PlannedColumn) -> None:
        self.column = column
        self._rows = self._missing = self._infinite = 0
        self._counts: Counts | None = None
        self._moments: Moments | None = None
        self._integral = self._increasing = self._days_only = True
        self._last = -np.inf
        self._first_time: np.datetime64 | None = None
        self._last_time: np.datetime64 | None = None
        self._shortest: int | None = None
        self._longest = self._characters = self._words = 0

    @property
    def counted(self) -> bool:
        """Whether the column's values can be told apart and sampled."""
        return self.column.kind != "Image" and self.column.width == 1 and not self.column.shape

    def add(self, column: Column) -> None:
        nothing = missing(column)
        if nothing.ndim > 1:
            nothing = np.asarray(nothing.any(axis=tuple(range(1, nothing.ndim))))
        self._rows += len(column)
        self._missing += int(nothing.sum())
        if isinstance(column, Blobs) or self.column.shape or not len(column):
            return
        if isinstance(column, Text):
            self._add_text(column)
        elif column.dtype.kind == "M":
            self._add_times(column[~nothing])
        else:
            self._add_numbers(column.astype(np.float64))
        if self.counted and self.column.kind != "Time" and not (self._counts and self._counts.too_many):
            found = counts_of(column)
            self._counts = found if self._counts is None else merged_counts([self._counts, found])

    def _add_text(self, column: Text) -> None:
        rows = np.bincount(column.codes[column.codes >= 0], minlength=len(column.words))
        for code in np.flatnonzero(rows).tolist():
            word, times = column.words[code], int(rows[code])
            self._shortest = len(word) if self._shortest is None else min(self._shortest, len(word))
            self._longest = max(self._longest, len(word))
            self._characters += len(word) * times
            self._words += len(word.split()) * times

    def _add_times(self, times: np.ndarray) -> None:
        if not len(times):
            return
        first, last = times.min(), times.max()
        self._first_time = first if self._first_time is None else min(first, self._first_time)
        self._last_time = last if self._last_time is None else max(last, self._last_time)
        self._days_only = self._days_only and bool((times == times.astype("datetime64[D]")).all())

    def _add_numbers(self, numbers: np.ndarray) -> None:
        values = numbers.reshape(-1)
        infinite = np.isinf(values)
        self._infinite += int(infinite.sum())
        finite = values[~infinite]
        found = moments_of([finite])
        self._moments = found if self._moments is None else merged_moments([self._moments, found])
        there = finite[~np.isnan(finite)]
        self._integral = self._integral and bool((there == np.floor(there)).all())
        before = np.concatenate([[self._last], values[:-1]])
        self._increasing = self._increasing and bool((values > before).all())
        self._last = float(values[-1])

    def summary(self, sample: np.ndarray | None) -> ColumnSummary:
        """What was counted. `sample` (float64 [m]) has the column's values in the sampled rows."""
        known = np.zeros(0) if sample is None else sample[~np.isnan(sample)]
        return ColumnSummary(
            self.column,
            self._rows,
            self._missing,
            self._counts,
            len(np.unique(known)),
            len(known),
            self._numbers(known),
            self._times(),
            self._text_lengths(),
        )

    def _numbers(self, sample: np.ndarray) -> Numbers | None:
        if self._moments is None or not self._moments.counts[0]:
            return None
        least, largest = float(self._moments.least[0]), float(self._moments.largest[0])
        finite = sample[np.isfinite(sample)]
        quartiles: Sequence[float] = [float("nan")] * len(_QUARTERS)
        histogram: tuple[int, ...] = ()
        if len(finite):
            quartiles = np.quantile(finite, _QUARTERS).tolist()
        if len(finite) and _can_be_cut(least, largest):
            histogram = _histogram(finite, least, largest, each=self._integral)
        return Numbers(
            least,
            (quartiles[0], quartiles[1], quartiles[2]),
            largest,
            float(self._moments.means[0]),
            float(np.sqrt(self._moments.variances[0])),
            self._infinite,
            self._integral,
            self._increasing,
            histogram,
        )

    def _times(self) -> Times | None:
        if self._first_time is None or self._last_time is None:
            return None
        first, last = (str(each.astype("datetime64[s]")) for each in (self._first_time, self._last_time))
        return Times(first, last, self._days_only)

    def _text_lengths(self) -> Lengths | None:
        present = self._rows - self._missing
        if self._shortest is None:
            return None
        return Lengths(self._shortest, self._characters / present, self._longest, self._words / present)
