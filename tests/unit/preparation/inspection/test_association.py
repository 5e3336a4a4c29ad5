"""How far one column determines another."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sapflow.preparation.inspection.association import determination
from sapflow.preparation.inspection.findings import LEAK


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(20, 500), st.integers(2, 6), st.booleans())
def test_independent_columns_give_no_alarm(seed: int, rows: int, classes: int, words: bool) -> None:
    random = np.random.default_rng(seed)
    feature = random.integers(0, 40, rows).astype(float) if words else random.normal(size=rows)
    target = random.integers(0, classes, rows).astype(float)
    assert determination(feature, target, words=words, classes=True) < LEAK


@pytest.mark.parametrize("rows", [40, 400, 4000])
def test_an_exact_mapping_determines_all(rows: int) -> None:
    feature = np.random.default_rng(1).integers(0, 6, rows).astype(float)
    assert determination(feature, feature // 2, words=True, classes=True) == pytest.approx(1.0)


def test_it_is_the_mutual_information_of_the_plain_formula() -> None:
    random = np.random.default_rng(2)
    feature = random.integers(0, 4, 100_000).astype(float)
    target = np.where(random.random(100_000) < 0.5, feature % 2, random.integers(0, 2, 100_000))
    joint = np.histogram2d(feature, target, (4, 2))[0] / 100_000
    outer = np.outer(joint.sum(1), joint.sum(0))
    information = (joint * np.log(joint / outer)).sum()
    entropy = -(joint.sum(0) * np.log(joint.sum(0))).sum()
    found = determination(feature, target, words=True, classes=True)
    assert found == pytest.approx(information / entropy, abs=1e-4)


def test_values_that_are_all_different_tell_nothing() -> None:
    target = np.random.default_rng(3).integers(0, 2, 300).astype(float)
    assert determination(np.arange(300.0), target, words=True, classes=True) == 0.0
