"""A job that names no merge tree: planned from its model's size, and once more from what its first steps took."""

import asyncio
import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from helpers.functions import Functions
from helpers.jobs import Crash, Place, Places, Simulation, tiny_job

from sapflow.driver import plans
from sapflow.quantities.roles import Role
from sapflow.records.commits import Commit, Forecast, Plan
from sapflow.runtimes.sender import Reply
from sapflow.steps.observer import Observer

CHILD = 0.5
"""Seconds of a merger for each child: far more than any store takes."""
WORKERS, STEPS = 12, 24
FLAT = (1, WORKERS)


class SlowMerging(Functions):
    """Functions whose mergers say what they take for each child, and take it."""

    async def invoke(self, role: Role, request: Mapping[str, Any], *, seconds: float) -> Reply:
        reply = await super().invoke(role, request, seconds=seconds)
        extra = CHILD * len(request.get("children", ()))
        await asyncio.sleep(extra)
        phases = reply.body.setdefault("seconds", {})
        phases["merge"] = phases.get("merge", 0.0) + extra
        return replace(reply, seconds=reply.seconds + extra)


class Plans(Observer):
    """What is planned."""

    def __init__(self) -> None:
        self.heard: list[tuple[Plan, Forecast | None]] = []

    def planned(self, plan: Plan, forecast: Forecast | None) -> None:
        self.heard.append((plan, forecast))


class VirtualTime:
    """The account's clock, on the simulation's time."""

    @staticmethod
    def monotonic() -> float:
        return asyncio.get_running_loop().time()

    perf_counter = monotonic


@pytest.fixture(autouse=True)
def virtual(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sapflow.steps.calls.time", VirtualTime)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    return Places(tmp_path_factory.mktemp("jobs"))


def place_of(places: Places, **changes: Any) -> Place:
    # 120 samples: every step is an epoch, and a full one.
    given = {"workers": WORKERS, "data_batchSize": 10, "algorithm_steps": STEPS, "merge_structure": None}
    return places.place(tiny_job(**{**given, **changes}))


def run(place: Place, **options: Any) -> tuple[list[Commit], Plans]:
    heard = Plans()
    simulation = Simulation(place, observer=heard, **options)
    simulation.functions = SlowMerging(place.store, simulation.seed)
    simulation.run()
    return list(place.commits()), heard


def changes(commits: list[Commit]) -> list[int]:
    """Versions whose plan is not that of the version before."""
    return [new.version for old, new in itertools.pairwise(commits) if new.plan != old.plan]


def is_whole(commits: list[Commit]) -> bool:
    """Whether every step was taken once: versions, epochs and updates without a gap."""
    numbers = list(range(STEPS + 1))
    return [each.version for each in commits] == numbers == [each.cursor.epoch for each in commits]


def test_a_job_is_planned_once_more_where_its_steps_say_that_another_tree_is_better(
    places: Places,
) -> None:
    place = place_of(places)
    commits, heard = run(place)
    assert is_whole(commits)
    assert changes(commits) == [plans.SETTLING + plans.WINDOW]
    (first, forecast), (second, better) = heard.heard
    assert first.structure == FLAT
    assert len(second.structure) == 3
    assert forecast is not None
    assert better is not None
    assert forecast.steps == STEPS
    assert better.steps == STEPS - plans.SETTLING - plans.WINDOW
    # The cost model knows now what a child takes: 12 in one go, or two times three or four.
    assert 6 * CHILD < better.seconds_per_step < 9 * CHILD
    seconds = [new.account.seconds - old.account.seconds for old, new in itertools.pairwise(commits)]
    assert max(seconds[-5:]) < 0.75 * min(seconds[:5])


@pytest.mark.parametrize("channel", [None, "Inline"])
def test_steps_whose_contributions_are_inline_are_measured_and_judged_too(
    channel: str | None, places: Places
) -> None:
    commits, heard = run(place_of(places, merge_channel=channel))
    assert is_whole(commits)
    assert (heard.heard[0][0].structure, heard.heard[0][0].inline) == (FLAT, (0,))
    assert all(len(plan.inline or ()) == len(plan.structure) - 1 for plan, _ in heard.heard)


def test_the_forecast_and_its_error_are_part_of_the_outcome(places: Places) -> None:
    place = place_of(places)
    simulation = Simulation(place)
    outcome = simulation.run()
    said = outcome["forecast"]
    commits = list(place.commits())
    assert commits[0].forecast is not None
    spent = commits[-1].account.seconds - commits[0].account.seconds
    assert said["seconds"] == pytest.approx(STEPS * commits[0].forecast.seconds_per_step)
    assert said["secondsError"] == pytest.approx(said["seconds"] / spent - 1)
    assert said["costError"] > -1


@pytest.mark.parametrize(
    "given", [{"merge_structure": list(FLAT), "merge_shards": 1}, {"algorithm_steps": 12}], ids=str
)
def test_nothing_is_planned_anew_where_the_job_names_its_tree_or_is_over_too_soon(
    places: Places, given: dict[str, Any]
) -> None:
    commits, heard = run(place_of(places, **given))
    assert changes(commits) == []
    assert [plan.structure for plan, _ in heard.heard] == [FLAT]


def test_a_tree_that_is_right_already_stays(places: Places) -> None:
    place = place_of(places)
    Simulation(place).run()
    assert changes(list(place.commits())) == []


@pytest.mark.parametrize("how", ["before", "after", "cancel"])
@pytest.mark.parametrize("write", range(13, 18))
def test_a_driver_that_dies_around_a_re_plan_loses_no_step_and_plans_anew_once(
    places: Places, write: int, how: Any
) -> None:
    # The driver's writes: a plan, then a commit a step, with evaluations between.
    commits, _ = run(place_of(places, evaluation_everySteps=STEPS), crashes=[Crash(write, how)])
    assert is_whole(commits)
    assert len(changes(commits)) <= 1


def test_two_drivers_at_once_agree_on_the_plan(places: Places) -> None:
    commits, _ = run(place_of(places), drivers=2)
    assert is_whole(commits)
    assert len(changes(commits)) <= 1
