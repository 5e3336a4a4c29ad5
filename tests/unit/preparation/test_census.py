"""What is counted of samples does not follow from how they are spread over batches."""

import numpy as np
import pytest

from sapflow.preparation.census import Census, counted, group_of, merged
from sapflow.preparation.samples import Made
from sapflow.preparation.step import BadRows


def samples(targets: np.ndarray, held: np.ndarray | None = None, bad: int = 0) -> Made:
    count = len(targets)
    refused = (BadRows(range(bad), "a", "odd", ["?"] * bad),) if bad else ()
    nobody = np.zeros(count, bool) if held is None else held
    return Made(np.zeros((count, 2), np.float32), targets, np.arange(count), nobody, refused)


def test_counts_of_partitions_keep_their_order_and_bad_rows_add_up() -> None:
    one = counted(
        samples(np.array([0.0, 1, 1]), np.array([True, False, False]), bad=2), 0, None, [{"row": 1}]
    )
    other = counted(samples(np.array([2.0]), bad=1), 1, None, [{"row": 2}])
    total = Census.of_record(merged([one, other]).record())
    assert (total.train, total.held, total.bad) == ((2, 1), (1, 0), 3)
    assert total.examples == ({"row": 1}, {"row": 2})
    assert total.values.distinct.tolist() == [1, 2]
    assert total.values.rows.tolist() == [2, 1]
    assert total.values.bounds.tolist() == [0, 2]


def test_moments_are_numpys_over_all_training_samples() -> None:
    targets = np.random.default_rng(0).normal(1e6, 3, 1000)
    found = [counted(samples(targets[at : at + 70]), 0, None, []) for at in range(0, 1000, 70)]
    values = merged(found).values
    assert values.count == 1000
    assert values.mean[0] == pytest.approx(targets.mean(), rel=1e-12)
    assert values.deviation()[0] == pytest.approx(targets.std(), rel=1e-9)


def test_a_batch_more_adds_to_the_same_partition() -> None:
    first = counted(samples(np.array([0.0, 1])), 0, None, [])
    assert counted(samples(np.array([1.0])), 0, first, []).train == (3,)


def test_labels_are_counted_in_groups_of_partitions_whose_number_is_bounded() -> None:
    assert {group_of(number, 5) for number in range(5)} == set(range(5))
    assert max(group_of(number, 100_000) for number in range(100_000)) < 1024
    one, other = (
        counted(samples(np.array(each)), number, None, []) for number, each in enumerate([[0.0, 0], [3.0]])
    )
    assert merged([one, other]).label_counts() == ((2, 0), (0, 1))


def test_targets_that_are_no_labels_are_not_counted_as_such() -> None:
    assert counted(samples(np.array([0.5, 1])), 0, None, []).label_counts() == ()
