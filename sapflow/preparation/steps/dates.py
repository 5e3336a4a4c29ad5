"""Parts of times as numbers, by integer arithmetic: the proleptic Gregorian calendar, in UTC."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sapflow.preparation.batch import Batch, Column
from sapflow.preparation.record import Record
from sapflow.preparation.step import Applied, ColumnType, Fitted, Schema, Step
from sapflow.preparation.steps.columns import resolve, unused
from sapflow.preparation.steps.cycles import cosines, sines
from sapflow.spec.preparation.category_steps import DatesSpec

_SECOND = 1_000_000
_MINUTE, _HOUR, _DAY = 60 * _SECOND, 3600 * _SECOND, 86_400 * _SECOND
"""In microseconds."""


def _counted_from(unit: str, start: str) -> Callable[[np.ndarray], np.ndarray]:
    """How many `unit`s have passed since the beginning of the `start` that a time lies in."""

    def passed(times: np.ndarray) -> np.ndarray:
        found = times.astype(f"M8[{unit}]") - times.astype(f"M8[{start}]").astype(f"M8[{unit}]")
        return np.asarray(found.astype(np.int64))

    return passed


def _of_days(read: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """What `read` finds of times, which follows from the day alone: it is found once for each day that there may be."""

    def found(times: np.ndarray) -> np.ndarray:
        days = times.view(np.int64) // _DAY
        first, last = (int(days.min()), int(days.max())) if len(days) else (0, 0)
        if last - first >= len(times):
            return read(times)
        every = np.arange(first, last + 1).astype("M8[D]")
        return np.asarray(read(every)[days - first])

    return found


def _within_days(unit: int, start: int) -> Callable[[np.ndarray], np.ndarray]:
    """How many `unit`s have passed since the beginning of the `start` that a time lies in, both in microseconds."""

    def passed(times: np.ndarray) -> np.ndarray:
        micros = times.view(np.int64)
        return np.asarray(micros // unit - (micros // start) * (start // unit))

    return passed


@_of_days
def _weekdays(times: np.ndarray) -> np.ndarray:
    # The first of January 1970 was a Thursday.
    return np.asarray((times.astype("M8[D]").astype(np.int64) + 3) % 7)


_months = _of_days(_counted_from("M", "Y"))
_days_of_month = _of_days(_counted_from("D", "M"))
_days_of_year = _of_days(_counted_from("D", "Y"))
_years = _of_days(lambda times: times.astype("M8[Y]").astype(np.int64) + 1970)
_hours = _within_days(_HOUR, _DAY)

PARTS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "Year": _years,
    "Month": lambda times: _months(times) + 1,
    "Day": lambda times: _days_of_month(times) + 1,
    "Hour": _hours,
    "Minute": _within_days(_MINUTE, _HOUR),
    "Second": _within_days(_SECOND, _MINUTE),
    "Weekday": _weekdays,
    "DayOfYear": lambda times: _days_of_year(times) + 1,
    "UnixSeconds": lambda times: times.astype(np.int64) / 1e6,
    "MonthSin": lambda times: sines(12)[_months(times)],
    "MonthCos": lambda times: cosines(12)[_months(times)],
    "HourSin": lambda times: sines(24)[_hours(times)],
    "HourCos": lambda times: cosines(24)[_hours(times)],
    "WeekdaySin": lambda times: sines(7)[_weekdays(times)],
    "WeekdayCos": lambda times: cosines(7)[_weekdays(times)],
    "DayOfYearSin": lambda times: sines(366)[_days_of_year(times)],
    "DayOfYearCos": lambda times: cosines(366)[_days_of_year(times)],
}
"""Months and days count from 1; Monday is weekday 0. UnixSeconds has fractions, the seconds have not. A cycle begins
at angle 0 with January, midnight, Monday, the first of January; that of DayOfYear has 366 days in every year."""


def part_of(times: np.ndarray, part: str) -> np.ndarray:
    """float64 [n]: a part of times (datetime64[us] [n]); NaN where there is none."""
    there = ~np.isnat(times)
    found = np.full(len(times), np.nan)
    found[there] = PARTS[part](times[there])
    return found


def part_name(column: str, part: str) -> str:
    """The column that a part of `column` becomes: `departed_DayOfYear`."""
    return f"{column}_{part}"


@dataclass(frozen=True, slots=True)
class DatesStep(Step):
    """Takes parts of times."""

    spec: DatesSpec
    target: str

    def begin(self, given: Schema) -> Fitted:
        columns = resolve(self.spec.columns, given, ("Time",), spared=self.target)
        parts = tuple(dict.fromkeys(self.spec.parts))
        for column in columns:
            for part in parts:
                unused(part_name(column, part), given, "columns")
        return Dates(columns, parts)


@dataclass(frozen=True, slots=True)
class Dates(Fitted):
    """Each of its columns of times becomes a column of numbers a part, last of all; the times go."""

    columns: tuple[str, ...]
    parts: tuple[str, ...]
    name: ClassVar[str] = "dates"

    def reads(self) -> Sequence[str]:
        return self.columns

    def writes(self) -> Sequence[str]:
        return (*self.columns, *(part_name(column, part) for column in self.columns for part in self.parts))

    def schema(self, given: Schema) -> Schema:
        left = {name: kind for name, kind in given.items() if name not in self.columns}
        return left | {
            part_name(column, part): ColumnType("Number") for column in self.columns for part in self.parts
        }

    def apply(self, batch: Batch) -> Applied:
        made: dict[str, Column] = {
            part_name(column, part): part_of(np.asarray(batch.columns[column]), part)
            for column in self.columns
            for part in self.parts
        }
        return Applied(batch.without(self.columns).changed(made))

    def record(self) -> Record:
        return Record({"columns": list(self.columns), "parts": list(self.parts)})

    @classmethod
    def of_record(cls, record: Record) -> "Dates":
        return cls(tuple(record.notes["columns"]), tuple(record.notes["parts"]))
