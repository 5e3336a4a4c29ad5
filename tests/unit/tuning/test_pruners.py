"""How far trials are trained: rungs, medians, populations; and what pausing costs beside the full grid."""

import hashlib
import math
import random
from typing import Any

import pytest
from helpers.searches import search_job
from helpers.simulated_search import World, simulate

from sapflow.tuning.actions import Fork, Stop
from sapflow.tuning.entries import Train
from sapflow.tuning.pruners.asha import Asha, rungs_of
from sapflow.tuning.pruners.hyperband import Hyperband
from sapflow.tuning.pruners.median import Median
from sapflow.tuning.pruners.pbt import Pbt
from sapflow.tuning.pruners.pruner import Pruner
from sapflow.tuning.settings import Settings
from sapflow.tuning.trial import Trial

RATE, MOMENTUM = "spec.optimizer.learningRate", "spec.optimizer.momentum"


def reported(pruner: Pruner, number: int, score: float, at: int = 1) -> Trial:
    """A trial that has been trained to `at`, and whose score there is known."""
    trial = Trial(number, {RATE: 0.1 + number / 1000, MOMENTUM: 0.5}, to=at)
    pruner.trained(trial, at)
    trial.at = at
    pruner.reported(trial, at, score, at * 10)
    return trial


def test_rungs_grow_by_the_factor_up_to_the_full_length() -> None:
    assert rungs_of(1, 4, 16) == [1, 4, 16]
    assert rungs_of(2, 3, 20) == [2, 6, 18, 20]
    assert rungs_of(8, 4, 8) == [8]


def test_the_best_quarter_goes_on() -> None:
    asha = Asha(1, 4, 16)
    for number, score in enumerate((0.1, 0.4, 0.3)):
        reported(asha, number, score)
    assert asha.next(3, True) == ()
    reported(asha, 3, 0.2)
    assert asha.next(4, True) == (Train(1, 4),)


def test_of_equal_trials_the_first_one_goes_on() -> None:
    asha = Asha(1, 4, 16)
    for number in (3, 1, 2, 0):
        reported(asha, number, 0.5)
    assert asha.next(4, True) == (Train(0, 4),)


def test_a_paused_trial_goes_on_later_than_it_was_overtaken() -> None:
    asha = Asha(1, 2, 4)
    trials = [reported(asha, number, score) for number, score in enumerate((0.5, 0.9))]
    assert asha.next(2, True) == (Train(1, 2),)
    asha.trained(trials[1], 2)
    assert asha.next(2, True) == ()
    for number, score in ((2, 0.1), (3, 0.2)):
        reported(asha, number, score)
    assert asha.next(4, True) == (Train(0, 2),)


def test_one_that_has_failed_or_was_stopped_does_not_go_on() -> None:
    asha = Asha(1, 2, 4)
    trials = [reported(asha, number, number / 10) for number in range(4)]
    asha.ended(trials[3], None)
    assert asha.next(4, True) == (Train(2, 2),)


def test_the_best_come_further_however_late_they_came() -> None:
    """No more than a quarter goes on early; when the last trial has begun, a quarter of them more may."""
    asha = Asha(1, 4, 16)
    trials: dict[int, Trial] = {}
    gone: list[int] = []
    for number in range(64):
        trials[number] = reported(asha, number, number / 64)
        while move := asha.next(number + 1, number < 63):
            (train,) = move
            assert isinstance(train, Train)
            asha.trained(trials[train.trial], 4)
            gone.append(train.trial)
    assert len(gone) == 16 + 4
    assert {60, 61, 62, 63} <= set(gone)


def test_a_search_of_few_trials_has_a_result_too() -> None:
    search, _ = simulate(maxTrials=2, prune={"name": "ASHA"}, search={"name": "Random"})
    assert [trial.phase for trial in search.trials].count("Finished") == 1
    assert search.state.best is not None
    assert search.state.best.phase == "Finished"


def test_brackets_share_the_trials_as_hyperband_does() -> None:
    hyperband = Hyperband(1, 3, 27)
    firsts = [hyperband.first(number, 27) for number in range(27 + 12 + 6 + 4)]
    assert [firsts.count(at) for at in (1, 3, 9, 27)] == [27, 12, 6, 4]
    assert [hyperband.first(number + len(firsts), 27) for number in range(len(firsts))] == firsts


def test_brackets_are_judged_apart() -> None:
    hyperband = Hyperband(1, 2, 4)
    shares = [number for number in range(20) if hyperband.first(number, 4) == 2][:2]
    for number in shares:
        reported(hyperband, number, 0.1 * number, at=2)
    reported(hyperband, 0, 99.0)
    assert hyperband.next(20, True) == (Train(shares[1], 4),)


def test_what_is_worse_than_half_of_the_others_is_stopped() -> None:
    median = Median(1, 2, 3, 16)
    for number, score in enumerate((0.2, 0.4, 0.6)):
        trial = reported(median, number, score)
        assert median.next(9, True) == (Train(number, 3),)
        median.trained(trial, 3)
    worse = reported(median, 3, 0.3)
    assert median.next(9, True) == (Stop(3, "Pruned"),)
    median.ended(worse, None)
    reported(median, 4, 0.5)
    assert median.next(9, True) == (Train(4, 3),)


def test_the_last_length_is_the_full_one() -> None:
    median = Median(5, 5, 3, 16)
    reported(median, 0, 0.5, at=15)
    assert median.next(9, True) == (Train(0, 16),)


def population(quantile: float = 0.25) -> Pbt:
    parameters = Settings.of(search_job()).parameters
    return Pbt(parameters, 0, 1, 1, quantile, 4)


def test_one_of_the_worst_begins_anew_at_one_of_the_best() -> None:
    pbt = population()
    trials = [reported(pbt, number, score) for number, score in enumerate((0.4, 0.9, 0.5, 0.1))]
    for trial in trials[:3]:
        assert pbt.next(4, False) == (Train(trial.number, 2),)
        pbt.trained(trial, 2)
    stop, fork, train = pbt.next(4, False)
    assert (stop, train) == (Stop(3, "Replaced"), Train(4, 2))
    assert isinstance(fork, Fork)
    assert (fork.trial, fork.source, fork.version, fork.at) == (4, 1, 10, 1)
    assert fork.parameters[RATE] in (
        pytest.approx(trials[1].parameters[RATE] * 0.8),
        pytest.approx(trials[1].parameters[RATE] * 1.2),
    )
    assert 0.0 <= fork.parameters[MOMENTUM] <= 0.9
    assert pbt.next(4, False) == (stop, fork, train)


def test_nothing_begins_at_a_trial_that_is_gone() -> None:
    pbt = population()
    trials = [reported(pbt, number, score) for number, score in enumerate((0.4, 0.9, 0.5, 0.1))]
    for trial in trials[:3]:
        pbt.trained(trial, 2)
    pbt.ended(trials[1], None)
    assert pbt.next(4, False) == (Train(3, 2),)


def test_versions_are_kept_as_long_as_one_may_begin_there() -> None:
    pbt = population()
    trials = [reported(pbt, number, 0.5) for number in range(4)]
    for trial in trials[:2]:
        pbt.trained(trial, 2)
        trial.at = 2
        pbt.reported(trial, 2, 0.6, 20)
    assert pbt.kept(0) == {10, 20}
    for trial in trials[2:]:
        pbt.trained(trial, 2)
        trial.at = 2
        pbt.reported(trial, 2, 0.6, 20)
    assert pbt.kept(0) == {20}


def test_changed_parameters_stay_within_their_bounds() -> None:
    pbt = population()
    for number in range(200):
        changed = pbt.changed({RATE: 0.001 if number % 2 else 1.0, MOMENTUM: 0.9}, number)
        assert 0.001 <= changed[RATE] <= 1.0
        assert changed[MOMENTUM] in [pytest.approx(place / 10) for place in range(10)]


GRID: list[dict[str, Any]] = [
    {"path": RATE, "float": {"min": 0.02, "max": 0.3, "step": 0.04}},
    {"path": MOMENTUM, "float": {"min": 0.2, "max": 0.9, "step": 0.1}},
]


def learning(seed: int) -> Any:
    """Learning curves that cross: a higher rate learns faster, and is not the best in the end."""

    def curve(parameters: dict[str, Any], at: int) -> float:
        rate, momentum = float(parameters[RATE]), float(parameters[MOMENTUM])
        top = 0.98 - 0.25 * abs(rate - 0.14) / 0.16 - 0.12 * abs(momentum - 0.7)
        drawn = hashlib.sha256(f"{rate:.3f}/{momentum:.3f}/{at}/{seed}".encode()).digest()
        noise = int.from_bytes(drawn[:4], "big") / 2**32 - 0.5
        return top * (1 - 0.6 * math.exp(-(0.3 + 2 * rate) * at)) + 0.01 * noise

    return curve


@pytest.mark.parametrize("order", ["Asynchronous", "InOrder"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_pausing_reaches_the_grids_best_for_a_fifth_of_its_length(order: str, seed: int) -> None:
    curve = learning(seed)
    search, world = simulate(
        seed=seed,
        world=World(curve=curve),
        parameters=GRID,
        search={"name": "Grid"},
        maxTrials=None,
        prune={"name": "ASHA", "factor": 4},
        maxWorkers=16,
        order=order,
    )
    assert len(search.trials) == 64
    best = max(curve(dict(trial.parameters), 16) for trial in search.trials)
    reached = max(trial.values[0] for trial in search.trials if trial.phase == "Finished")
    assert world.units <= 0.2 * 16 * 64
    assert reached >= best - 0.01


def test_pausing_keeps_within_a_fifth_in_any_order_of_trials() -> None:
    for seed in range(20):
        asha, chance = Asha(1, 4, 16), random.Random(seed)
        scores = sorted(chance.random() for _ in range(128))
        if seed % 3 == 0:
            chance.shuffle(scores)
        elif seed % 3 == 1:
            scores.reverse()
        units, trials, number = 0, list[Trial](), 0
        while number < len(scores) or asha.next(number, False):
            move = asha.next(number, number < len(scores))
            if move:
                (train,) = move
                assert isinstance(train, Train)
                trial = trials[train.trial]
                units += train.to - trial.at
                asha.trained(trial, train.to)
                trial.to = trial.at = train.to
                if train.to < 16:
                    asha.reported(trial, train.to, scores[trial.number], train.to)
                else:
                    asha.ended(trial, scores[trial.number])
            else:
                trials.append(reported(asha, number, scores[number]))
                units += 1
                number += 1
        assert units <= 0.2 * 16 * len(scores)
        best = max(range(len(scores)), key=scores.__getitem__)
        assert trials[best].at == 16
