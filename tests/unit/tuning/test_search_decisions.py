"""Searches over simulated trials: every trial once, the same suggestions after restarts, pruning that pays."""

from typing import Any

import pytest
from helpers.simulated_search import World, quadratic, simulate
from hypothesis import given, settings
from hypothesis import strategies as st

RATE = "spec.optimizer.learningRate"
MOMENTUM = "spec.optimizer.momentum"
NUMBERS = [
    {"path": RATE, "float": {"min": 0.001, "max": 1.0, "log": True}},
    {"path": MOMENTUM, "float": {"min": 0.0, "max": 0.9}},
]
METHODS = ("None", "Median", "ASHA", "Hyperband", "PBT")


def suggestions(search: Any) -> list[dict[str, Any]]:
    return [dict(trial.parameters) for trial in search.trials]


@pytest.mark.parametrize("prune", METHODS)
@pytest.mark.parametrize("order", ["Asynchronous", "InOrder"])
def test_every_trial_comes_to_an_end_or_is_paused(prune: str, order: str) -> None:
    search, world = simulate(prune={"name": prune}, order=order, search={"name": "Random"})
    assert search.over is not None
    assert search.over.reason == "Completed"
    assert search.state.sampled == 16
    assert any(trial.phase == "Finished" for trial in search.trials)
    for trial in search.trials:
        assert trial.phase in ("Finished", "Stopped", "Paused")
        assert world.trained.get(trial.number, []) == sorted(set(world.trained.get(trial.number, [])))
    best = search.state.best
    assert best is not None
    assert best.best[0] == max(trial.best[0] for trial in search.trials if trial.best)


@pytest.mark.parametrize("sampler", ["Random", "TPE", "CmaEs", "QMC", "Grid"])
def test_a_restart_repeats_every_suggestion(sampler: str) -> None:
    spec: dict[str, Any] = {"search": {"name": sampler, "seed": 3}, "order": "InOrder", "maxTrials": 24}
    spec["parameters"] = NUMBERS
    if sampler == "Grid":
        spec["parameters"] = [{"path": RATE, "float": {"min": 0.1, "max": 0.4, "step": 0.1}}]
    one, _ = simulate(**spec)
    other, _ = simulate(deaths=[3, 1, 7, 2, 9, 4, 11], seed=5, **spec)
    assert suggestions(one) == suggestions(other)
    assert len(one.trials) == (4 if sampler == "Grid" else 24)
    assert len({str(each) for each in suggestions(one)}) == len(one.trials)


@settings(max_examples=100, deadline=None)
@given(
    prune=st.sampled_from(METHODS),
    deaths=st.lists(st.integers(1, 12), max_size=6),
    seed=st.integers(0, 1000),
    fails=st.frozensets(st.integers(0, 20), max_size=3),
    sampler=st.sampled_from(["Random", "TPE"]),
)
def test_in_order_faults_change_nothing_at_all(
    prune: str, deaths: list[int], seed: int, fails: frozenset[int], sampler: str
) -> None:
    spec: dict[str, Any] = {"prune": {"name": prune}, "order": "InOrder", "search": {"name": sampler}}
    calm, calm_world = simulate(world=World(fails=fails), **spec)
    wild, wild_world = simulate(world=World(fails=fails), deaths=deaths, seed=seed, **spec)
    assert suggestions(calm) == suggestions(wild)
    assert calm_world.trained == wild_world.trained
    assert [(each.phase, each.at, each.values, each.origin) for each in calm.trials] == [
        (each.phase, each.at, each.values, each.origin) for each in wild.trials
    ]


@settings(max_examples=100, deadline=None)
@given(
    prune=st.sampled_from(METHODS),
    deaths=st.lists(st.integers(1, 12), max_size=6),
    seed=st.integers(0, 1000),
    fails=st.frozensets(st.integers(0, 20), max_size=3),
)
def test_no_trial_is_lost_or_run_twice(
    prune: str, deaths: list[int], seed: int, fails: frozenset[int]
) -> None:
    search, world = simulate(
        world=World(fails=fails),
        deaths=deaths,
        seed=seed,
        prune={"name": prune},
        search={"name": "Random"},
    )
    assert search.over is not None
    ended = [trial for trial in search.trials if trial.phase in ("Finished", "Failed")]
    assert {trial.number for trial in ended} == set(world.ended)
    for trial in search.trials:
        lengths = world.trained.get(trial.number, [])
        assert lengths == sorted(set(lengths))
        if trial.phase in ("Finished", "Paused"):
            assert trial.values == (quadratic(dict(trial.parameters), trial.at),)
    assert search.state.dollars == pytest.approx(sum(trial.dollars for trial in search.trials))
    assert not search.state.references


@pytest.mark.parametrize("sampler", ["Random", "TPE", "QMC"])
def test_two_objectives_are_both_told_and_the_first_one_judges(sampler: str) -> None:
    search, _ = simulate(
        search={"name": sampler},
        parameters=NUMBERS,
        secondObjective={"metric": "dollars", "direction": "Minimize"},
        prune={"name": "ASHA"},
        maxTrials=24,
    )
    finished = [trial for trial in search.trials if trial.phase == "Finished"]
    assert all(trial.values == (trial.values[0], trial.dollars) for trial in finished)
    assert search.state.best is not None
    assert search.state.best.values[0] == max(trial.values[0] for trial in finished)


def test_trials_of_a_parameter_that_is_their_length_have_it() -> None:
    epochs = {"path": "spec.algorithm.epochs", "int": {"min": 4, "max": 16, "step": 4}}
    search, _ = simulate(parameters=[NUMBERS[0], epochs], search={"name": "Random"})
    assert len({trial.to for trial in search.trials}) > 1
    assert all(trial.to == trial.parameters["spec.algorithm.epochs"] for trial in search.trials)
