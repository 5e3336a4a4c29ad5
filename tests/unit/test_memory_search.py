"""The search for a memory size: eqs. 5 to 9, with an α that needs no units."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sapflow.memory_search import Goal, Sizes, Trial, best, first, following

LEAST, MOST, UPDATES = 256, 1536, 8
goals = st.sampled_from(["Cost", "PerformancePerCost"])


def trial(size: int, seconds: float) -> Trial:
    return Trial(size, seconds, 1.63e-8 * size * seconds)


def search(law: dict[str, float], goal: Goal, sizes: Sizes, seed: int) -> list[Trial]:
    """All trials of one search. A step takes a fixed time, and one that memory shortens, up to what is enough."""

    def at(size: int) -> Trial:
        return trial(size, law["fixed"] + law["work"] / min(size, law["enough"]))

    trials = [at(size) for size in first(sizes, random.Random(seed))]
    while 2 <= len(trials) < 2 + UPDATES and (size := following(trials, sizes, goal)) is not None:
        trials.append(at(size))
    return trials


def test_two_equal_costs_leave_the_size_where_it_is_and_so_the_gap_beside_it_is_cut() -> None:
    trials = [trial(512, 2.0), trial(1024, 1.0)]
    assert following(trials, Sizes(LEAST, MOST), "Cost") == 512 + round(0.45 * 512)


def test_where_memory_buys_no_time_the_least_size_is_next() -> None:
    trials = [trial(1024, 1.0), trial(800, 1.0)]
    assert following(trials, Sizes(LEAST, MOST), "Cost") == LEAST
    assert following(trials, Sizes(LEAST, MOST), "PerformancePerCost") == LEAST


def test_where_memory_buys_as_much_time_performance_per_cost_climbs_by_eq_9() -> None:
    trials = [trial(512, 2.0), trial(640, 1.6)]
    # 1/R falls as 1/z there: from 640, by 640² × (1/512 − 1/640) / 128 × 640.
    climb = 640**2 * (1 / 512 - 1 / 640) / 128 * 640
    assert following(trials, Sizes(LEAST, 4096), "PerformancePerCost") == round(640 + climb)


def test_a_size_that_was_killed_and_all_below_it_are_never_tried_again() -> None:
    sizes = Sizes(LEAST, MOST, step=64, killed=(300, 500))
    assert sizes.low == 512
    assert sizes.nearest(0) == 512


def test_no_size_left_is_an_error_that_says_so() -> None:
    with pytest.raises(ValueError, match="no size from 256 to 512 MiB by 1 is left, killed: \\[512\\]"):
        Sizes(256, 512, killed=(512,))


@given(st.integers(0, 10_000), st.integers(1, 4_000), st.integers(1, 4_000), st.sampled_from([1, 64]))
def test_the_first_sizes_may_be_taken_and_differ(seed: int, one: int, other: int, step: int) -> None:
    low, high = min(one, other) * step, max(one, other) * step
    sizes = Sizes(low, high, step)
    found = first(sizes, random.Random(seed))
    assert len(found) == len(set(found)) == (1 if low == high else 2)
    assert all(low <= size <= high and size % step == 0 for size in found)


def check(law: dict[str, float], goal: Goal, sizes: Sizes, seed: int, within: float) -> None:
    trials = search(law, goal, sizes, seed)
    tried = [each.size for each in trials]
    assert len(set(tried)) == len(tried) <= 2 + UPDATES
    assert all(sizes.low <= size <= sizes.high and size % sizes.step == 0 for size in tried)
    sweep = [
        trial(size, law["fixed"] + law["work"] / min(size, law["enough"]))
        for size in range(sizes.low, sizes.high + 1, sizes.step)
    ]
    assert best(trials, goal).loss(goal) <= within * best(sweep, goal).loss(goal)


fixed, work = st.floats(0.01, 3), st.floats(10, 4_000)
seeds = st.integers(0, 10_000)


@given(fixed=fixed, work=work, goal=goals, step=st.sampled_from([1, 64]), seed=seeds)
def test_eight_updates_end_within_five_percent_of_the_best_where_cpu_follows_memory(
    fixed: float, work: float, goal: Goal, step: int, seed: int
) -> None:
    check({"fixed": fixed, "work": work, "enough": MOST}, goal, Sizes(LEAST, MOST, step), seed, 1.05)


@given(
    law=st.fixed_dictionaries({"fixed": fixed, "work": work, "enough": st.floats(300, 4_000)}),
    goal=goals,
    killed=st.lists(st.integers(1, 700), max_size=3),
    seed=seeds,
)
def test_sizes_killed_and_time_that_stops_falling_cost_it_little(
    law: dict[str, float], goal: Goal, killed: list[int], seed: int
) -> None:
    check(law, goal, Sizes(LEAST, MOST, 1, killed), seed, 1.1)
