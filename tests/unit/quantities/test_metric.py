"""Which metrics are better when, and how they are written."""

import math

import pytest

from sapflow.quantities.metric import METRICS, in_words, metric


@pytest.mark.parametrize(
    ("name", "value", "best", "by", "better"),
    [
        ("accuracy", 0.9, 0.8, 0.0, True),
        ("accuracy", 0.8, 0.8, 0.0, False),
        ("accuracy", 0.85, 0.8, 0.1, False),
        ("loss", 0.7, 0.8, 0.0, True),
        ("loss", 0.8, 0.8, 0.0, False),
        ("loss", 0.75, 0.8, 0.1, False),
        ("mae", 0.5, None, 0.1, True),
        ("mae", math.nan, None, 0.0, False),
        ("r2", -math.inf, None, 0.0, False),
        ("loss", math.nan, 0.8, 0.0, False),
    ],
)
def test_a_metric_knows_which_way_it_is_better(
    name: str, value: float, best: float | None, by: float, better: bool
) -> None:
    assert metric(name).improves(value, best, by) is better


def test_a_target_is_met_from_the_side_that_is_better() -> None:
    assert METRICS["auc"].meets(0.9, 0.9)
    assert not METRICS["auc"].meets(0.89, 0.9)
    assert METRICS["rmse"].meets(3.0, 3.5)
    assert not METRICS["rmse"].meets(3.6, 3.5)
    assert not METRICS["loss"].meets(-math.inf, 1.0)
    assert not METRICS["loss"].meets(math.nan, 1.0)


def test_metrics_are_written_in_their_order_with_the_loss_last() -> None:
    found = in_words({"loss": 0.25, "later": 3.0, "macroF1": 0.5, "accuracy": 0.75})
    assert found == "accuracy 75.00 %, macro F1 50.00 %, loss 0.2500, later 3.0000"
    assert in_words({"mae": 12345678.9, "r2": -0.5}) == "R² -0.5000, MAE 1.23457e+07"
