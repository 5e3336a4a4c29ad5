"""Categories to numbers, beside scikit-learn."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from helpers.fits import assert_rows_alone_are_the_same, batches, column_bits, fitted, through_record
from hypothesis import given
from hypothesis import strategies as st
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

from sapflow.preparation.batch import Batch, Column, Text
from sapflow.preparation.step import ColumnType, StepProblem
from sapflow.preparation.steps import encode
from sapflow.preparation.steps.encode import Encode, EncodeChoice, EncodeFit, EncodeStep, Method
from sapflow.preparation.steps.hashed_encode import HashedEncode
from sapflow.spec.preparation.category_steps import EncodeSpec

WORDS = st.lists(st.sampled_from(["a", "b", "B", "é", "", "10", "9", None]), min_size=1, max_size=40)
NUMBERS = st.lists(st.sampled_from([0.0, -0.0, 1.0, -2.5, 1e300, float("nan")]), min_size=1, max_size=40)
VALUES = st.one_of(WORDS, NUMBERS)
LIMITS = {"top": st.none() | st.integers(1, 8), "min_count": st.none() | st.integers(1, 6)}
CUTS = st.lists(st.integers(1, 40), max_size=4)


def column_of(values: Sequence[Any]) -> Column:
    if any(isinstance(each, str) for each in values) or all(each is None for each in values):
        return Text.of(values)
    return np.array(values, np.float64)


def table_of(values: Sequence[Any]) -> np.ndarray:
    """For scikit-learn: NaN where a word is missing, as pandas has it."""
    if isinstance(column_of(values), Text):
        return np.array([[np.nan if each is None else each] for each in values], object)
    return np.array(values, np.float64)[:, None] + 0.0


def learnt(values: Sequence[Any], choice: EncodeChoice, cuts: Sequence[int] = ()) -> Encode:
    step = EncodeFit(("x",), choice)
    found = fitted(through_record(step), [batches({"x": column_of(values)}, cuts)])
    # How rows are dealt to partitions and batches changes no bit.
    apart = fitted(step, [[each] for each in batches({"x": column_of(values)}, cuts)], fan_in=3)
    assert apart.record().encode() == found.record().encode()
    assert isinstance(found, Encode)
    return found


def applied(step: Encode, values: Sequence[Any], like: Sequence[Any] | None = None) -> np.ndarray:
    column = column_of(values) if like is None or not isinstance(column_of(like), Text) else Text.of(values)
    batch = Batch({"x": column}, np.arange(len(values)))
    assert_rows_alone_are_the_same(step, batch)
    result = step.apply(batch)
    assert not result.bad
    return np.asarray(result.batch.columns["x"])


@given(VALUES, LIMITS["top"], LIMITS["min_count"], CUTS)
def test_one_hot_is_that_of_scikit_learn(
    values: list[Any], top: int | None, min_count: int | None, cuts: list[int]
) -> None:
    step = learnt(values, EncodeChoice("OneHot", top, min_count), cuts)
    theirs = OneHotEncoder(
        sparse_output=False, max_categories=None if top is None else top + 1, min_frequency=min_count
    )
    np.testing.assert_array_equal(applied(step, values), theirs.fit_transform(table_of(values)))


@given(VALUES, LIMITS["top"], LIMITS["min_count"], CUTS)
def test_ordinals_are_those_of_scikit_learn(
    values: list[Any], top: int | None, min_count: int | None, cuts: list[int]
) -> None:
    step = learnt(values, EncodeChoice("Ordinal", top, min_count), cuts)
    theirs = OrdinalEncoder(max_categories=None if top is None else top + 1, min_frequency=min_count)
    np.testing.assert_array_equal(applied(step, values), theirs.fit_transform(table_of(values))[:, 0])


@given(WORDS, WORDS, LIMITS["min_count"], st.sampled_from(["Ignore", "Other"]))
def test_unseen_categories_are_as_with_scikit_learn(
    values: list[Any], others: list[Any], min_count: int | None, unseen: Any
) -> None:
    values = [*values, "seen"]
    step = learnt(values, EncodeChoice("OneHot", min_count=min_count, unseen=unseen))
    theirs = OneHotEncoder(
        sparse_output=False,
        min_frequency=min_count,
        handle_unknown={"Ignore": "ignore", "Other": "infrequent_if_exist"}[unseen],
    ).fit(table_of(values))
    expected = theirs.transform(table_of([*others, "seen"]))[:-1]
    np.testing.assert_array_equal(applied(step, others, like=values), expected)


@given(WORDS, WORDS)
def test_unseen_ordinals_are_as_with_scikit_learn(values: list[Any], others: list[Any]) -> None:
    values = [*values, "seen"]
    step = learnt(values, EncodeChoice("Ordinal", unseen="Ignore", unseen_number=-7.0))
    theirs = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-7).fit(table_of(values))
    expected = theirs.transform(table_of([*others, "seen"]))[:-1, 0]
    if None not in values:  # scikit-learn takes a missing value for unseen, too, where training has none
        expected[[each is None for each in others]] = np.nan
    np.testing.assert_array_equal(applied(step, others, like=values), expected)


@pytest.mark.parametrize("method", ["OneHot", "Ordinal"])
def test_the_row_of_an_unseen_category_is_bad_and_told_with_its_value(method: Method) -> None:
    step = learnt(["a", "b"], EncodeChoice(method))
    result = step.apply(Batch({"x": Text.of(["b", "new", "a"])}, np.array([5, 6, 9])))
    assert result.batch.numbers.tolist() == [5, 9]
    (bad,) = result.bad
    assert (bad.numbers, bad.column, bad.values) == ([6], "x", ["new"])
    assert "training has not seen" in bad.reason
    assert step.drops_rows


def test_a_row_that_is_bad_in_two_columns_is_told_once() -> None:
    columns: dict[str, Column] = {"x": Text.of("ab"), "y": np.array([1.0, 2.0])}
    step = fitted(EncodeFit(("x", "y"), EncodeChoice("OneHot")), [batches(columns, [])])
    result = step.apply(Batch({"x": Text.of("acc"), "y": np.array([3.0, 3.0, 1.0])}, np.arange(3)))
    assert [(each.column, each.numbers, each.values) for each in result.bad] == [
        ("x", [1, 2], ["c", "c"]),
        ("y", [0], ["3"]),
    ]
    assert len(result.batch) == 0


def test_features_are_named_by_column_and_category() -> None:
    step = learnt(["a", "a", "b", None, None, "c"], EncodeChoice("OneHot", top=2))
    assert step.schema({"x": ColumnType("Text"), "y": ColumnType("Number")}) == {
        "x": ColumnType("Number", 3, ("x=a", "x is missing", "x is rare")),
        "y": ColumnType("Number"),
    }
    numbers = learnt([1.0, 2.5], EncodeChoice("OneHot"))
    assert numbers.names == (("x=1", "x=2.5"),)


def test_a_constant_column_is_one_category_and_one_without_values_that_of_missing_ones() -> None:
    assert learnt(["a", "a"], EncodeChoice("OneHot")).names == (("x=a",),)
    nothing = learnt([None, None], EncodeChoice("OneHot"))
    assert nothing.names == (("x is missing",),)
    assert applied(nothing, [None]).tolist() == [[1.0]]
    assert np.isnan(applied(learnt([None], EncodeChoice("Ordinal")), [None])).all()


def test_a_targets_labels_become_classes_whose_words_are_kept() -> None:
    step = learnt(["late", "early", "late"], EncodeChoice("Classes"))
    assert applied(step, ["late", "early"]).tolist() == [1.0, 0.0]
    assert step.schema({"x": ColumnType("Text")}) == {"x": ColumnType("Class", names=("early", "late"))}
    result = step.apply(Batch({"x": Text.of(["late", None, "never"])}, np.arange(3)))
    assert result.batch.numbers.tolist() == [0]
    assert result.bad[0].values == ["", "never"]
    assert learnt([1.0, 0.0, 2.5], EncodeChoice("Classes")).names == (("0", "1", "2.5"),)


def test_a_target_without_labels_has_no_classes() -> None:
    with pytest.raises(StepProblem, match="every value of column x is missing"):
        learnt([None], EncodeChoice("Classes"))


def test_without_training_rows_there_are_no_categories() -> None:
    with pytest.raises(StepProblem, match="no training row"):
        EncodeFit(("x",), EncodeChoice("OneHot")).next(None)


def test_too_many_features_are_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "MAX_FEATURES", 2)
    with pytest.raises(StepProblem, match="top or minCount, or use method: Hash"):
        learnt(["a", "b", "c"], EncodeChoice("OneHot"))
    assert len(learnt(["a", "b", "c"], EncodeChoice("Ordinal")).names[0]) == 3


@given(VALUES, st.integers(2, 9))
def test_hashed_categories_are_those_of_scikit_learns_hasher(values: list[Any], buckets: int) -> None:
    from sklearn.feature_extraction import FeatureHasher

    from sapflow.preparation.numerals import numerals

    column = column_of(values)
    step = through_record(HashedEncode(("x",), buckets))
    batch = Batch({"x": column}, np.arange(len(values)))
    assert_rows_alone_are_the_same(step, batch)
    words = column if isinstance(column, Text) else numerals(np.asarray(column))
    hasher = FeatureHasher(buckets, input_type="string", alternate_sign=False)
    expected = hasher.transform([[] if each is None else [each] for each in words.values()]).toarray()
    found = step.apply(batch).batch.columns["x"]
    assert isinstance(found, np.ndarray)
    assert column_bits(found.astype(np.float64)) == column_bits(expected)
    assert step.schema({"x": ColumnType("Text")})["x"].width == buckets


def test_the_spec_says_what_is_encoded_and_the_target_only_by_its_name() -> None:
    schema = {name: ColumnType("Text") for name in ("kind", "label")} | {"at": ColumnType("Time")}
    spec = EncodeSpec(columns=["*l"], method="Ordinal", top=3, unseen="Ignore", unseen_value=-9)
    with pytest.raises(StepProblem, match="write its name out"):
        EncodeStep(spec, "label").begin(schema)
    features = EncodeSpec(columns=["kind"], method="Ordinal", top=3, unseen="Ignore", unseen_value=-9)
    expected = EncodeFit(("kind",), EncodeChoice("Ordinal", 3, None, "Ignore", -9.0))
    assert EncodeStep(features, "label").begin(schema) == expected
    hashed = EncodeSpec(columns=["kind"], method="Hash", buckets=4)
    assert EncodeStep(hashed, "label").begin(schema) == HashedEncode(("kind",), 4)
    with pytest.raises(StepProblem, match="column at is of type Time"):
        EncodeStep(EncodeSpec(columns=["at"], method="OneHot"), "label").begin(schema)


def test_classes_are_for_the_target_alone() -> None:
    schema = {name: ColumnType("Text") for name in ("kind", "label")}
    label = EncodeStep(EncodeSpec(columns=["label"], method="Classes"), "label").begin(schema)
    assert label == EncodeFit(("label",), EncodeChoice("Classes"))
    with pytest.raises(StepProblem, match="for the target label alone"):
        EncodeStep(EncodeSpec(columns=["kind", "label"], method="Classes"), "label").begin(schema)
