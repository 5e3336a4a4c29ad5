"""Samples of rows: bounded, the same for the same rows, and the rows themselves where these are few."""

import numpy as np

from sapflow.preparation.batch import Batch, Text
from sapflow.preparation.inspection.row_sample import RowSample, as_numbers


def batches(rows: int, size: int) -> list[Batch]:
    return [
        Batch(
            {"x": np.arange(at, min(at + size, rows), dtype=np.float64)}, np.arange(at, min(at + size, rows))
        )
        for at in range(0, rows, size)
    ]


def sample(rows: int, size: int, kept: int) -> np.ndarray:
    found = RowSample(["x"], kept)
    for batch in batches(rows, size):
        found.add(batch)
    return found.values["x"]


def test_few_rows_are_all_kept_in_their_order() -> None:
    np.testing.assert_array_equal(sample(100, 7, 100), np.arange(100))


def test_of_many_rows_as_many_are_kept_as_are_asked_for_whatever_the_batches() -> None:
    found = sample(5000, 700, 200)
    assert len(found) == 200
    np.testing.assert_array_equal(found, sample(5000, 64, 200))
    assert 2000 < found.mean() < 3000


def test_equal_words_are_equal_numbers_in_every_batch() -> None:
    one, other = as_numbers(Text.of(["a", None, "b"])), as_numbers(Text.of(["b", "a"]))
    assert (one[0], one[2]) == (other[1], other[0])
    assert one[0] != one[2]
    assert np.isnan(one[1])


def test_times_are_microseconds_and_nothing_is_nan() -> None:
    found = as_numbers(np.array(["1970-01-01T00:00:01", "NaT"], "datetime64[us]"))
    np.testing.assert_array_equal(found, [1e6, np.nan])
