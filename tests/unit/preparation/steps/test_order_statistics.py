"""Order statistics in a few passes, beside sorted columns."""

from collections.abc import Sequence

import numpy as np
import pytest
from helpers.fits import batches
from helpers.number_tables import begun
from hypothesis import given, settings
from hypothesis import strategies as st

from sapflow.preparation.batch import Column
from sapflow.preparation.record import Record
from sapflow.preparation.step import ColumnType, Fit
from sapflow.preparation.steps.imputed import Imputed
from sapflow.preparation.steps.order_statistics import Cells, Search, keys_of, values_of
from sapflow.preparation.steps.quantiles import Ordered, Quantiles, median, median_ranks

FLOATS = st.floats(allow_nan=False)
BITS = st.integers(1, 8)


@given(st.lists(FLOATS, min_size=1))
def test_keys_have_the_order_of_the_values_they_come_back_as(given_: list[float]) -> None:
    values = np.array(given_)
    keys = keys_of(values)
    assert (values_of(keys) == values).all()
    assert (values[np.argsort(keys)] == np.sort(values)).all()
    assert (keys[:, None] == keys[None, :]).tolist() == (values[:, None] == values[None, :]).tolist()


def sent(cells: Cells) -> Cells:
    return Cells.of_record(Record.decode(cells.record().encode(), "cells"))


def found(values: np.ndarray, ranks: np.ndarray, bits: int, parts: Sequence[int]) -> tuple[np.ndarray, int]:
    """The values of the ranks, and how many passes it took; the search and its cells travel as bytes."""
    search, passes = Search.start(bits), 0
    pieces = np.split(keys_of(values), sorted({min(each, len(values)) for each in parts}))
    while not search.done:
        before: Cells | None = None
        for piece in pieces[:-1]:
            before = sent(search.count(piece, before))
        last = sent(search.count(pieces[-1], None))
        total = search.merge([last] if before is None else [before, last])
        at_once = search.count(keys_of(values), None)
        assert at_once.record().encode() == total.record().encode()
        search = search.narrowed(total, None if search.begun else ranks)
        search = Search.of_record(Record.decode(search.record().encode(), "search"))
        passes += 1
    return values_of(search.begins), passes


@given(
    values=st.lists(FLOATS | st.sampled_from([0.0, -0.0, 1.0, 1.5]), min_size=1, max_size=300),
    bits=BITS,
    parts=st.lists(st.integers(0, 300), max_size=5),
    shares=st.lists(st.floats(0, 1), min_size=1, max_size=8),
)
def test_the_values_of_ranks_are_those_of_the_sorted_column(
    values: list[float], bits: int, parts: list[int], shares: list[float]
) -> None:
    column = np.array(values)
    ranks = np.unique([int(share * (len(values) - 1)) for share in shares])
    assert found(column, ranks, bits, parts)[0].tolist() == (np.sort(column) + 0.0)[ranks].tolist()


def test_columns_of_few_different_values_take_one_pass_and_of_many_a_few() -> None:
    generator = np.random.default_rng(0)
    ranks = median_ranks(1_000_000)
    few = generator.integers(0, 5_000, 1_000_000).astype(np.float64)
    assert found(few, ranks, 13, [400_000])[1] == 1
    many = generator.normal(size=1_000_000)
    values, passes = found(many, ranks, 13, [400_000])
    assert passes <= 3
    assert values.tolist() == np.sort(many)[ranks].tolist()


def test_a_pass_counts_in_bounded_memory() -> None:
    values = np.random.default_rng(1).normal(size=200_000) * 10.0 ** np.random.default_rng(2).integers(
        -200, 200, 200_000
    )
    search = Search.start()
    assert len(search.count(keys_of(values), None).begins) <= 1 << 14
    assert len(search.count(keys_of(np.arange(16_000.0)), None).begins) == 16_000


@given(
    st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=50), st.lists(st.floats(0, 1), min_size=1, max_size=9)
)
def test_quantiles_are_numpys_bit_for_bit(values: list[float], shares: list[float]) -> None:
    column, wanted = np.array(values) + 0.0, np.array(shares)
    for quantiles, method in ((Quantiles.linear, "linear"), (Quantiles.averaged, "averaged_inverted_cdf")):
        between = quantiles(wanted, len(column))
        ordered = Ordered(len(column), between.ranks, np.sort(column)[between.ranks])
        assert between.values(ordered).tolist() == np.quantile(column, wanted, method=method).tolist()  # type: ignore[call-overload]
    ranks = median_ranks(len(column))
    assert median(Ordered(len(column), ranks, np.sort(column)[ranks])) == np.median(column)


@settings(max_examples=10)
@given(st.integers(0, 2**32))
def test_all_columns_of_a_step_are_searched_in_the_same_passes(seed: int) -> None:
    generator = np.random.default_rng(seed)
    columns: dict[str, Column] = {
        "normal": generator.normal(size=50_000),
        "few": generator.integers(0, 9, 50_000).astype(np.float64),
        "skewed": np.exp(generator.normal(size=50_000) * 20),
    }
    step = begun(
        {"impute": {"columns": ["*"], "strategy": "Median"}}, {name: ColumnType("Number") for name in columns}
    )
    passes = 0
    while isinstance(step, Fit):
        record = None
        for batch in batches(columns, [20_000, 40_000]):
            record = step.collect(batch, record)
        step, passes = step.next(record), passes + 1
    assert isinstance(step, Imputed)
    assert step.values == {name: float(np.median(np.asarray(each))) for name, each in columns.items()}
    assert passes <= 3


@pytest.mark.parametrize("bits", [1, 13])
def test_values_next_to_each_other_are_told_apart(bits: int) -> None:
    low = np.float64(1.0)
    high = np.nextafter(low, 2.0)
    column = np.array([high, low] * 50_000 + [high])
    values, passes = found(column, np.array([49_999, 50_000]), bits, [10])
    assert values.tolist() == [low, high]
    assert passes <= 12
