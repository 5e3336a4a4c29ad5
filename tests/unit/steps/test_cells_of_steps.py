"""What steps of placed jobs have besides: routes of contributions, garbage carried by calls."""

import pytest

from sapflow.messages.refs import Ref
from sapflow.messages.requests import COLLECTED_AT_ONCE
from sapflow.objects import keys
from sapflow.records.commits import Plan
from sapflow.steps.garbage import CellGarbage, collecting
from sapflow.steps.leftovers import Leftovers
from sapflow.steps.routes import Routes

CELLS = ((0, 0, 1, 1), (0, 1), (0,))


def route(plan: Plan, level: int, index: int) -> tuple[str, int | None]:
    ref = Routes(plan).ref(level, index, "k", 0, 8)
    assert (ref.key, ref.start, ref.stop) == ("k", 0, 8)
    return ref.channel, ref.cell


def test_a_contribution_stays_inside_where_its_reader_is_there_too() -> None:
    placed = Plan(structure=(1, 2, 4), shards=1, cells=CELLS)
    assert route(placed, 0, 1) == ("cell", 0)
    assert route(placed, 0, 3) == ("cell", 1)
    assert route(placed, 1, 0) == ("cell", 0)
    assert route(placed, 1, 1) == ("store", None), "its reader, the root, is in the other cell"
    assert route(placed, 2, 0) == ("cell", 0), "between the root's own phases"
    assert route(Plan(structure=(1, 2, 4), shards=1), 0, 1) == ("store", None)


def test_a_plan_without_cells_has_the_name_that_it_always_had() -> None:
    plain = Plan(structure=(1, 2, 4), shards=1)
    assert "cells" not in plain.body()
    assert plain.name != plain.model_copy(update={"cells": CELLS}).name


def test_garbage_goes_to_its_cell_and_that_of_copies_to_all() -> None:
    garbage = CellGarbage(2)
    params = keys.params(keys.job("u"), 3, "x", 0)
    inside = Ref(channel="cell", key="a", start=0, stop=1, cell=1)
    left = Leftovers.of([inside, Ref(key="b", start=0, stop=1)], [params, "jobs/u/optimizer/3-x.0"])
    assert left.keys == [params, "jobs/u/optimizer/3-x.0", "b"]
    garbage.take_in(left)
    assert garbage.take(0) == [params]
    assert garbage.take(1) == ["a", params]
    assert garbage.take(1) == []


def test_a_call_carries_a_bounded_number_of_keys_and_the_oldest_first() -> None:
    garbage = CellGarbage(1)
    garbage.put(0, [f"{number}" for number in range(COLLECTED_AT_ONCE + 5)])
    first = garbage.take(0)
    assert (len(first), first[0]) == (COLLECTED_AT_ONCE, "0")
    assert len(garbage.take(0)) == 5


def test_garbage_of_a_call_that_fails_is_carried_by_another() -> None:
    garbage = CellGarbage(1)
    garbage.put(0, ["a", "b"])
    with pytest.raises(ValueError, match="lost"), collecting(garbage, 0):
        raise ValueError("lost")
    with collecting(garbage, 0) as names:
        assert names == ["a", "b"]
    assert garbage.take(0) == []
