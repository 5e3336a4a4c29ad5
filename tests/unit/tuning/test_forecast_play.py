"""Searches played in virtual time, beside what is reckoned by hand."""

from dataclasses import replace
from random import Random
from typing import Any

import pytest
from helpers.searches import search_job

from sapflow.spec.tuning_job import TuningJob
from sapflow.tuning.forecast.expense import Expense, TrialCost
from sapflow.tuning.forecast.play import Candidate, Capacity, Draw, Play
from sapflow.tuning.forecast.spreads import spreads
from sapflow.tuning.settings import Limits, Settings

RATE = "spec.optimizer.learningRate"
STEP = Expense(seconds=2.0, dollars=0.01, calls=2.0)
"""One call in flight all the time."""


def search(**spec: Any) -> TuningJob:
    """16 trials of 16 epochs by chance, four at once."""
    fields: dict[str, Any] = {"search": {"name": "Random"}, "parallelTrials": 4, "maxWorkers": 8}
    return search_job(**(fields | spec))


def candidate(cost: TrialCost, rank: float = 0.0) -> Candidate:
    return Candidate({RATE: 0.1}, cost, rank)


def play(
    job: TuningJob, cost: TrialCost | None = None, capacity: Capacity | None = None, seed: int = 0, **how: Any
) -> Draw:
    cost = cost or TrialCost(STEP, length=16)
    return Play(
        Settings.of(job),
        Limits.of(job),
        lambda number: candidate(cost),
        capacity or Capacity(8),
        Random(seed),
        **how,
    ).run()


def test_without_pruning_it_takes_trials_times_length_times_step_by_trials_at_once() -> None:
    done = play(search())
    assert done.seconds == pytest.approx(16 * 16 * 2.0 / 4)
    assert done.dollars == pytest.approx(16 * 16 * 0.01)
    assert (done.ended_by, dict(done.trials)) == ("Completed", {"finished": 16, "begun": 16})


def test_what_comes_before_and_after_the_steps_counts_once_an_advance() -> None:
    cost = TrialCost(
        STEP,
        begin=Expense(3.0, 0.5),
        resume=Expense(1.0, 0.25),
        pause=Expense(0.5, 0.125),
        evaluation=Expense(0.0, 0.001),
        steps_per_unit=10,
        evaluations_per_unit=2,
        length=16,
    )
    whole = cost.complete
    assert whole.seconds == pytest.approx(3 + 160 * 2.0 + 0.5)
    assert whole.dollars == pytest.approx(0.5 + 1.6 + 0.125 + 32 * 0.001)
    again = cost.advance(4, 16)
    assert again.seconds == pytest.approx(1 + 120 * 2.0 + 0.5)
    assert play(search(), cost).seconds == pytest.approx(4 * whole.seconds)


def test_trials_that_want_more_calls_than_there_are_wait_for_each_other_and_cost_the_same() -> None:
    cost = TrialCost(Expense(2.0, 0.01, calls=6.0), length=16)
    alone, crowded = play(search(), cost, Capacity(12)), play(search(), cost, Capacity(6))
    # Four trials with three calls each in flight.
    assert alone.seconds == pytest.approx(16 * 16 * 2.0 / 4)
    assert crowded.seconds == pytest.approx(2 * alone.seconds)
    assert crowded.dollars == pytest.approx(alone.dollars)


def test_functions_that_share_cores_take_longer_and_cost_more() -> None:
    alone, shared = play(search(), capacity=Capacity(8)), play(search(), capacity=Capacity(8, cores=2))
    # Four calls on two cores.
    assert shared.seconds == pytest.approx(2 * alone.seconds)
    assert shared.dollars == pytest.approx(2 * alone.dollars)


def test_a_driver_that_is_at_work_all_the_time_is_shared() -> None:
    cost = TrialCost(Expense(2.0, 0.01, driver=1.0), length=16)
    done = play(search(), cost)
    # It is at work for half of each step, and for four trials at once.
    assert done.seconds == pytest.approx(16 * 16 * 1.0)
    assert done.dollars == pytest.approx(16 * 16 * 0.01)


def test_asha_takes_what_its_rungs_say() -> None:
    done = play(search(prune={"name": "ASHA", "first": 1, "factor": 4}, parallelTrials=1))
    # 16 trials for one epoch, five for three more (a quarter, and one of the reserve), and of these one to the end.
    units = 16 + 5 * 3 + done.trials["finished"] * 12
    assert done.trials["finished"] in (1, 2)
    assert done.seconds == pytest.approx(units * 2.0)
    assert done.dollars == pytest.approx(units * 0.01)
    assert done.trials["paused"] == 16 - done.trials["finished"]


@pytest.mark.parametrize("prune", ["None", "Median", "ASHA", "Hyperband", "PBT"])
@pytest.mark.parametrize("order", ["Asynchronous", "InOrder"])
def test_every_method_comes_to_an_end_and_its_trials_are_counted(prune: str, order: str) -> None:
    done = play(search(prune={"name": prune}, order=order))
    assert done.ended_by == "Completed"
    assert done.trials["finished"] >= 1
    parts = sum(number for name, number in done.trials.items() if name != "begun")
    assert parts == done.trials["begun"] >= 16


def test_a_budget_ends_a_search_before_it_is_overrun() -> None:
    done = play(search(budgetUSD=1.0), capacity=Capacity(8, worst_call=0.05))
    assert done.ended_by == "BudgetExceeded"
    assert 0.8 < done.dollars <= 1.0
    assert play(search(budgetUSD=100.0), capacity=Capacity(8, worst_call=0.05)).ended_by == "Completed"


def test_a_budget_that_is_enough_for_few_calls_at_once_makes_them_wait() -> None:
    # What is left is enough for two calls at their worst price, and for one once a dollar is spent.
    slow = play(search(budgetUSD=5.0), capacity=Capacity(8, worst_call=2.0))
    quick = play(search(budgetUSD=5.0), capacity=Capacity(8, worst_call=0.001))
    assert quick.seconds == pytest.approx(128.0)
    assert slow.seconds > 2 * quick.seconds


def test_a_deadline_ends_a_search() -> None:
    done = play(search(deadlineSeconds=40))
    assert (done.ended_by, done.seconds) == ("DeadlineExceeded", 40.0)
    assert done.dollars == pytest.approx(4 * 20 * 0.01)
    assert done.trials["finished"] == 4
    assert done.trials["running"] == 4


def test_a_goal_is_left_out() -> None:
    job = search(objective={"metric": "accuracy", "direction": "Maximize", "goal": 0.0001})
    assert play(job).ended_by == "Completed"


def test_asynchronous_algorithms_go_to_their_end_at_once() -> None:
    job = search(prune={"name": "ASHA"})
    done = play(job, TrialCost(STEP, length=16, at_once=True))
    assert done.trials["finished"] == 16


def test_lengths_that_are_searched_are_those_of_the_trials() -> None:
    epochs = {"path": "spec.algorithm.epochs", "int": {"min": 4, "max": 16}}
    job = search(parameters=[epochs], maxTrials=2, parallelTrials=1)
    found = [
        Candidate({"spec.algorithm.epochs": length}, TrialCost(STEP, length=length)) for length in (4, 10)
    ]
    done = Play(Settings.of(job), Limits.of(job), found.__getitem__, Capacity(8), Random(0)).run()
    assert done.seconds == pytest.approx((4 + 10) * 2.0)


def test_plays_of_one_seed_are_the_same_and_of_others_are_not() -> None:
    job = search(prune={"name": "ASHA"}, maxTrials=64)

    def cost(number: int) -> Candidate:
        return candidate(TrialCost(STEP.times(1 + number % 5), length=16), number % 5 - 2)

    def one(seed: int) -> Draw:
        return Play(Settings.of(job), Limits.of(job), cost, Capacity(8), Random(seed), likeness=0.5).run()

    assert one(1) == one(1)
    assert len({one(seed).seconds for seed in range(8)}) > 1


def test_where_dear_trials_are_the_good_ones_pruning_saves_less() -> None:
    job = search(prune={"name": "ASHA"}, maxTrials=256)

    def dealt(number: int) -> Candidate:
        rank = Random(number).gauss(0, 1)
        return candidate(TrialCost(STEP.times(2**rank), length=16), rank)

    def dollars(likeness: float) -> float:
        settings, limits = Settings.of(job), Limits.of(job)
        return Play(settings, limits, dealt, Capacity(8), Random(0), likeness=likeness).run().dollars

    assert dollars(0.9) > 1.2 * dollars(0.0) > 1.4 * dollars(-0.9)


def test_the_spread_of_alike_trials_is_what_a_rehearsal_cannot_see() -> None:
    job = search()

    def spread(uncertainty: float) -> Any:
        cost = candidate(TrialCost(STEP, length=16))
        settings, limits = Settings.of(job), Limits.of(job)
        return spreads(settings, limits, lambda random: lambda number: cost, Capacity(8), uncertainty)

    sure, unsure = spread(0.0), spread(0.15)
    assert sure.seconds.p10 == sure.seconds.p90 == pytest.approx(128.0)
    assert unsure.seconds.p50 == pytest.approx(128.0, rel=0.01)
    # The tenth quantile of a log-normal is exp(−1.2816 σ).
    assert unsure.seconds.p10 == pytest.approx(128.0 * 0.825, rel=0.01)
    assert unsure.seconds.p90 == pytest.approx(128.0 / 0.825, rel=0.01)
    assert unsure.ended_by == {"Completed": 1.0}
    assert unsure.trials["finished"].p50 == 16
    assert spread(0.15) == unsure


def test_of_a_large_search_a_part_is_played_and_the_rest_goes_on_like_it() -> None:
    job = search(maxTrials=20_000, maxFailedTrials=3)
    cost = candidate(TrialCost(STEP, length=16))
    settings, limits = Settings.of(job), Limits.of(job)
    capacity = Capacity(8, start=10.0)
    found = spreads(settings, limits, lambda random: lambda number: cost, capacity, 0.0)
    assert found.played == 2_000
    assert found.seconds.p50 == pytest.approx(10 + 20_000 * 16 * 2.0 / 4)
    assert found.dollars.p50 == pytest.approx(20_000 * 0.16)
    assert found.trials["finished"].p50 == 20_000
    poor = replace(limits, budget_usd=1_600.0)
    half = spreads(settings, poor, lambda random: lambda number: cost, Capacity(8, worst_call=0.001), 0.0)
    assert half.ended_by == {"BudgetExceeded": 1.0}
    assert half.dollars.p50 == pytest.approx(1_600.0, rel=0.01)
    assert half.trials["finished"].p50 == pytest.approx(10_000, rel=0.01)
