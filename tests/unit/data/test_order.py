"""The order in which ranks take the samples of their range."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sapflow.data.dealing import Deal, Share
from sapflow.data.order import Orders
from sapflow.data.shuffle import permutation

Sample = tuple[int, int]


def samples(orders: Orders, epoch: int, *shares: Share) -> list[Sample]:
    """(block, row) of each sample of some shares, in their order."""
    where = orders.locate(epoch, shares)
    found = [(rows.piece.block, rows.piece.first + int(row)) for rows in where.rows for row in rows.numbers]
    return found if where.order is None else [found[i] for i in where.order]


def everything(counts: list[int], window: int = 4) -> Share:
    return Share(0, sum(counts), window, 0, sum(counts))


@given(count=st.integers(0, 3000), seed=st.integers(0, 2**63 - 1), more=st.integers(0, 100))
def test_a_permutation_has_every_number_once(count: int, seed: int, more: int) -> None:
    np.testing.assert_array_equal(np.sort(permutation(count, seed, more)), np.arange(count))


def test_orders_are_pinned() -> None:
    """Written down once: another machine or numpy must give the same, or resumed jobs would change their data."""
    assert permutation(10, 1, 2, 3).tolist() == [1, 8, 2, 4, 6, 5, 0, 9, 7, 3]
    assert samples(Orders([3, 2, 4], 7), 1, everything([3, 2, 4], window=2)) == PINNED_WHOLE
    assert samples(Orders([3, 2, 4], 7), 1, Share(2, 7, 1, 0, 5)) == PINNED_PART


PINNED_WHOLE = [(0, 1), (0, 2), (1, 1), (0, 0), (1, 0), (2, 0), (2, 3), (2, 2), (2, 1)]
PINNED_PART = [(0, 0), (0, 2), (0, 1), (2, 0), (2, 1)]


def test_permutations_are_even() -> None:
    first = np.bincount([int(permutation(5, seed)[0]) for seed in range(5000)], minlength=5)
    assert first.min() > 880
    assert first.max() < 1120


@given(
    counts=st.lists(st.integers(1, 60), min_size=1, max_size=12),
    workers=st.integers(1, 9),
    batch=st.integers(1, 40),
    seed=st.integers(0, 2**63 - 1),
    epoch=st.integers(0, 1000),
    fixed=st.booleans(),
)
def test_every_sample_is_used_exactly_once_an_epoch(
    counts: list[int], workers: int, batch: int, seed: int, epoch: int, fixed: bool
) -> None:
    orders, deal = Orders(counts, seed, fixed=fixed), Deal(sum(counts), batch, workers)
    used: list[Sample] = []
    for step in range(deal.steps):
        for rank in range(workers):
            if shares := deal.shares(rank, step):
                found = samples(orders, epoch, *shares)
                assert len(found) <= batch
                used += found
    assert sorted(used) == [(block, row) for block, count in enumerate(counts) for row in range(count)]


@given(
    counts=st.lists(st.integers(1, 30), min_size=1, max_size=9),
    cuts=st.lists(st.integers(0, 270), max_size=6),
    window=st.integers(1, 4),
)
def test_the_order_does_not_depend_on_how_it_is_cut(counts: list[int], cuts: list[int], window: int) -> None:
    total = sum(counts)
    bounds = [0, *sorted(cut for cut in cuts if cut <= total), total]
    whole = samples(Orders(counts, 5), 6, everything(counts, window))
    orders = Orders(counts, 5)
    pieces = [Share(0, total, window, begin, end) for begin, end in pairwise(bounds)]
    parts = {share.begin: samples(orders, 6, share) for share in reversed(pieces) if share.samples}
    assert [sample for begin in sorted(parts) for sample in parts[begin]] == whole
    assert samples(Orders(counts, 5), 6, *pieces) == whole


def test_epochs_and_seeds_differ() -> None:
    orders = [
        samples(Orders([50, 50], seed), epoch, everything([50, 50]))
        for seed, epoch in ((0, 0), (0, 1), (1, 0), (1, 1))
    ]
    assert all(one != two for i, one in enumerate(orders) for two in orders[:i])


def test_a_fixed_partition_has_the_same_samples_in_each_epoch_in_another_order() -> None:
    counts = [25] * 12
    shares = Deal(300, 150, 2).shares(1, 0)
    fixed, shuffled = Orders(counts, 0, fixed=True), Orders(counts, 0)
    first, second = samples(fixed, 0, *shares), samples(fixed, 1, *shares)
    assert first == samples(shuffled, 0, *shares)
    assert first != second
    assert sorted(first) == sorted(second)
    assert sorted(first) != sorted(samples(shuffled, 1, *shares))


def test_a_range_touches_no_block_but_its_own_and_a_step_few_of_them() -> None:
    orders, deal = Orders([100] * 40, 3), Deal(4000, 100, 2)
    touched = [
        [{rows.piece.block for rows in orders.locate(0, deal.shares(rank, step)).rows} for step in range(20)]
        for rank in range(2)
    ]
    assert all(len(blocks) <= 2 for steps in touched for blocks in steps)
    assert [len(set.union(*steps)) for steps in touched] == [20, 20]


def test_samples_of_a_window_are_mixed() -> None:
    orders = Orders([500] * 4, 3)
    found = np.array([block for block, _ in samples(orders, 0, Share(0, 2000, 4, 0, 200))])
    assert np.bincount(found, minlength=4).min() > 25


def test_the_pieces_of_a_share_are_those_of_its_windows() -> None:
    orders = Orders([10, 10, 10, 10, 10], 1)
    share = Share(5, 45, 2, 0, 3)
    pieces = orders.pieces(0, [share])
    assert sum(piece.stop - piece.first for piece in pieces) == 15
    assert {rows.piece for rows in orders.locate(0, [share]).rows} <= set(pieces)
    across = Share(5, 45, 2, 14, 16)
    assert sum(piece.stop - piece.first for piece in orders.pieces(0, [across])) == 35
    assert orders.pieces(0, [Share(5, 45, 2, 3, 3)]) == []


def test_past_the_end_is_an_error() -> None:
    with pytest.raises(IndexError, match="range of 3"):
        Orders([3], 0).locate(0, [Share(0, 3, 1, 2, 4)])
    with pytest.raises(IndexError, match="epoch of 3"):
        Orders([3], 0).pieces(0, [Share(0, 4, 1, 0, 1)])


def test_an_empty_share_has_nothing() -> None:
    assert samples(Orders([3], 0), 0, Share(0, 3, 1, 2, 2)) == []
    assert samples(Orders([3], 0), 0) == []
