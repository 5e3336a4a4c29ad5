"""Which version is the result: judged in order, ties to the earlier, whatever order evaluations end in."""

import math
from typing import Any

import pytest
from helpers.jobs import tiny_job
from hypothesis import given
from hypothesis import strategies as st

from sapflow.driver.judgement import Choice, Judgement


def judged(values: list[dict[str, float]], **changes: Any) -> Judgement:
    """Versions 1, 2, … of a job with these fields, judged one after the other."""
    judgement = Judgement(tiny_job(**changes).spec)
    for version, each in enumerate(values, start=1):
        judgement.judge(version, each)
    return judgement


def accuracies(*values: float) -> list[dict[str, float]]:
    return [{"accuracy": value} for value in values]


def losses(*values: float) -> list[dict[str, float]]:
    return [{"loss": value} for value in values]


def stopping(patience: int, **more: Any) -> dict[str, Any]:
    return {"algorithm_earlyStopping": {"patience": patience, **more}}


def test_without_a_wish_the_last_version_is_the_result() -> None:
    judgement = judged(accuracies(0.9, 0.1))
    assert not judgement.decided
    assert judgement.candidates == set()
    assert judgement.choice(7) == Choice(7, "LastStep")


@pytest.mark.parametrize(
    "changes",
    [{"algorithm_targetAccuracy": 0.8}, {"algorithm_target": {"metric": "accuracy", "value": 0.8}}],
)
def test_the_first_version_that_meets_the_target_is_the_result(changes: dict[str, Any]) -> None:
    judgement = judged(accuracies(0.7, math.nan, 0.8, 0.9), **changes)
    assert judgement.decided
    assert judgement.candidates == {3}
    assert judgement.choice(9) == Choice(3, "Target")


def test_a_target_of_a_metric_that_is_better_lower_is_met_from_above() -> None:
    judgement = judged(losses(2.0, 1.0, 0.5), algorithm_target={"metric": "loss", "value": 1.0})
    assert judgement.choice(9) == Choice(2, "Target")


def test_of_equally_good_versions_the_earlier_is_the_best() -> None:
    judgement = judged(accuracies(0.5, 0.8, 0.8, 0.7), evaluation_keepBest="accuracy")
    assert not judgement.decided
    assert judgement.candidates == {2}
    assert judgement.choice(9) == Choice(2, "Best")


def test_values_that_are_not_finite_are_never_the_best() -> None:
    judgement = judged(losses(math.nan, 0.5, -math.inf, 0.6), evaluation_keepBest="loss")
    assert judgement.choice(9) == Choice(2, "Best")
    assert judged(losses(math.nan), evaluation_keepBest="loss").choice(9) == Choice(9, "LastStep")


def test_a_reached_target_comes_before_a_better_version() -> None:
    changes = {"algorithm_target": {"metric": "loss", "value": 0.5}, "evaluation_keepBest": "accuracy"}
    values = [{"accuracy": 0.9, "loss": 0.6}, {"accuracy": 0.8, "loss": 0.4}]
    assert judged(values, **changes).choice(9) == Choice(2, "Target")


def test_early_stopping_ends_at_the_version_that_used_up_the_patience() -> None:
    judgement = judged(losses(1.0, 0.8, 0.9, 0.8, 0.1), **stopping(2))
    assert judgement.stopped == 4
    assert judgement.candidates == {4}
    assert judgement.choice(9) == Choice(4, "EarlyStopping")


def test_the_best_up_to_the_stop_is_the_result_never_a_later_one() -> None:
    judgement = judged(losses(1.0, 0.8, 0.9, 0.8, 0.1), evaluation_keepBest="loss", **stopping(2))
    assert judgement.stopped == 4
    assert judgement.choice(9) == Choice(2, "Best")


def test_what_betters_by_too_little_uses_up_patience() -> None:
    assert judged(losses(1.0, 0.95, 0.91), **stopping(2, minDelta=0.1)).stopped == 3
    assert judged(losses(1.0, 0.95, 0.89), **stopping(2, minDelta=0.1)).stopped is None


def test_a_loss_that_is_not_finite_uses_up_patience() -> None:
    assert judged(losses(1.0, math.nan, math.nan), **stopping(2)).stopped == 3
    assert judged(losses(math.nan, math.nan), **stopping(2)).stopped == 2


def test_a_stop_without_any_best_version_gives_the_version_that_stopped() -> None:
    judgement = judged(losses(math.nan, math.nan), evaluation_keepBest="loss", **stopping(2))
    assert judgement.choice(9) == Choice(2, "EarlyStopping")


FIGURES = st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, math.nan, math.inf]), min_size=1, max_size=12)


@given(
    values=FIGURES,
    target=st.sampled_from([None, 0.75, 1.0]),
    best=st.booleans(),
    patience=st.sampled_from([None, 1, 2, 3]),
)
def test_the_result_is_what_the_whole_list_says(
    values: list[float], target: float | None, best: bool, patience: int | None
) -> None:
    changes: dict[str, Any] = {} if target is None else {"algorithm_targetAccuracy": target}
    if best:
        changes["evaluation_keepBest"] = "accuracy"
    if patience is not None:
        changes |= stopping(patience, metric="accuracy")
    choice = judged(accuracies(*values), **changes).choice(99)
    # The same said over the whole list at once.
    finite = [value if math.isfinite(value) else -1.0 for value in values]
    records = [i for i, value in enumerate(finite) if value > max([-0.5, *finite[:i]])]
    stop = len(values)
    if patience is not None:
        for index in range(len(values)):
            since = max((record for record in records if record <= index), default=-1)
            if index - since >= patience:
                stop = index
                break
    reached = [i for i, value in enumerate(finite[: stop + 1]) if target is not None and value >= target]
    if reached:
        assert choice == Choice(reached[0] + 1, "Target")
    elif best and any(record <= stop for record in records):
        assert choice == Choice([record for record in records if record <= stop][-1] + 1, "Best")
    elif stop < len(values):
        assert choice == Choice(stop + 1, "EarlyStopping")
    else:
        assert choice == Choice(99, "LastStep")
