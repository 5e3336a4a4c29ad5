"""Which rows are held out for validation."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from helpers.fits import assert_rows_alone_are_the_same, batches, fitted, through_record
from hypothesis import given
from hypothesis import strategies as st

from sapflow.preparation.batch import Batch, Column, Text
from sapflow.preparation.step import ColumnType, Fit, Fitted, StepProblem
from sapflow.preparation.steps.split import RowSplit, SplitStep
from sapflow.preparation.steps.stratified_split import MAX_CLASSES, StratifiedFit
from sapflow.spec.preparation.prepare import SplitSpec

GIVEN = {"t": ColumnType("Text"), "n": ColumnType("Number"), "w": ColumnType("Time")}


def begun(spec: SplitSpec | None, seed: int = 7, target: str = "t") -> Fit | Fitted:
    return SplitStep(spec, target, seed).begin(GIVEN)


def held(step: Fitted, columns: dict[str, Column], partition: int = 0) -> list[bool]:
    rows = len(next(iter(columns.values())))
    batch = step.apply(Batch(columns, np.arange(rows), partition)).batch
    assert batch.held is not None
    return list(map(bool, batch.held))


def test_without_a_spec_a_fifth_of_the_rows_is_held_out() -> None:
    step = begun(None)
    assert isinstance(step, RowSplit)
    sides = held(through_record(step), {"n": np.zeros(50_000)})
    assert abs(sum(sides) / 50_000 - 0.2) < 0.01


def test_rows_are_dealt_by_seed_partition_and_number_alone() -> None:
    step, columns = RowSplit(0.5, 7), {"n": np.zeros(1000)}
    table: dict[str, Column] = {**columns}
    whole = held(step, table)
    parts = [held_of.batch.held for held_of in map(step.apply, batches(table, [10, 11, 500]))]
    assert np.concatenate([each for each in parts if each is not None]).tolist() == whole
    assert held(step, table, partition=1) != whole
    assert held(RowSplit(0.5, 8), table) != whole
    assert not any(held(RowSplit(0.0, 7), table))


def test_a_row_that_was_left_out_before_changes_no_other_rows_side() -> None:
    batch = Batch({"n": np.zeros(100)}, np.arange(100))
    kept = np.arange(100) % 3 > 0
    whole, rest = RowSplit(0.3, 1).apply(batch).batch, RowSplit(0.3, 1).apply(batch.take(kept)).batch
    assert whole.held is not None
    assert rest.held is not None
    assert (whole.held[kept] == rest.held).all()


@given(
    st.lists(st.sampled_from(["a", "b", "c", "é", None]), min_size=1, max_size=300),
    st.floats(0, 0.99),
    st.lists(st.integers(1, 300), max_size=5),
    st.integers(2, 4),
    st.booleans(),
)
def test_each_class_gives_exactly_its_part(
    classes: list[str | None], fraction: float, cuts: Sequence[int], fan_in: int, numbers: bool
) -> None:
    column: Column = Text.of(classes)
    if numbers:
        column = np.array([np.nan if each is None else "abcé".index(each) for each in classes])
    name = "n" if numbers else "t"
    step = begun(SplitSpec(fraction=fraction, by="Stratified", column=name))
    parts = [[each] for each in batches({name: column}, cuts)]
    found = fitted(step, parts, fan_in)
    together = fitted(step, [[each for part in parts for each in part]])
    assert together.record().encode() == found.record().encode()
    sides = held(found, {name: column})
    for each, rows in Counter(classes).items():
        if each is not None:
            mine = [side for side, one in zip(sides, classes, strict=True) if one == each]
            assert sum(mine) == min(int(fraction * rows + 0.5), rows - 1)
    batch = Batch({name: column}, np.arange(len(classes)))
    applied = found.apply(batch).batch
    for row in range(len(batch)):
        alone = found.apply(batch.take(np.array([row]))).batch
        assert applied.held is not None
        assert alone.held is not None
        assert alone.held[0] == applied.held[row]


def test_a_large_class_takes_a_few_passes_of_bounded_size() -> None:
    rows = 400_000
    column: dict[str, Column] = {"t": Text((np.arange(rows) % 10 == 0).astype(np.int32), ("often", "seldom"))}
    step, passes = begun(SplitSpec(fraction=0.3, by="Stratified")), 0
    while isinstance(step, Fit):
        record = None
        for batch in batches(column, range(0, rows, 65_536)):
            if len(batch):
                record = step.collect(batch, record)
        assert record is not None
        assert len(record.encode()) < 100_000
        step, passes = step.next(record), passes + 1
    sides = np.array(held(step, column))
    text = column["t"]
    assert isinstance(text, Text)
    assert sides[text.codes == 0].sum() == 108_000
    assert sides[text.codes == 1].sum() == 12_000
    assert passes <= 3


@given(st.lists(st.sampled_from(["x", "y", "z", "u", "v", None]), min_size=1, max_size=40))
def test_rows_of_one_group_are_on_one_side(groups: list[str | None]) -> None:
    step = begun(SplitSpec(fraction=0.4, by="Group", column="t"))
    assert isinstance(step, Fitted)
    sides = held(through_record(step), {"t": Text.of(groups)})
    assert len({*zip(groups, sides, strict=True)}) == len({*groups})
    assert_rows_alone_are_the_same(step, Batch({"t": Text.of(groups)}, np.arange(len(groups))))


def test_about_the_fraction_of_many_groups_is_held_out() -> None:
    step = begun(SplitSpec(fraction=0.25, by="Group", column="n"))
    assert isinstance(step, Fitted)
    sides = held(step, {"n": np.repeat(np.arange(4000.0), 5)})
    assert abs(sum(sides) / 20_000 - 0.25) < 0.03


def test_rows_with_one_of_the_values_are_held_out() -> None:
    by_text = begun(SplitSpec(column="t", values=["b", "never"]))
    assert isinstance(by_text, Fitted)
    assert held(through_record(by_text), {"t": Text.of(["a", "b", None, "b"])}) == [False, True, False, True]
    by_number = begun(SplitSpec(column="n", numbers=[2013, 0.5, -0.0]))
    assert isinstance(by_number, Fitted)
    column = np.array([2013.0, 2014.0, 0.5, 0.0, np.nan])
    assert held(through_record(by_number), {"n": column}) == [True, False, True, True, False]


def test_what_cannot_split_is_said() -> None:
    for spec, said in (
        (SplitSpec(column="n", values=["a"]), "column n is of type Number, and this needs Text"),
        (SplitSpec(column="t", numbers=[1]), "column t is of type Text, and this needs Number"),
        (SplitSpec(by="Group", column="w"), "column w is of type Time"),
        (SplitSpec(by="Stratified", column="gone"), "no column is called gone; there are t, n, w"),
    ):
        with pytest.raises(StepProblem, match=said):
            begun(spec)
    with pytest.raises(
        StepProblem, match="the source has no column late, which is the target after the steps"
    ):
        begun(SplitSpec(by="Stratified"), target="late")


def test_too_many_classes_are_no_classes() -> None:
    words = Text.of([str(number) for number in range(MAX_CLASSES + 1)])
    step = StratifiedFit("t", 0.2, 0)
    with pytest.raises(StepProblem, match="more than 1,000 different values, which are no classes"):
        fitted(step, [[each] for each in batches({"t": words}, [600])])
    assert isinstance(fitted(step, [batches({"t": words.take(np.arange(MAX_CLASSES))}, [600])]), Fitted)
