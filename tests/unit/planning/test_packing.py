"""Placement: subtrees in cells, the heaviest edges inside, and what then passes through the store."""

import itertools
from typing import Any

import pytest
from helpers.jobs import document, tiny_job
from hypothesis import given, settings
from hypothesis import strategies as st

from sapflow.errors import SpecError
from sapflow.planning import packing, placement
from sapflow.planning.packing import Cells, Problem, pack
from sapflow.quantities.structure import Structure
from sapflow.spec.document import parse

AFFINITY = [
    {"from": "Worker", "to": "Merger", "weight": 100},
    {"from": "Merger", "to": "Merger", "weight": 40},
    {"from": "Merger", "to": "Root", "weight": 20},
]


def problem(tree: Structure, weights: tuple[int, ...], cells: int, **changes: Any) -> Problem:
    given = {"workers": -(-tree[-1] // cells), **changes}
    return Problem(tree, weights, cells, **given)


@st.composite
def problems(draw: st.DrawFn, widest: int, most_cells: int) -> Problem:
    widths = draw(st.lists(st.integers(1, widest), min_size=1, max_size=3))
    tree = (1, *sorted(widths))
    cells = draw(st.integers(1, most_cells))
    weights = tuple(draw(st.integers(0, 100)) for _ in tree[1:])
    even = -(-tree[-1] // cells)
    workers = draw(st.integers(even, even + 2))
    memory = draw(st.none() | st.integers(3 * workers, 3 * workers + 2 * sum(tree)))
    return Problem(tree, weights, cells, workers, memory, 3, 2)


def every_packing(of: Problem) -> list[Cells]:
    """All that fit: each node anywhere."""
    rows = [itertools.product(range(of.cells), repeat=width) for width in reversed(of.tree)]
    return [cells for cells in itertools.product(*rows) if of.fits(cells)]


def dealt(of: Problem) -> Cells:
    """Round-robin, written out once more."""
    return tuple(tuple(index % of.cells for index in range(width)) for width in reversed(of.tree))


@settings(deadline=None, max_examples=150)
@given(problems(widest=4, most_cells=3).filter(lambda each: each.cells ** sum(each.tree) <= 60_000))
def test_on_small_trees_no_packing_is_better_and_none_is_missed(of: Problem) -> None:
    best = min(map(of.cost, every_packing(of)), default=None)
    found = pack(of)
    assert (None if found is None else of.cost(found)) == best


@settings(deadline=None, max_examples=60)
@given(problems(widest=120, most_cells=9))
def test_a_packing_fits_and_is_never_worse_than_dealing_nodes_in_turn(of: Problem) -> None:
    found, round_robin = pack(of), dealt(of)
    if found is not None:
        assert of.fits(found)
        assert [len(row) for row in found] == list(reversed(of.tree))
    if of.fits(round_robin):
        assert found is not None
        assert of.cost(found) <= of.cost(round_robin)


@settings(deadline=None, max_examples=30)
@given(problems(widest=60, most_cells=6))
def test_the_same_problem_is_packed_alike_and_the_roots_cell_is_the_first(of: Problem) -> None:
    found = pack(of)
    assert found == pack(of)
    if found is not None:
        assert found[-1] == (placement.ROOT_CELL,)
        used = set(itertools.chain(*found))
        assert used == set(range(len(used)))


@pytest.mark.parametrize(("tree", "cells"), [((1, 2, 8), 2), ((1, 4, 64), 4), ((1, 2, 10, 1000), 2)])
def test_where_subtrees_share_out_evenly_only_edges_at_the_top_cross(tree: Structure, cells: int) -> None:
    weights = (100,) + (20,) * (len(tree) - 2)
    found = pack(problem(tree, weights, cells))
    assert found is not None
    crossing = packing.crossings(tree, found)
    assert crossing[:-1] == [0] * (len(crossing) - 1)
    assert crossing[-1] < tree[1]


def test_the_heavier_edges_are_kept_where_both_cannot_be() -> None:
    # Two mergers of four workers in cells that hold four: either the workers' edges stay inside, or all mergers do.
    below = pack(problem((1, 2, 8), (100, 1), 2))
    above = pack(problem((1, 2, 8), (1, 100), 2))
    assert below is not None
    assert above is not None
    assert packing.crossings((1, 2, 8), below) == [0, 1]
    assert packing.crossings((1, 2, 8), above) == [4, 0]


def test_a_tree_of_ten_thousand_workers_is_packed_without_an_edge_of_a_worker_crossing() -> None:
    tree = (1, 50, 10_000)
    found = pack(problem(tree, (100, 50), 50))
    assert found is not None
    assert packing.crossings(tree, found) == [0, 49]


def test_memory_keeps_mergers_out_of_a_cell_that_is_full() -> None:
    # Cells of 10: the root's holds four workers of 2 and one merger of 1 at most beside it.
    tight = problem((1, 2, 8), (100, 50), 2, memory=10, worker_bytes=2, merger_bytes=1)
    found = pack(tight)
    assert found is not None
    assert tight.fits(found)
    assert pack(problem((1, 2, 8), (100, 50), 2, memory=9, worker_bytes=2, merger_bytes=1)) is None


def placed(**changes: Any) -> placement.Placement:
    found = placement.of(tiny_job(affinity=AFFINITY, workers=8, merge_structure=[1, 2, 8], **changes))
    assert found is not None
    return found


def test_a_job_without_affinity_is_not_placed_and_a_local_one_has_one_cell() -> None:
    assert placement.of(tiny_job()) is None
    assert placed().count == 1


def test_each_cell_has_the_instances_that_its_part_of_a_step_can_use() -> None:
    two = placed(placement={"cells": 2}, merge_shards=3)
    assert two.count == 2
    assert two.instances(0) == {"worker": 4, "merger": 3}
    assert two.instances(1) == {"worker": 4, "merger": 3}
    reused = placed(placement={"cells": 2}, merge_reuseWorkers=True)
    assert reused.instances(1) == {"worker": 4, "merger": 0}


def test_the_roots_cell_has_functions_for_what_is_no_part_of_a_step() -> None:
    # Three cells of one worker each, and a root that has no memory for one beside it in the fourth.
    job = tiny_job(
        affinity=AFFINITY,
        workers=3,
        merge_structure=[1, 3],
        memory={"worker": "512Mi", "merger": "256Mi"},
        placement={"cells": 3, "workersPerCell": 3, "memoryPerCell": "1Gi"},
    )
    found = placement.of(job)
    assert found is not None
    assert min(found.instances(placement.ROOT_CELL).values()) == 1


def test_traffic_is_of_crossing_edges_of_the_copies_and_of_what_the_root_writes() -> None:
    two = placed(placement={"cells": 2})
    # One merger of two is away from the root; its contribution crosses, and its cell reads the parameters.
    assert two.traffic(100, 90, 30) == placement.Traffic(read=100 + 90, written=100 + 90 + 30)
    assert placed().traffic(100, 90) == placement.Traffic(read=0, written=90)
    assert placement.traffic_unplaced((1, 2, 8), 5, 100, 90, 30) == placement.Traffic(1450, 1120)


def test_cells_that_are_too_small_are_refused_with_what_is_needed() -> None:
    with pytest.raises(SpecError) as caught:
        placed(placement={"cells": 2, "memoryPerCell": "2Gi"})
    (field, message) = caught.value.problems[0]
    assert field == "spec.placement"
    assert "4864Mi" in message


@pytest.mark.parametrize(
    ("changes", "field", "said"),
    [
        ({"affinity": [{"from": "Root", "to": "Merger", "weight": 1}]}, "spec.affinity[0].from", "Worker"),
        ({"affinity": [{"from": "Worker", "to": "Root", "weight": 101}]}, "spec.affinity[0].weight", "100"),
        ({"affinity": []}, "spec.affinity", "at least 1"),
        ({"affinity": AFFINITY[:1] * 2}, "spec.affinity", "twice"),
        ({"placement": {"cells": 2}}, "spec.placement", "affinity"),
        ({"affinity": AFFINITY, "placement": {"cells": 5}}, "spec.placement.cells", "at most workers"),
        (
            {"affinity": AFFINITY, "placement": {"cells": 2, "workersPerCell": 1}},
            "spec.placement.workersPerCell",
            "at least workers",
        ),
        (
            {"affinity": AFFINITY, "algorithm_mode": "Async", "merge_structure": [1, 4]},
            "spec.affinity",
            "Sync only",
        ),
        (
            {"affinity": AFFINITY, "placement": {"memoryPerCell": "1G i"}},
            "spec.placement.memoryPerCell",
            "quantity",
        ),
    ],
)
def test_what_cannot_be_placed_is_refused_with_the_field_and_the_remedy(
    changes: dict[str, Any], field: str, said: str
) -> None:
    with pytest.raises(SpecError) as caught:
        parse(document(**changes))
    assert [message for path, message in caught.value.problems if path == field and said in message]


def test_an_unknown_field_of_an_affinity_is_answered_with_those_that_there_are() -> None:
    with pytest.raises(SpecError) as caught:
        parse(document(affinity=[{"from": "Worker", "to": "Root", "weigth": 3}]))
    said = dict(caught.value.problems)
    assert (
        said["spec.affinity[0].weigth"] == "is not a field (do you mean weight?); allowed: from, to, weight"
    )
