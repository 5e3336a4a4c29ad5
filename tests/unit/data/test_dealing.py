"""Which samples each rank takes in each step, also after the number of workers has changed."""

from hypothesis import given
from hypothesis import strategies as st

from sapflow.data.dealing import Deal, Share, steps_per_epoch, window_of


def as_before(samples: int, per_rank: int, workers: int) -> list[list[int]]:
    """The number of samples of each rank in each step by the rule of releases up to 0.5, written down from them: a step
    takes the next `workers · per_rank` samples of one common order, divided as evenly as possible."""
    found = []
    for begin in range(0, samples, workers * per_rank):
        count = min(begin + workers * per_rank, samples) - begin
        found.append([(r + 1) * count // workers - r * count // workers for r in range(workers)])
    return found


@given(samples=st.integers(1, 3000), per_rank=st.integers(1, 60), workers=st.integers(1, 60))
def test_ranks_have_as_many_samples_in_each_step_as_they_had_before_ranges(
    samples: int, per_rank: int, workers: int
) -> None:
    deal = Deal(samples, per_rank, workers)
    counts = [[deal.count(rank, step) for rank in range(workers)] for step in range(deal.steps)]
    assert counts == as_before(samples, per_rank, workers)
    used = [0]
    for each in counts:
        used.append(used[-1] + sum(each))
    assert used == [deal.used_after(step) for step in range(deal.steps + 1)]
    assert all(deal.step_at(each) == step for step, each in enumerate(used[:-1]))


@given(samples=st.integers(1, 3000), per_rank=st.integers(1, 60), workers=st.integers(1, 60))
def test_a_share_is_where_the_rank_owns_samples_and_the_last_differ_by_at_most_one(
    samples: int, per_rank: int, workers: int
) -> None:
    deal = Deal(samples, per_rank, workers)
    for rank in range(workers):
        first, stop = rank * samples // workers, (rank + 1) * samples // workers
        shares = [share for step in range(deal.steps) for share in deal.shares(rank, step)]
        assert all(
            (share.first, share.stop, share.window) == (first, stop, window_of(workers)) for share in shares
        )
        assert [place for share in shares for place in range(share.begin, share.end)] == list(
            range(stop - first)
        )
    last = [deal.count(rank, deal.steps - 1) for rank in range(workers)]
    assert max(last) - min(last) <= 1
    assert max(last) <= per_rank


Redeals = st.lists(st.tuples(st.integers(1, 12), st.integers(0, 6)), max_size=4)


@given(samples=st.integers(1, 900), per_rank=st.integers(1, 20), redeals=Redeals, workers=st.integers(1, 12))
def test_every_sample_is_used_once_however_often_the_workers_change(
    samples: int, per_rank: int, redeals: list[tuple[int, int]], workers: int
) -> None:
    earlier: list[tuple[int, int]] = []
    used: list[tuple[int, int]] = []

    def take(shares: list[Share]) -> None:
        used.extend((share.first, place) for share in shares for place in range(share.begin, share.end))

    for count, steps in redeals:
        deal = Deal(samples, per_rank, count, earlier)
        assert len(used) == deal.used
        taken = min(steps, deal.steps - 1)
        if taken < 1:
            continue
        for step in range(taken):
            for rank in range(count):
                take(deal.shares(rank, step))
        assert len(used) == deal.used_after(taken)
        earlier.append((count, taken))
    deal = Deal(samples, per_rank, workers, earlier)
    assert deal.step_at(len(used)) == 0
    for step in range(deal.steps):
        counts = [deal.count(rank, step) for rank in range(workers)]
        assert max(counts) <= per_rank
        assert step + 1 < deal.steps or max(counts) - min(counts) <= 1
        for rank in range(workers):
            take(deal.shares(rank, step))
    assert len(used) == samples
    assert len(set(used)) == samples
    assert deal.used_after(deal.steps) == samples


def test_unused_tails_are_joined_in_the_order_of_the_ranks_and_keep_their_order() -> None:
    deal = Deal(100, 10, 4, [(2, 2)])
    assert deal.samples == 60
    assert deal.shares(0, 0) == [Share(0, 50, 2, 20, 30)]
    assert deal.shares(1, 1) == [Share(0, 50, 2, 45, 50)]
    assert deal.shares(2, 0) == [Share(50, 100, 2, 20, 30)]
    crossing = Deal(100, 20, 3, [(2, 2)])
    assert crossing.samples == 20
    assert crossing.shares(1, 0) == [Share(0, 50, 2, 46, 50), Share(50, 100, 2, 90 - 50, 93 - 50)]


def test_with_drop_last_an_epoch_has_full_steps_only() -> None:
    deal = Deal(100, 8, 4, drop_last=True)
    assert deal.steps == steps_per_epoch(100, 32, drop_last=True) == 3
    assert {deal.count(rank, step) for rank in range(4) for step in range(3)} == {8}
    assert Deal(31, 8, 4, drop_last=True).steps == 0


def test_more_workers_than_samples_leave_ranks_without_any() -> None:
    deal = Deal(3, 5, 7)
    assert deal.steps == 1
    assert [deal.count(rank, 0) for rank in range(7)] == [0, 0, 1, 0, 1, 0, 1]
    assert deal.shares(0, 0) == []


def test_windows_are_four_pieces_of_all_ranks_together() -> None:
    assert [window_of(workers) for workers in (1, 2, 3, 4, 5, 100)] == [4, 2, 1, 1, 1, 1]
