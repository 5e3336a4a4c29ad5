"""Parsed rows come back from the store as they were parsed."""

import numpy as np
import pytest

from sapflow.errors import CorruptObject
from sapflow.preparation import stored_batch
from sapflow.preparation.batch import Batch, Blobs, Text
from sapflow.preparation.record import Record


def parsed() -> Batch:
    times = np.array(["2020-01-01T00:00:00", "NaT", "1969-12-31T23:59:59.5"], "M8[us]")
    return Batch(
        {
            "flag": np.array([1, 0, 1], np.uint8),
            "number": np.array([1.5, np.nan, -0.0]),
            "text": Text.of(["a\nb", None, "ü"]),
            "time": times,
            "vector": np.arange(6.0).reshape(3, 2),
            "image": Blobs((b"\x00\x01", None, b"")),
        },
        np.array([3, 4, 9]),
        7,
    )


def test_every_kind_of_column_comes_back_bit_for_bit_and_in_its_place() -> None:
    batch = parsed()
    found = stored_batch.decode(b"".join(stored_batch.encode(batch)), "key")
    assert list(found.columns) == list(batch.columns)
    assert found.partition == 7
    assert found.numbers.tolist() == [3, 4, 9]
    for name, column in batch.columns.items():
        other = found.columns[name]
        if isinstance(column, Text):
            assert isinstance(other, Text)
            assert other.values() == column.values()
        elif isinstance(column, Blobs):
            assert other == column
        else:
            assert isinstance(other, np.ndarray)
            assert other.dtype == column.dtype
            assert other.tobytes() == column.tobytes()
            assert other.flags.aligned


def test_no_rows_come_back_as_no_rows() -> None:
    nothing = parsed().take(np.zeros(3, bool))
    found = stored_batch.decode(b"".join(stored_batch.encode(nothing)), "key")
    assert len(found) == 0
    assert list(found.columns) == list(nothing.columns)


def test_another_object_is_refused() -> None:
    with pytest.raises(CorruptObject, match="no batch of parsed rows"):
        stored_batch.decode(Record({"a": 1}).encode(), "key")
