"""Suggestions: those of Optuna alone at equal seeds, trials and order; grids; a worker's; results known from before."""

import math
import sys
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import optuna
import pytest
from helpers.searches import search_job
from helpers.simulated_search import quadratic, simulate

from sapflow.errors import SpecError
from sapflow.tuning.actions import Failed, Finished, Report, Stopped
from sapflow.tuning.samplers import remote
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
