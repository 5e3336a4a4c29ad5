"""Fits steps over partitions as functions do, and through records at every moment."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from sapflow.preparation.batch import Batch, Blobs, Column, Text
from sapflow.preparation.record import Record
from sapflow.preparation.step import Fit, Fitted

Some = TypeVar("Some", Fit, Fitted)


def batches(columns: dict[str, Column], ends: Sequence[int]) -> list[Batch]:
    """A table in consecutive batches that end at these rows."""
    rows = len(next(iter(columns.values())))
    given = Batch(columns, np.arange(rows))
    found, begin = [], 0
    for end in sorted({min(end, rows) for end in ends} | {rows}):
        found.append(given.take(np.arange(begin, end)))
        begin = end
    return found


def through_record(value: Some) -> Some:
    """The same made again from its record's bytes, which must not change by it."""
    data = value.record().encode()
    again = type(value).of_record(Record.decode(data, "record"))
    assert again.record().encode() == data
    return again


def total_of(fit: Fit, partitions: Sequence[Sequence[Batch]], fan_in: int = 2) -> Record | None:
    """What a fit counts of partitions, each of some batches; every record travels as bytes."""
    records = []
    for each in partitions:
        before: Record | None = None
        for batch in each:
            before = _sent(through_record(fit).collect(batch, before))
        if before is not None:
            records.append(before)
    while len(records) > 1:
        records = [
            _sent(through_record(fit).merge(records[begin : begin + fan_in]))
            for begin in range(0, len(records), fan_in)
        ]
    return records[0] if records else None


def fitted(step: Fit | Fitted, partitions: Sequence[Sequence[Batch]], fan_in: int = 2) -> Fitted:
    """The step after all its passes."""
    while isinstance(step, Fit):
        step = step.next(total_of(step, partitions, fan_in))
    return through_record(step)


def _sent(record: Record) -> Record:
    return Record.decode(record.encode(), "record")


def column_bits(column: Column) -> object:
    """What two columns have in common if they are equal bit for bit."""
    if isinstance(column, Text):
        return column.values()
    if isinstance(column, Blobs):
        return column.values
    return (column.dtype.str, column.shape, column.tobytes())


def assert_rows_alone_are_the_same(step: Fitted, batch: Batch) -> None:
    """Each row by itself comes out as it does within the batch, bit for bit."""
    applied = step.apply(batch)
    alone = [step.apply(batch.take(np.array([row]))) for row in range(len(batch))]
    assert sorted(number for each in applied.bad for number in each.numbers) == sorted(
        number for single in alone for each in single.bad for number in each.numbers
    )
    came = [single.batch for single in alone if len(single.batch)]
    assert [number for each in came for number in each.numbers] == applied.batch.numbers.tolist()
    for name, column in applied.batch.columns.items():
        for row, single in enumerate(came):
            expected = column_bits(
                Batch({name: column}, applied.batch.numbers).take(np.array([row])).columns[name]
            )
            assert column_bits(single.columns[name]) == expected, name
