"""What the driver does for cells: channels by key, litter carried by calls, steps made anew."""

import pytest

from sapflow.driver.cells import REPETITIONS, Channels, Litter, Losses, collecting
from sapflow.errors import CellLost, JobFailed
from sapflow.messages.requests import COLLECTED_AT_ONCE
from sapflow.objects import keys
from sapflow.records.commits import Plan

CELLS = ((0, 0, 1, 1), (0, 1), (0,))


def test_a_contribution_stays_inside_where_its_reader_is_there_too() -> None:
    channels = Channels(Plan(structure=(1, 2, 4), shards=1, cells=CELLS))
    assert channels.of(0, 1, "k") == "cells/0/k"
    assert channels.of(0, 3, "k") == "cells/1/k"
    assert channels.of(1, 0, "k") == "cells/0/k"
    assert channels.of(1, 1, "k") == "k", "its reader, the root, is in the other cell"
    assert channels.of(2, 0, "k") == "cells/0/k", "between the root's own phases"
    assert Channels(Plan(structure=(1, 2, 4), shards=1)).of(0, 1, "k") == "k"


def test_a_plan_without_cells_has_the_name_that_it_always_had() -> None:
    plain = Plan(structure=(1, 2, 4), shards=1)
    assert "cells" not in plain.body()
    assert plain.name != plain.model_copy(update={"cells": CELLS}).name


def test_litter_goes_to_its_cell_and_that_of_copies_to_all_and_to_the_store() -> None:
    litter = Litter(2)
    params = keys.params(keys.job("u"), 3, "x", 0)
    assert litter.take_in(["cells/1/a", params, "jobs/u/optimizer/3-x.0"]) == [
        params,
        "jobs/u/optimizer/3-x.0",
    ]
    assert litter.take(0) == [params]
    assert litter.take(1) == ["cells/1/a", params]
    assert litter.take(1) == []


def test_a_call_carries_a_bounded_number_of_keys_and_the_oldest_first() -> None:
    litter = Litter(1)
    litter.put(0, [f"{number}" for number in range(COLLECTED_AT_ONCE + 5)])
    first = litter.take(0)
    assert (len(first), first[0]) == (COLLECTED_AT_ONCE, "0")
    assert len(litter.take(0)) == 5


def test_litter_of_a_call_that_fails_is_carried_by_another() -> None:
    litter = Litter(1)
    litter.put(0, ["a", "b"])
    with pytest.raises(ValueError, match="lost"), collecting(litter, 0):
        raise ValueError("lost")
    with collecting(litter, 0) as names:
        assert names == ["a", "b"]
    assert litter.take(0) == []


def test_a_step_is_made_anew_a_few_times_only_for_a_lost_cell_and_each_step_anew() -> None:
    losses = Losses()
    lost = JobFailed("gone", reason=CellLost.reason, version=3)
    assert not losses.may_repeat(JobFailed("nan", reason="NotFinite", version=3), 3)
    most = REPETITIONS["CellLost"]
    assert [losses.may_repeat(lost, 3) for _ in range(most + 1)] == [True] * most + [False]
    missing = JobFailed("gone", reason="ObjectMissing", version=3)
    assert [losses.may_repeat(missing, 3) for _ in range(3)] == [True, True, False]
    assert losses.may_repeat(lost, 4)
