"""Which object holds each rank's newest state, as commits name it."""

from hypothesis import given
from hypothesis import strategies as st

from sapflow.objects import keys
from sapflow.records import rank_states
from sapflow.records.rank_states import RankStates

PREFIX = keys.job("u")


def test_a_step_of_all_ranks_is_one_entry_however_many_they_are() -> None:
    found = rank_states.after(None, 3, "abc", range(10_000))
    assert found == [RankStates(version=3, id="abc", ranks=[(0, 10_000)])]
    assert rank_states.after(found, 4, "def", range(10_000)) == [
        RankStates(version=4, id="def", ranks=[(0, 10_000)])
    ]


def test_a_rank_without_samples_keeps_the_state_that_it_had() -> None:
    first = rank_states.after(None, 1, "a", [0, 1, 2, 3])
    second = rank_states.after(first, 2, "b", [0, 2])
    assert [rank_states.find(second, PREFIX, rank) for rank in range(5)] == [
        "jobs/u/state/2-b/0",
        "jobs/u/state/1-a/1",
        "jobs/u/state/2-b/2",
        "jobs/u/state/1-a/3",
        None,
    ]


@given(st.lists(st.sets(st.integers(0, 12), min_size=1), min_size=1, max_size=8))
def test_every_ranks_newest_state_is_named_once_and_no_other(steps: list[set[int]]) -> None:
    states: list[RankStates] | None = None
    newest: dict[int, str] = {}
    for version, ranks in enumerate(steps, 1):
        states = rank_states.after(states, version, f"id{version}", ranks)
        newest |= {rank: keys.rank_state(PREFIX, version, f"id{version}", rank) for rank in ranks}
    assert {rank: rank_states.find(states, PREFIX, rank) for rank in newest} == newest
    assert sorted(rank_states.all_keys(states, PREFIX)) == sorted(newest.values())
