import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sapflow.quantities import structure
from sapflow.quantities.structure import (
    MAX_LENGTH,
    Structure,
    active_groups,
    children,
    closed_form,
    draw,
    fan_ins,
    latency,
    levels,
    parent,
    shard_ranges,
    validate,
    width,
)


@st.composite
def structures(draw_from: st.DrawFn, most: int = 200) -> Structure:
    widths = draw_from(st.lists(st.integers(1, most), min_size=1, max_size=MAX_LENGTH - 1))
    return (1, *sorted(widths))


def eq_1(widths: Structure) -> int:
    return sum(-(-below // above) for above, below in itertools.pairwise(widths))


@given(structures())
def test_what_the_generator_makes_is_valid(tree: Structure) -> None:
    assert validate(tree, tree[-1]) == []


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ([2, 8], "must start at 1"),
        ([1, 4], "number of workers, 8"),
        ([1, 5, 3, 8], "5 mergers above 3"),
        ([1, 0, 8], "below 1"),
        ([8], "levels"),
        ([], "levels"),
        ([1, 1, 1, 1, 1, 1, 1, 1, 8], "levels"),
    ],
)
def test_structures_that_cannot_be_are_told_why(wrong: list[int], words: str) -> None:
    assert any(words in problem for problem in validate(wrong, 8))


def test_all_that_is_wrong_is_told_at_once() -> None:
    assert len(validate([2, 9, 4], 8)) == 3


@given(structures())
def test_groups_are_contiguous_even_and_cover_the_level_below(tree: Structure) -> None:
    for level in range(1, levels(tree) + 1):
        below, here = width(tree, level - 1), width(tree, level)
        groups = [children(tree, level, index) for index in range(here)]
        assert list(itertools.chain.from_iterable(groups)) == list(range(below))
        sizes = {len(group) for group in groups}
        assert min(sizes) >= 1
        assert max(sizes) == -(-below // here) == fan_ins(tree)[level - 1]
        assert max(sizes) - min(sizes) <= 1


@given(structures())
def test_parent_is_the_inverse_of_children(tree: Structure) -> None:
    for level in range(1, levels(tree) + 1):
        for index in range(width(tree, level)):
            for child in children(tree, level, index):
                assert parent(tree, level - 1, child) == index


@given(structures(most=60), st.data())
def test_active_groups_hold_exactly_the_present_children(tree: Structure, data: st.DataObject) -> None:
    present = data.draw(st.lists(st.integers(0, tree[-1] - 1), unique=True))
    groups = active_groups(tree, present)
    below = set(present)
    for level in range(1, levels(tree) + 1):
        for index, found in groups[level].items():
            assert found == [child for child in children(tree, level, index) if child in below]
            assert found
        assert set(itertools.chain.from_iterable(groups[level].values())) == below
        below = set(groups[level])
    assert below == ({0} if present else set())


def test_a_merger_without_present_children_does_not_run() -> None:
    assert active_groups((1, 3, 9), [0, 1, 8]) == {1: {0: [0, 1], 2: [8]}, 2: {0: [0, 2]}}


def test_ranks_that_the_structure_does_not_have_are_refused() -> None:
    with pytest.raises(ValueError, match="0 to 7"):
        active_groups((1, 2, 8), [0, 8])


@given(st.integers(1, 10**7), st.integers(1, 64), st.sampled_from([1, 1024, 4096]))
def test_shards_cover_the_vector_cut_on_blocks_and_even_to_one(total: int, shards: int, block: int) -> None:
    blocks = -(-total // block)
    if shards > blocks:
        with pytest.raises(ValueError, match=f"1 to {blocks:,} shards"):
            shard_ranges(total, shards, block)
        return
    ranges = shard_ranges(total, shards, block)
    assert [start for start, _ in ranges] == [0, *(stop for _, stop in ranges[:-1])]
    assert ranges[-1][1] == total
    assert all(start % block == 0 for start, _ in ranges)
    counts = {-(-(stop - start) // block) for start, stop in ranges}
    assert min(counts) >= 1
    assert max(counts) - min(counts) <= 1


def test_latency_is_equation_1_with_real_fan_ins() -> None:
    assert latency((1, 5, 22, 100)) == 5 + 5 + 5
    assert latency((1, 100), merge_seconds=0.15) == pytest.approx(15.0)
    assert latency((1, 3, 8)) == 3 + 3


@pytest.mark.parametrize(
    ("workers", "least"), [(1, 1), (2, 2), (8, 6), (20, 9), (64, 12), (100, 14), (1000, 30)]
)
def test_the_closed_form_reaches_the_least_latency(workers: int, least: int) -> None:
    built = closed_form(workers)
    assert validate(built, workers) == []
    assert latency(built) == least


def test_the_closed_form_is_at_least_as_good_as_the_paper_s_own_rounding() -> None:
    assert latency(closed_form(100)) <= latency((1, 5, 22, 100))
    assert latency(closed_form(100, max_levels=1)) <= latency((1, 10, 100))
    assert closed_form(100, max_levels=0) == (1, 100)


@given(st.integers(1, 70))
def test_no_structure_of_at_most_two_levels_beats_the_closed_form(workers: int) -> None:
    widths = range(1, workers + 1)
    others = [
        (1, workers),
        *((1, one, workers) for one in widths),
        *((1, two, one, workers) for one in widths for two in range(1, one + 1)),
    ]
    assert latency(closed_form(workers)) == min(map(eq_1, others))


def test_of_equal_latencies_the_one_with_fewer_levels_and_mergers_wins() -> None:
    assert closed_form(3) == (1, 3)
    assert closed_form(4) == (1, 4)
    assert closed_form(8) == (1, 3, 8)
    assert closed_form(20) == (1, 4, 20)


@given(st.integers(1, 5000), st.integers(0, 4))
def test_the_closed_form_is_valid_for_any_number_of_workers(workers: int, most: int) -> None:
    built = closed_form(workers, most)
    assert validate(built, workers) == []
    assert levels(built) <= most + 1


def test_a_structure_without_workers_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 worker"):
        closed_form(0)


def test_a_drawing_shows_equal_siblings_once() -> None:
    assert draw((1, 2, 8)) == "root\n└─ 2 mergers, each of\n   └─ 4 workers"
    assert draw((1, 1)) == "root\n└─ 1 worker"
    assert draw((1, 3, 8)).splitlines() == [
        "root",
        "├─ 2 mergers, each of",
        "│  └─ 3 workers",
        "└─ 1 merger of",
        "   └─ 2 workers",
    ]


@given(structures(most=1000))
def test_a_drawing_names_every_worker(tree: Structure) -> None:
    below: list[structure.Shape] = [()] * tree[-1]
    assert len(below) == workers_drawn(draw(tree))


def workers_drawn(drawing: str) -> int:
    """Multiply the counts along each path of a drawing and add up the workers."""
    total, path = 0, [1]
    for line in drawing.splitlines()[1:]:
        depth = (len(line) - len(line.lstrip("│├└─ "))) // 3
        count = int(line.lstrip("│├└─ ").split()[0])
        path = [*path[:depth], path[depth - 1] * count]
        if "worker" in line:
            total += path[-1]
    return total
