"""Suggestions: those of Optuna alone at equal seeds, trials and order; grids; a worker's; results known from before."""

import math
import random
import sys
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import optuna
import pytest
from helpers.searches import search_job
from helpers.simulated_search import World, quadratic, simulate
from optuna.samplers._tpe import _truncnorm

from sapflow.errors import SpecError
from sapflow.tuning.actions import Failed, Finished, Report, Stopped
from sapflow.tuning.samplers import normal_tail, remote
from sapflow.tuning.samplers.by_optuna import OptunaSampler
from sapflow.tuning.samplers.registry import sampler_sought
from sapflow.tuning.samplers.sampler import Sampler, seed_of
from sapflow.tuning.settings import Settings
from sapflow.tuning.trial import Trial

RATE, MOMENTUM = "spec.optimizer.learningRate", "spec.optimizer.momentum"
FLOATS: list[dict[str, Any]] = [
    {"path": RATE, "float": {"min": 0.001, "max": 1.0, "log": True}},
    {"path": MOMENTUM, "float": {"min": 0.0, "max": 0.9}},
]
HIDDEN = "spec.model.args.hidden"
MIXED: list[dict[str, Any]] = [
    *FLOATS,
    {"path": HIDDEN, "categorical": {"choices": [[8], [16], [16, 8]]}},
    {"path": "spec.data.batchSize", "int": {"min": 8, "max": 64, "step": 8}},
]
ALONE: dict[str, Callable[[int], optuna.samplers.BaseSampler]] = {
    "Random": lambda number: optuna.samplers.RandomSampler(seed=seed_of(7, number)),
    "TPE": lambda number: optuna.samplers.TPESampler(seed=seed_of(7, number), constant_liar=True),
    "CmaEs": lambda number: optuna.samplers.CmaEsSampler(seed=seed_of(7, number)),
    "QMC": lambda number: optuna.samplers.QMCSampler(seed=7, scramble=True),
}


def alone(name: str, count: int, parallel: int) -> list[dict[str, Any]]:
    """The suggestions of Optuna by itself, told in the order of its trials, `parallel` − 1 of them under way."""
    study = optuna.create_study(direction="maximize")
    asked: list[tuple[optuna.Trial, dict[str, Any]]] = []
    for number in range(count):
        if number >= parallel:
            trial, values = asked[number - parallel]
            study.tell(trial, quadratic(values, 16))
        study.sampler = ALONE[name](number)
        trial = study.ask()
        values = {
            RATE: trial.suggest_float(RATE, 0.001, 1.0, log=True),
            MOMENTUM: trial.suggest_float(MOMENTUM, 0.0, 0.9),
        }
        if name != "CmaEs":
            chosen = trial.suggest_categorical(HIDDEN, ("json:[8]", "json:[16]", "json:[16, 8]"))
            values[HIDDEN] = [[8], [16], [16, 8]][
                ("json:[8]", "json:[16]", "json:[16, 8]").index(str(chosen))
            ]
            values["spec.data.batchSize"] = trial.suggest_int("spec.data.batchSize", 8, 64, step=8)
        asked.append((trial, values))
    return [values for _, values in asked]


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("parallel", [1, 4])
@pytest.mark.parametrize("name", ALONE)
def test_suggestions_are_those_of_optuna_alone(name: str, parallel: int) -> None:
    search, _ = simulate(
        deaths=[9, 5, 14],
        search={"name": name, "seed": 7},
        parameters=FLOATS if name == "CmaEs" else MIXED,
        order="InOrder",
        parallelTrials=parallel,
        maxTrials=30,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert [dict(trial.parameters) for trial in search.trials] == alone(name, 30, parallel)


def test_long_searches_have_the_suggestions_of_optuna_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values of trials are kept between suggestions, and logarithms computed for arrays; here Optuna does neither."""
    search, _ = simulate(
        deaths=[70],
        search={"name": "TPE", "seed": 7},
        parameters=MIXED,
        order="InOrder",
        parallelTrials=4,
        maxTrials=120,
    )
    one_by_one = np.frompyfunc(_truncnorm._log_ndtr_single, 1, 1)
    monkeypatch.setattr(_truncnorm, "_log_ndtr", lambda values: np.asarray(one_by_one(values), dtype=float))
    assert [dict(trial.parameters) for trial in search.trials] == alone("TPE", 120, 4)


@pytest.mark.parametrize("scale", [0.5, 5.0, 60.0, 1e4])
def test_the_normal_distributions_logarithm_has_the_bits_of_optunas(scale: float) -> None:
    values = np.random.default_rng(3).normal(scale=scale, size=3000)
    edges = [each for edge in (0.0, 1.0, -1.0, 6.0, -20.0) for each in (edge, np.nextafter(edge, -9))]
    values[: len(edges) + 4] = [*edges, -0.0, math.inf, -math.inf, math.nan]
    expected = np.array([_truncnorm._log_ndtr_single(each) for each in values.tolist()])
    assert normal_tail.log_ndtr(values.reshape(30, 100)).tobytes() == expected.tobytes()
    assert _truncnorm._log_ndtr is normal_tail.log_ndtr


def test_trials_without_a_parameter_do_not_count_where_it_is_sought() -> None:
    name = "spec.optimizer.name"
    momentum = {
        "path": MOMENTUM,
        "float": {"min": 0, "max": 0.9},
        "when": {"path": name, "values": ["Momentum"]},
    }
    choice = {"path": name, "categorical": {"choices": ["Momentum", "AdamW"]}}
    asked = sampler(search={"name": "TPE", "seed": 7}, parameters=[FLOATS[0], choice, momentum])
    study = optuna.create_study(direction="maximize")
    for number in range(60):
        study.sampler = ALONE["TPE"](number)
        expected = study.ask()
        values: dict[str, Any] = {RATE: expected.suggest_float(RATE, 0.001, 1.0, log=True)}
        values[name] = expected.suggest_categorical(name, ("Momentum", "AdamW"))
        if values[name] == "Momentum":
            values[MOMENTUM] = expected.suggest_float(MOMENTUM, 0, 0.9)
        assert asked.ask(number).parameters == values
        trial, score = Trial(number, values), 1 - abs(values[RATE] - 0.1) - values.get(MOMENTUM, 0.4) / 9
        asked.begin(trial, {})
        if number % 7 == 3:
            study.tell(expected, state=optuna.trial.TrialState.FAIL)
            asked.tell([(trial, Failed(number, "Diverged", ""))])
        else:
            study.tell(expected, score)
            asked.tell([(trial, Finished(number, {"accuracy": score}, 16))])


def told_of(number: int, length: int, value: float) -> Report | Finished:
    """What is told of a trial of 16 units that has got to a length."""
    values = {"accuracy": value}
    return Finished(number, values, length) if length == 16 else Report(number, length, length, values)


def paused_study(at: dict[int, dict[int, float]], finished: set[int]) -> optuna.Study:
    """A study of 15 random trials, told as pruned after the reports in `at`, or as complete; others run."""
    study = optuna.create_study(direction="maximize")
    for number in range(15):
        study.sampler = ALONE["TPE"](number)
        trial = study.ask()
        trial.suggest_float(RATE, 0.001, 1.0, log=True)
        trial.suggest_float(MOMENTUM, 0.0, 0.9)
        for length, value in at.get(number, {}).items():
            trial.report(value, length)
        if number in finished:
            study.tell(trial, at[number][16])
        elif number in at:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    return study


@pytest.mark.parametrize("prune", ["ASHA", "Hyperband"])
def test_a_paused_trial_counts_as_optuna_counts_a_pruned_one_also_while_it_goes_on(prune: str) -> None:
    asked = sampler(search={"name": "TPE", "seed": 7}, parameters=FLOATS, prune={"name": prune})
    chance, at, finished = random.Random(5), dict[int, dict[int, float]](), set[int]()
    trials = []
    for number in range(15):
        trials.append(Trial(number, asked.ask(number).parameters))
        asked.begin(trials[-1], {})
    told = [(number, 1) for number in range(13)] + [(2, 4), (7, 4), (2, 16)]
    for number, length in told:
        value = chance.random()
        at.setdefault(number, {})[length] = value
        finished |= {number} if length == 16 else set()
        asked.tell([(trials[number], told_of(number, length, value))])
    study = paused_study(at, finished)
    study.sampler = ALONE["TPE"](15)
    expected = study.ask()
    values = {
        RATE: expected.suggest_float(RATE, 0.001, 1, log=True),
        MOMENTUM: expected.suggest_float(MOMENTUM, 0, 0.9),
    }
    assert asked.ask(15).parameters == values
    # At the tenth report TPE begins to learn; Random is what it takes before.
    assert values != sampler(search={"name": "Random", "seed": 7}, parameters=FLOATS).ask(0).parameters


def test_where_nothing_pauses_a_trial_with_a_report_runs() -> None:
    """The median rule lets it go on at once, as with Optuna's own pruners."""
    reporting, silent = (
        sampler(search={"name": "TPE", "seed": 7}, parameters=FLOATS, prune={"name": "Median"})
        for _ in range(2)
    )
    for number in range(15):
        parameters = silent.ask(number).parameters
        trial = Trial(number, parameters)
        for each in (silent, reporting):
            each.begin(trial, {})
        reporting.tell([(trial, Report(number, 1, 1, {"accuracy": number / 15}))])
    assert reporting.ask(15) == silent.ask(15)


def test_a_paused_trial_that_fails_or_is_stopped_is_known_after_a_restart_as_before() -> None:
    """The first trial lacks a parameter that all others have, and then fails: what all have in common grows."""
    name = "spec.optimizer.name"
    spec: dict[str, Any] = {
        "search": {"name": "TPE", "seed": 7},
        "prune": {"name": "ASHA"},
        "parameters": [
            {"path": name, "categorical": {"choices": ["Momentum", "AdamW"]}},
            FLOATS[0],
            {**FLOATS[1], "when": {"path": name, "values": ["Momentum"]}},
        ],
    }
    sets = [{name: "AdamW", RATE: 0.3}] + [
        {name: "Momentum", RATE: 0.01 * number, MOMENTUM: 0.05 * number} for number in range(1, 15)
    ]
    trials = [Trial(number, values) for number, values in enumerate(sets)]
    news: list[Any] = [(each, Report(each.number, 1, 1, {"accuracy": each.number / 20})) for each in trials]
    end: list[Any] = [(trials[0], Failed(0, "Diverged", "")), (trials[3], Stopped(3))]
    first, second = sampler(**spec), sampler(**spec)
    for each in (first, second):
        for trial in trials:
            each.begin(trial, {})
        each.tell(news)
    again = Trial(15, first.ask(15).parameters)
    for each in (first, second):
        each.begin(again, {})
        each.tell(end)
    assert first.ask(16) == second.ask(16)


def test_a_search_that_pauses_suggests_the_same_whatever_dies() -> None:
    spec: dict[str, Any] = {
        "search": {"name": "TPE", "seed": 7},
        "parameters": MIXED,
        "prune": {"name": "ASHA", "factor": 4},
        "order": "InOrder",
        "parallelTrials": 4,
        "maxTrials": 40,
    }
    calm, _ = simulate(**spec)
    wild, _ = simulate(deaths=[5, 17, 3, 40, 22], seed=3, **spec)
    assert [each.parameters for each in calm.trials] == [each.parameters for each in wild.trials]
    # Few have come to their end; what the others have reported makes a difference.
    assert [each.phase for each in calm.trials].count("Finished") < 10
    other, _ = simulate(world=World(curve=lambda parameters, at: -quadratic(parameters, at)), **spec)
    assert [each.parameters for each in other.trials[:10]] == [each.parameters for each in calm.trials[:10]]
    assert all(
        one.parameters != two.parameters for one, two in zip(other.trials[30:], calm.trials[30:], strict=True)
    )


def sampler(**spec: Any) -> Sampler:
    return sampler_sought(Settings.of(search_job(**spec)))


def test_a_grid_is_every_point_once() -> None:
    parameters = [
        {"path": RATE, "float": {"min": 0.1, "max": 0.3, "step": 0.1}},
        {"path": "spec.optimizer.name", "categorical": {"choices": ["Momentum", "Nesterov"]}},
        {
            "path": MOMENTUM,
            "float": {"min": 0.0, "max": 0.9, "step": 0.3},
            "when": {"path": "spec.optimizer.name", "values": ["Nesterov"]},
        },
    ]
    grid = sampler(search={"name": "Grid"}, parameters=parameters, maxTrials=None)
    points = [dict(grid.ask(number).parameters) for number in range(15)]
    assert len({str(each) for each in points}) == 15
    assert points[0] == {RATE: 0.1, "spec.optimizer.name": "Momentum"}
    assert points[1] == {RATE: 0.1, "spec.optimizer.name": "Nesterov", MOMENTUM: 0.0}
    assert points[-1] == pytest.approx({RATE: 0.3, "spec.optimizer.name": "Nesterov", MOMENTUM: 0.9})


def test_initial_sets_come_first_and_what_they_leave_out_is_suggested() -> None:
    asked = sampler(initial=[{RATE: 0.5}, {RATE: 0.25, MOMENTUM: 0.3}], search={"name": "TPE"})
    first, second, third = (asked.ask(number).parameters for number in range(3))
    assert first[RATE] == 0.5
    assert 0 <= first[MOMENTUM] <= 0.9
    assert second == {RATE: 0.25, MOMENTUM: 0.3}
    assert third[RATE] not in (0.5, 0.25)


def test_a_parameter_is_there_only_where_its_condition_holds() -> None:
    name = "spec.optimizer.name"
    asked = sampler(
        search={"name": "Random"},
        parameters=[
            {"path": name, "categorical": {"choices": ["Momentum", "AdamW"]}},
            {
                "path": MOMENTUM,
                "float": {"min": 0, "max": 0.9},
                "when": {"path": name, "values": ["Momentum"]},
            },
        ],
    )
    found = [asked.ask(number).parameters for number in range(40)]
    assert {each[name] for each in found} == {"Momentum", "AdamW"}
    assert all((MOMENTUM in each) == (each[name] == "Momentum") for each in found)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_result_that_is_no_number_is_none(value: float) -> None:
    asked = sampler(search={"name": "TPE"})
    for number in range(14):
        trial = Trial(number, asked.ask(number).parameters)
        asked.begin(trial, {})
        asked.tell([(trial, Finished(number, {"accuracy": value}, 16))])
    assert asked.ask(14).parameters


def test_what_is_told_twice_counts_once() -> None:
    asked = sampler(search={"name": "TPE"})
    trial = Trial(0, asked.ask(0).parameters)
    finished = Finished(0, {"accuracy": 0.5}, 16)
    asked.tell([(trial, Report(0, 4, 4, {"accuracy": 0.4})), (trial, finished), (trial, Stopped(0))])
    asked.tell([(trial, Failed(0, "x", "y"))])
    assert asked.ask(1).parameters


def test_results_of_an_earlier_search_are_known_from_the_start() -> None:
    cold, warm = sampler(search={"name": "TPE"}), sampler(search={"name": "TPE"})
    warm.warm([({RATE: 0.1 + place / 1000, MOMENTUM: 0.5}, (0.9,)) for place in range(20)])
    warm.warm([({RATE: 0.9 - place / 1000, MOMENTUM: 0.1}, (0.1,)) for place in range(20)])
    assert cold.ask(0) != warm.ask(0)
    found = [warm.ask(number).parameters for number in range(1, 6)]
    assert max(each[RATE] for each in found) < 0.6
    assert min(each[MOMENTUM] for each in found) > 0.2


def own_sampler(
    number: int, seed: int, parameters: list[Any], trials: list[Any], scale: float
) -> dict[str, Any]:
    """Moves away from the best one known."""
    known = [each for each in trials if each["state"] == "finished"]
    best = max(known, key=lambda each: each["values"][0])["parameters"][RATE] if known else 0.5
    return {RATE: min(1.0, max(0.001, best * scale)), MOMENTUM: 0.3}


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("own_samplers")
    module.suggest = own_sampler  # type: ignore[attr-defined]
    module.wrong = lambda **given: {RATE: 7}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "own_samplers", module)
    return module


@pytest.mark.usefixtures("own")
def test_a_sampler_of_ones_own_is_asked_in_a_worker() -> None:
    spec: dict[str, Any] = {
        "search": {"entrypoint": "own_samplers:suggest", "args": {"scale": 0.5}},
        "order": "InOrder",
        "parallelTrials": 2,
        "maxTrials": 6,
    }
    calm, _ = simulate(**spec)
    wild, _ = simulate(deaths=[2, 1, 3, 1, 2], seed=3, **spec)
    rates = [trial.parameters[RATE] for trial in calm.trials]
    assert rates == [trial.parameters[RATE] for trial in wild.trials]
    assert rates[:3] == [0.25, 0.25, 0.125]


@pytest.mark.usefixtures("own")
def test_a_sampler_of_ones_own_is_told_what_is_wrong_with_its_values() -> None:
    asked = sampler(search={"entrypoint": "own_samplers:wrong"})
    with pytest.raises(
        SpecError, match=r"spec\.search\.entrypoint: gave 7 for spec\.optimizer\.learningRate"
    ):
        asked.ask(0)
    parameters = Settings.of(search_job()).parameters
    with pytest.raises(SpecError, match="must return a mapping"):
        remote.checked(parameters, None)
    with pytest.raises(SpecError, match="gave no value for"):
        remote.checked(parameters, {RATE: 0.5})
    with pytest.raises(SpecError, match="which are not there"):
        remote.checked(parameters, {RATE: 0.5, MOMENTUM: 0.3, "spec.workers": 1})


def test_a_workers_answer_is_that_of_the_study_it_was_asked_about() -> None:
    """The history goes through JSON and back; GP differs in the sampler alone, and in that it loads torch."""
    settings = Settings.of(search_job(search={"name": "GP"}))
    far = remote.RemoteSampler(settings)
    near = OptunaSampler(_space(settings), "TPE", settings.seed, settings.objectives, settings.initial)
    for number in range(14):
        trial = Trial(number, near.ask(number).parameters)
        far.begin(trial, {})
        news = [
            (trial, Report(number, 4, 4, {"accuracy": number / 20})),
            (trial, Finished(number, {"accuracy": number / 15}, 16) if number % 3 else Stopped(number)),
        ]
        far.tell(news)
        near.tell(news)
    question = far.question(14) | {"sampler": "TPE"}
    assert remote.answer(question).parameters == near.ask(14).parameters


def _space(settings: Settings) -> Any:
    from sapflow.tuning.space import Space

    return Space(settings.parameters)


@pytest.mark.filterwarnings("ignore")
def test_gaussian_processes_answer_a_question() -> None:
    settings = Settings.of(search_job(search={"name": "GP"}, parameters=FLOATS))
    far = remote.RemoteSampler(settings)
    for number in range(12):
        trial = Trial(number, {RATE: 0.01 + number / 13, MOMENTUM: number / 14})
        far.begin(trial, {})
        far.tell([(trial, Finished(number, {"accuracy": 1 - number / 12}, 16))])
    asked = remote.answer(far.question(12))
    assert asked == remote.answer(far.question(12))
    assert asked.parameters[RATE] < 0.5
