"""Which steps learn in which pass, and that a pass is the same wherever it is cut."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from sapflow.preparation.batch import Batch, Text
from sapflow.preparation.pipeline import Collected, Pipeline, State
from sapflow.preparation.step import Applied, ColumnType, Step, StepProblem
from sapflow.preparation.steps.elementwise import Clipped
from sapflow.preparation.steps.registry import CLASSES, step_of
from sapflow.preparation.steps.split import SplitStep
from sapflow.spec.preparation.prepare import SplitSpec
from sapflow.spec.preparation.step import StepSpec

GIVEN = {
    "a": ColumnType("Number"),
    "b": ColumnType("Number"),
    "c": ColumnType("Text"),
    "y": ColumnType("Number"),
}


def pipeline(*items: dict[str, Any], split: SplitSpec | None = None) -> Pipeline:
    steps: list[Step] = [SplitStep(split or SplitSpec(fraction=0.25), "y", 0)]
    steps += [step_of(StepSpec.model_validate(item), "y") for item in items]
    return Pipeline(steps, GIVEN, deals=True)


def batches(rows: int = 200, size: int = 64, partition: int = 0) -> list[Batch]:
    drawn = np.random.default_rng(partition)
    a = drawn.normal(5, 3, rows)
    a[drawn.random(rows) < 0.2] = np.nan
    columns = {"a": a, "b": drawn.normal(size=rows), "y": drawn.normal(size=rows)}
    words = Text.of(drawn.choice(["u", "v", "w"], rows).tolist())
    found = Batch({**columns, "c": words}, np.arange(rows), partition)
    return [found.take(np.arange(at, min(at + size, rows))) for at in range(0, rows, size)]


def fitted(steps: Pipeline, partitions: Sequence[list[Batch]]) -> tuple[State, int]:
    """The state in which all is fitted, and the passes that it took; it is made data and back at every turn."""
    state, passes = steps.begin(), 0
    while not state.fitted:
        state = State.of_record(state.record(), CLASSES)
        found = []
        for each in partitions:
            collected: Collected = {}
            for batch in each:
                collected = steps.collect(state, batch, collected)
            found.append(collected)
        state, passes = steps.next(state, steps.merge(state, found)), passes + 1
    return state, passes


IMPUTE = {"impute": {"columns": ["a"], "strategy": "Mean"}}
ENCODE = {"encode": {"columns": ["c"], "method": "OneHot"}}
SCALE_A = {"scale": {"columns": ["a"], "method": "Standard"}}
SCALE_B = {"scale": {"columns": ["b"], "method": "MinMax"}}


@pytest.mark.parametrize(
    ("items", "passes"),
    [
        ([], 0),
        ([IMPUTE, ENCODE, SCALE_B], 1),
        ([IMPUTE, SCALE_A, ENCODE], 2),
        ([{"rename": {"names": {"b": "d"}}}, {"scale": {"columns": ["d"], "method": "Standard"}}], 1),
        ([IMPUTE, {"dropRows": {"columns": ["b"]}}, SCALE_B], 1),
        ([IMPUTE, {"dropRows": {"columns": ["a"]}}, SCALE_B], 2),
    ],
    ids=[
        "nothing to learn",
        "other columns",
        "the same column",
        "after a rename",
        "rows known",
        "rows not known",
    ],
)
def test_all_steps_learn_in_one_pass_whose_columns_and_rows_are_known(
    items: list[dict[str, Any]], passes: int
) -> None:
    assert fitted(pipeline(*items), [batches()])[1] == passes


def test_nothing_is_learnt_before_rows_are_dealt() -> None:
    split = SplitSpec(by="Stratified", column="c", fraction=0.25)
    steps = pipeline(IMPUTE, split=split)
    assert steps.learning(steps.begin()) == [0]
    assert fitted(steps, [batches()])[1] == 2


def test_what_is_learnt_is_of_the_training_rows_alone() -> None:
    steps = pipeline(IMPUTE)
    state, _ = fitted(steps, [batches()])
    applied = steps.apply(state, batches(size=200)[0]).batch
    held, raw = applied.held, batches(size=200)[0].columns["a"]
    assert held is not None
    assert isinstance(raw, np.ndarray)
    filled = np.asarray(applied.columns["a"])[np.isnan(raw)]
    assert held.any()
    assert filled == pytest.approx(np.nanmean(raw[~held]), rel=1e-12)


def test_a_state_is_the_same_however_partitions_are_spread_over_functions() -> None:
    steps = pipeline(IMPUTE, SCALE_A, ENCODE)
    partitions = [batches(partition=number) for number in range(3)]
    one = fitted(steps, partitions)[0].record().encode()
    assert fitted(steps, partitions)[0].record().encode() == one
    assert fitted(steps, list(reversed(partitions)))[0].stages != ()


def test_a_row_has_the_same_bits_by_itself_and_among_others() -> None:
    steps = pipeline(IMPUTE, SCALE_A, ENCODE)
    state, _ = fitted(steps, [batches()])
    together = steps.apply(state, batches(size=200)[0]).batch
    for row in (0, 17, 199):
        alone = steps.apply(state, batches(size=200)[0].take(np.array([row]))).batch
        for name in ("a", "b", "c"):
            one, all_rows = np.asarray(alone.columns[name]), np.asarray(together.columns[name])
            assert one[0].tobytes() == all_rows[row].tobytes()


def test_a_step_over_a_column_that_is_not_there_is_told_with_its_number() -> None:
    with pytest.raises(StepProblem, match="no column is called z") as told:
        pipeline(IMPUTE, {"clip": {"columns": ["z"], "min": 0}}).begin()
    assert told.value.field == "2.columns"


def test_a_pass_applies_no_step_and_keeps_no_column_that_nobody_who_learns_reads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    applied: list[tuple[str, ...]] = []
    apply = Clipped.apply

    def noted(stage: Clipped, batch: Batch) -> Applied:
        applied.append((*stage.columns, *sorted(batch.columns)))
        return apply(stage, batch)

    monkeypatch.setattr(Clipped, "apply", noted)
    clips = [{"clip": {"columns": [name], "min": 0}} for name in ("a", "b")]
    fitted(pipeline(*clips, SCALE_B, IMPUTE, SCALE_A), [batches(size=200)])
    assert applied == [("a", "a", "b"), ("b", "a", "b"), ("a", "a")]


@pytest.mark.parametrize(
    "items",
    [
        [],
        [SCALE_B],
        [IMPUTE, SCALE_A],
        [IMPUTE, SCALE_A, SCALE_B, ENCODE],
        [{"drop": {"columns": ["c"]}}, SCALE_B],
    ],
    ids=["nothing is learnt", "one step", "one waits for another", "others do not wait", "after a drop"],
)
def test_the_passes_that_are_foretold_are_those_that_are_taken(items: list[dict[str, Any]]) -> None:
    steps = pipeline(*items)
    assert steps.least_passes(steps.begin()) == fitted(steps, [batches()])[1]
