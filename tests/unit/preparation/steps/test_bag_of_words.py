"""Features of terms, beside scikit-learn."""

from collections.abc import Sequence

import numpy as np
import pytest
from helpers.fits import assert_rows_alone_are_the_same, batches, fitted, through_record
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import (
    CountVectorizer,
    HashingVectorizer,
    TfidfTransformer,
    TfidfVectorizer,
)

from sapflow.preparation.batch import Batch, Text
from sapflow.preparation.step import ColumnType, Fit, Fitted, StepProblem
from sapflow.preparation.steps.bag_of_words import BagOfWords, BagOfWordsStep, BucketFit, TermFit
from sapflow.spec.preparation.text_steps import BagOfWordsSpec

TEXTS = st.lists(
    st.lists(st.sampled_from(["the", "The", "cat", "dog", "ß9", "naïve", "a", "x_y", "!"]), max_size=8).map(
        " ".join
    ),
    min_size=1,
    max_size=15,
)
CUTS = st.lists(st.integers(1, 15), max_size=3)
SCHEMA = {"text": ColumnType("Text")}


def learnt(step: Fit, texts: Sequence[str | None], cuts: Sequence[int]) -> BagOfWords:
    given_batches = batches({"text": Text.of(texts)}, cuts)
    found = fitted(through_record(step), [given_batches])
    apart = fitted(step, [[each] for each in given_batches], fan_in=3)
    assert apart.record().encode() == found.record().encode()
    assert isinstance(found, BagOfWords)
    return found


def features(step: Fitted, texts: Sequence[str | None]) -> np.ndarray:
    batch = Batch({"text": Text.of(texts)}, np.arange(len(texts)))
    assert_rows_alone_are_the_same(step, batch)
    return np.asarray(step.apply(batch).batch.columns["text"])


@given(TEXTS, st.integers(1, 6), CUTS)
def test_counts_are_those_of_scikit_learn(texts: list[str], top: int, cuts: list[int]) -> None:
    assume(any("e" in text or "g" in text for text in texts))
    every = CountVectorizer().fit(texts)
    times = np.sort(-every.transform(texts).sum(axis=0).A1)
    assume(top >= len(times) or times[top - 1] != times[top])  # scikit-learn lets chance decide of equals
    step = learnt(TermFit(("text",), top, False), texts, cuts)
    theirs = CountVectorizer(max_features=top).fit(texts)
    assert step.bags[0].terms == tuple(theirs.get_feature_names_out())
    np.testing.assert_array_equal(features(step, texts), theirs.transform(texts).toarray())


@given(TEXTS, TEXTS, CUTS)
def test_tf_idf_is_that_of_scikit_learn(texts: list[str], others: list[str], cuts: list[int]) -> None:
    assume(any("e" in text or "g" in text for text in texts))
    step = learnt(TermFit(("text",), 100, True), texts, cuts)
    theirs = TfidfVectorizer().fit(texts)
    np.testing.assert_allclose(features(step, others), theirs.transform(others).toarray(), rtol=1e-14, atol=0)


@given(TEXTS, st.integers(2, 9))
def test_hashed_counts_are_those_of_scikit_learn(texts: list[str], buckets: int) -> None:
    step = BagOfWordsStep(BagOfWordsSpec(columns=["text"], buckets=buckets), "y").begin(SCHEMA)
    assert isinstance(step, BagOfWords)
    theirs = HashingVectorizer(n_features=buckets, norm=None, alternate_sign=False)
    np.testing.assert_array_equal(features(through_record(step), texts), theirs.transform(texts).toarray())


@given(TEXTS, TEXTS, st.integers(2, 9), CUTS)
def test_hashed_tf_idf_is_that_of_scikit_learn(
    texts: list[str], others: list[str], buckets: int, cuts: list[int]
) -> None:
    step = learnt(BucketFit(("text",), buckets), texts, cuts)
    counts = HashingVectorizer(n_features=buckets, norm=None, alternate_sign=False)
    theirs = TfidfTransformer().fit(counts.transform(texts))
    expected = theirs.transform(counts.transform(others)).toarray()
    np.testing.assert_allclose(features(step, others), expected, rtol=1e-14, atol=0)


def test_of_equally_frequent_terms_the_first_is_kept() -> None:
    assert learnt(TermFit(("text",), 2, False), ["dd cc bb bb"], []).bags[0].terms == ("bb", "cc")


def test_a_missing_text_has_nothing_and_counts_as_a_row() -> None:
    step = learnt(TermFit(("text",), 9, True), ["aa bb", None, "aa"], [])
    assert features(step, [None, "unseen", "aa"]).tolist() == [[0, 0], [0, 0], [1, 0]]
    weights = step.bags[0].weights
    assert weights is not None
    assert weights.tolist() == pytest.approx([1 + np.log(4 / 3), 1 + np.log(4 / 2)])


def test_features_are_named_by_column_and_term() -> None:
    step = learnt(TermFit(("text",), 2, False), ["cat dog"], [])
    assert step.schema(SCHEMA) == {"text": ColumnType("Number", 2, ("text: cat", "text: dog"))}
    hashed = learnt(BucketFit(("text",), 2), ["cat dog"], [])
    assert hashed.schema(SCHEMA)["text"].names == ("text in bucket 0", "text in bucket 1")


def test_the_spec_says_what_is_counted() -> None:
    def begun(**fields: object) -> object:
        spec = BagOfWordsSpec.model_validate({"columns": ["te*"], **fields})
        return BagOfWordsStep(spec, "y").begin(SCHEMA)

    assert begun(top=3) == TermFit(("text",), 3, False)
    assert begun(top=3, weights="TfIdf") == TermFit(("text",), 3, True)
    assert begun(buckets=3, weights="TfIdf") == BucketFit(("text",), 3)


@pytest.mark.parametrize("step", [TermFit(("text",), 3, False), BucketFit(("text",), 3)])
def test_without_training_rows_nothing_is_learnt(step: Fit) -> None:
    with pytest.raises(StepProblem, match="no training row"):
        step.next(None)


def test_a_column_without_words_is_named() -> None:
    with pytest.raises(StepProblem, match="no words in column text"):
        learnt(TermFit(("text",), 3, False), ["a !", None], [])
