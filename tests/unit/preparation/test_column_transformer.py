"""A list of steps over a table in partitions, beside scikit-learn's ColumnTransformer on the same training rows."""

from collections.abc import Sequence

import numpy as np
from helpers.fits import assert_rows_alone_are_the_same, batches, column_bits
from helpers.number_tables import CUTS, FAN_IN, TARGET, schema_of, tables
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, RobustScaler, StandardScaler

from sapflow.preparation.batch import Batch, Column, Text
from sapflow.preparation.pipeline import Collected, Pipeline, State
from sapflow.preparation.record import Record
from sapflow.preparation.step import Fitted
from sapflow.preparation.steps.registry import CLASSES, step_of
from sapflow.preparation.steps.split import SplitStep
from sapflow.spec.preparation.prepare import SplitSpec
from sapflow.spec.preparation.step import StepSpec

STEPS = [
    {"impute": {"columns": ["a"], "strategy": "Median", "indicator": True}},
    {"scale": {"columns": ["a"], "method": "Robust"}},
    {"impute": {"columns": ["b"], "strategy": "Mean"}},
    {"scale": {"columns": ["b"], "method": "Standard"}},
    {"rename": {"names": {"b": "second"}}},
    {"scale": {"columns": ["second"], "method": "MinMax"}},
    {"encode": {"columns": ["c"], "method": "OneHot", "unseen": "Ignore"}},
]
PIPELINE_SPLIT = SplitSpec(fraction=0.3, by="Stratified", column="c")


def pipeline_of(columns: dict[str, Column]) -> Pipeline:
    steps = [step_of(StepSpec.model_validate(step), TARGET) for step in STEPS]
    return Pipeline([SplitStep(PIPELINE_SPLIT, TARGET, 5), *steps], schema_of(columns), deals=True)


def learnt(pipeline: Pipeline, partitions: Sequence[Sequence[Batch]], fan_in: int) -> tuple[State, int]:
    """The state when all is fitted, and the passes that it took. States travel as bytes."""
    state, passes = pipeline.begin(), 0
    while not state.fitted:
        found: list[Collected] = []
        for partition in partitions:
            collected: Collected = {}
            for batch in partition:
                collected = pipeline.collect(state, batch, collected)
            found.append(collected)
        while len(found) > 1:
            found = [
                pipeline.merge(state, found[begin : begin + fan_in]) for begin in range(0, len(found), fan_in)
            ]
        state = pipeline.next(state, found[0])
        data = state.record().encode()
        state = State.of_record(Record.decode(data, "state"), CLASSES)
        assert state.record().encode() == data
        passes += 1
    return state, passes


@settings(max_examples=60)
@given(
    tables(least=8),
    st.lists(st.sampled_from(["x", "y", "z"]), min_size=60, max_size=60),
    CUTS,
    FAN_IN,
)
def test_features_are_those_of_scikit_learn(
    numbers: dict[str, Column], words: list[str], cuts: list[int], fan_in: int
) -> None:
    rows = len(np.asarray(numbers["a"]))
    # The first three rows have values, and more rows of each class than are held out.
    for column in numbers.values():
        np.asarray(column)[:6] = np.arange(6.0) * 3 - 7
    columns: dict[str, Column] = {**numbers, "c": Text.of(["x"] * 6 + words[6:rows])}
    pipeline = pipeline_of(columns)
    whole = batches(columns, cuts)
    state, _ = learnt(pipeline, [[each] for each in whole], fan_in)

    split = state.stages[0]
    assert isinstance(split, Fitted)
    held = split.apply(Batch(columns, np.arange(rows))).batch.held
    assert held is not None
    applied = pipeline.apply(state, Batch(columns, np.arange(rows)))
    assert not applied.bad
    found = applied.batch
    assert list(found.columns) == ["a", "second", "c", "a_missing"] == list(pipeline.schema(state))

    text = columns["c"]
    assert isinstance(text, Text)
    table = np.array([np.asarray(numbers["a"]), np.asarray(numbers["b"]), text.values()], object).T
    expected = ColumnTransformer(
        [
            ("a", make_pipeline(SimpleImputer(strategy="median"), RobustScaler()), [0]),
            ("b", make_pipeline(SimpleImputer(), StandardScaler(), MinMaxScaler()), [1]),
            ("c", OneHotEncoder(handle_unknown="ignore", sparse_output=False), [2]),
        ]
    )
    expected.fit(table[~held])
    features = np.column_stack([np.asarray(found.columns[name]) for name in ("a", "second", "c")])
    np.testing.assert_allclose(
        features.astype(np.float32), expected.transform(table).astype(np.float32), rtol=1e-6, atol=1e-6
    )
    assert (np.asarray(found.columns["a_missing"]) == np.isnan(np.asarray(numbers["a"]))).all()

    # Batch by batch, and row by row, the same comes out, bit for bit.
    for batch in whole:
        part = pipeline.apply(state, batch).batch
        for name, column in part.columns.items():
            rest = found.take(batch.numbers).columns[name]
            assert column_bits(column) == column_bits(rest)
    assert_rows_alone_are_the_same(split, whole[0])


def test_steps_that_do_not_wait_for_each_other_learn_in_the_same_passes() -> None:
    generator = np.random.default_rng(0)
    columns: dict[str, Column] = {
        "a": generator.normal(size=2000),
        "b": generator.normal(size=2000),
        "c": Text.of(["xyz"[number % 3] for number in range(2000)]),
    }
    _, passes = learnt(pipeline_of(columns), [batches(columns, [500])], 2)
    # The split, then the first scale of each column with what it waits for, then MinMax.
    assert passes == 4
