"""Counts, means and variances that are merged, beside exact arithmetic."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sapflow.preparation.record import Record
from sapflow.preparation.steps.column_moments import Moments, merged, moments_of

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60)
ENDS = st.lists(st.integers(0, 60), max_size=6)


def in_parts(values: np.ndarray, ends: list[int], fan_in: int = 2) -> Moments:
    parts = [moments_of([each]) for each in np.split(values, sorted({min(end, len(values)) for end in ends}))]
    while len(parts) > 1:
        parts = [merged(parts[begin : begin + fan_in]) for begin in range(0, len(parts), fan_in)]
    return parts[0]


def exact(values: np.ndarray) -> tuple[float, float]:
    """Mean and variance of the very float64 numbers."""
    numbers = [Fraction(float(value)) for value in values]
    mean = sum(numbers, Fraction()) / len(numbers)
    return float(mean), float(sum(((each - mean) ** 2 for each in numbers), Fraction()) / len(numbers))


@given(VALUES, ENDS, st.integers(2, 5), st.sampled_from([0.0, 1e3, 1e9]))
def test_means_and_variances_are_exact_to_the_last_digits(
    values: list[float], ends: list[int], fan_in: int, offset: float
) -> None:
    column = np.array(values) + offset
    found, (mean, variance) = in_parts(column, ends, fan_in), exact(column)
    size = np.abs(column).max()
    assert found.counts[0] == len(values)
    assert abs(found.means[0] - mean) <= 1e-15 * size
    assert abs(found.variances[0] - variance) <= 1e-12 * variance + (1e-16 * size) ** 2
    assert (found.least[0], found.largest[0]) == (column.min(), column.max())


def test_a_large_offset_takes_nothing_from_the_variance() -> None:
    column = 1e9 + np.random.default_rng(0).normal(size=10_000)
    found = in_parts(column, list(range(0, 10_000, 700)), 3)
    assert found.variances[0] == pytest.approx(exact(column)[1], rel=1e-12)
    assert abs(np.square(column).mean() - column.mean() ** 2 - found.variances[0]) > 0.1  # the sum of squares


@given(VALUES, ENDS)
def test_a_record_has_all_of_it_and_missing_values_do_not_count(values: list[float], ends: list[int]) -> None:
    column = np.array(values)
    found = in_parts(column, ends)
    again = Moments.of_record(Record.decode(found.record().encode(), "moments"))
    assert again.record().encode() == found.record().encode()
    with_gaps = np.insert(column, range(len(column)), np.nan)
    assert moments_of([with_gaps]).record().encode() == moments_of([column]).record().encode()


def test_series_are_merged_each_by_itself_and_those_without_numbers_change_nothing() -> None:
    nothing = np.full(3, np.nan)
    one, other = moments_of([np.array([1.0, 2.0]), nothing]), moments_of([nothing, np.array([5.0])])
    both = merged([one, other])
    assert both.counts.tolist() == [2, 1]
    assert both.means.tolist() == [1.5, 5.0]
    assert both.variances.tolist() == [0.25, 0.0]
    assert both.least.tolist() == [1.0, 5.0]
    assert both.largest.tolist() == [2.0, 5.0]
    empty = moments_of([nothing])
    assert np.isnan(empty.variances[0])
    assert merged([empty, empty]).counts[0] == 0
