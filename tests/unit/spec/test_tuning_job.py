"""TuningJobs: what is refused, by field and remedy, and the TrainingJobs that trials are."""

from pathlib import Path
from typing import Any

import pytest
from helpers.searches import search_document, search_job

from sapflow.errors import SpecError
from sapflow.spec.parameter_values import fits, grid_size
from sapflow.spec.parameters import ParameterSpec
from sapflow.spec.tuning_document import is_tuning, load, parse, training_document, training_job

SAMPLES = Path(__file__).parents[3] / "manifests" / "samples"
RATE = "spec.optimizer.learningRate"
MOMENTUM = "spec.optimizer.momentum"


def number(path: str = RATE, **values: Any) -> list[dict[str, Any]]:
    return [{"path": path, "float": {"min": 0.1, "max": 0.5} | values}]


def choices(path: str, *values: Any, **more: Any) -> dict[str, Any]:
    return {"path": path, "categorical": {"choices": list(values)}} | more


def said(**spec: Any) -> str:
    """What a search with these fields is told."""
    with pytest.raises(SpecError) as caught:
        parse(search_document(**spec))
    return str(caught.value)


TEMPLATE = search_document()["spec"]["template"]["spec"]


def template(**changes: Any) -> dict[str, Any]:
    return {"spec": {**TEMPLATE, **changes}}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a path that is no field": (
        {"parameters": number("spec.optimizer.learningrate")},
        "spec.parameters[0].path: spec.optimizer.learningrate is not a field of the template",
    ),
    "an argument that the template does not have": (
        {"parameters": [choices("spec.model.args.hiden", [1], [2])]},
        "spec.parameters[0].path: spec.model.args.hiden is not in the template: write the value there",
    ),
    "an element that the template does not have": (
        {"parameters": [choices("spec.model.args.hidden[1]", 1, 2)]},
        "spec.parameters[0].path: spec.model.args.hidden[1] is not in the template",
    ),
    "a path that is no path": ({"parameters": number("optimizer.learningRate")}, "must be a field's path in"),
    "bounds the wrong way round": ({"parameters": number(min=2.0)}, "min must be below max"),
    "no kind of parameter": ({"parameters": [{"path": RATE}]}, "one of float, int and categorical"),
    "two kinds": (
        {"parameters": [number()[0] | {"int": {"min": 1, "max": 2}}]},
        "one of float, int and categorical",
    ),
    "a logarithm of zero": ({"parameters": number(min=0.0, log=True)}, "min must be above 0"),
    "log and step": ({"parameters": number(log=True, step=0.1)}, "log and step: leave one of the two out"),
    "a path twice": ({"parameters": number() * 2}, "has a path twice"),
    "one path within another": (
        {"parameters": [choices("spec.model.args.hidden", [1]), choices("spec.model.args.hidden[0]", 1, 2)]},
        "lie one within the other",
    ),
    "an infinite grid": ({"search": {"name": "Grid"}}, "makes an infinite Grid: give every float a step"),
    "a grid above maxTrials": (
        {"search": {"name": "Grid"}, "parameters": number(step=0.1), "maxTrials": 4},
        "spec.maxTrials: must be at least 5, the size of the Grid",
    ),
    "a grid above what a search may have": (
        {"search": {"name": "Grid"}, "parameters": number(step=0.00001), "maxTrials": None},
        "makes a Grid of 40,001 trials, 20,000 are the most",
    ),
    "no end": ({"maxTrials": None}, "spec.maxTrials: is required: only a Grid has an end"),
    "a metric that is not reported": (
        {
            "template": template(evaluation={"metrics": ["macroF1"]}),
            "prune": {"name": "ASHA"},
        },
        "spec.objective.metric: is never reported: name it in template.spec.evaluation.metrics",
    ),
    "pruning by dollars": (
        {"prune": {"name": "Median"}, "objective": {"metric": "dollars", "direction": "Minimize"}},
        "spec.prune.name: judges trials on the way",
    ),
    "a first judgement at the end": ({"prune": {"name": "ASHA", "first": 16}}, "no trial is ever judged"),
    "fewer workers than a trial has": (
        {"maxWorkers": 1},
        "spec.maxWorkers: must be at least template.spec.workers",
    ),
    "fewer workers than a trial may have": (
        {"parameters": [{"path": "spec.workers", "int": {"min": 1, "max": 9}}]},
        "spec.maxWorkers: must be at least 9, the workers of the widest trial",
    ),
    "the wrong direction": (
        {"objective": {"metric": "accuracy", "direction": "Minimize"}},
        "spec.objective.direction: is the wrong way round: accuracy",
    ),
    "the wrong second direction": (
        {"secondObjective": {"metric": "dollars", "direction": "Maximize"}},
        "spec.secondObjective.direction: is the wrong way round",
    ),
    "a goal out of reach": (
        {"objective": {"metric": "accuracy", "direction": "Maximize", "goal": 97}},
        "spec.objective.goal: must be from 0 to 1, which accuracy can have, got 97",
    ),
    "a second goal": (
        {"secondObjective": {"metric": "dollars", "direction": "Minimize", "goal": 1}},
        "spec.secondObjective.goal: is for objective",
    ),
    "the same objective twice": (
        {"secondObjective": {"metric": "accuracy", "direction": "Maximize"}},
        "spec.secondObjective.metric: is that of the objective",
    ),
    "an order that dollars cannot keep": (
        {"order": "InOrder", "secondObjective": {"metric": "dollars", "direction": "Minimize"}},
        "spec.order: InOrder needs objectives that faults cannot change",
    ),
    "shapes under PBT": (
        {"prune": {"name": "PBT"}, "parameters": [choices("spec.model.args.hidden", [1], [2])]},
        "cannot change while a trial is trained",
    ),
    "a length under pruning": (
        {
            "prune": {"name": "ASHA"},
            "parameters": [{"path": "spec.algorithm.epochs", "int": {"min": 1, "max": 9}}],
        },
        "has the trials' length, by which prune judges them",
    ),
    "a field of another method": (
        {"prune": {"name": "Median", "factor": 3}},
        "spec.prune.factor: is for ASHA, Hyperband only",
    ),
    "a condition on nothing": (
        {"parameters": [number()[0] | {"when": {"path": MOMENTUM, "values": [1]}}]},
        "has a when that names no other parameter",
    ),
    "a condition on what comes later": (
        {
            "parameters": [
                number()[0] | {"when": {"path": "spec.optimizer.name", "values": ["SGD"]}},
                choices("spec.optimizer.name", "SGD", "Lion"),
            ]
        },
        "must stand before spec.optimizer.learningRate: exchange the two",
    ),
    "a condition that never holds": (
        {
            "parameters": [
                choices("spec.optimizer.name", "Momentum", "Nesterov"),
                number()[0] | {"when": {"path": "spec.optimizer.name", "values": ["SGD"]}},
            ]
        },
        "'SGD' is no value of spec.optimizer.name: it would never be there",
    ),
    "a condition under CmaEs": (
        {
            "search": {"name": "CmaEs"},
            "parameters": [
                *number(MOMENTUM),
                number()[0] | {"when": {"path": MOMENTUM, "values": [0.1]}},
            ],
        },
        "has a when, which CmaEs, QMC and GP cannot do",
    ),
    "choices under CmaEs": (
        {"search": {"name": "CmaEs"}, "parameters": [choices("spec.data.batchSize", 8, 16)]},
        "between whose values CmaEs knows no way",
    ),
    "a sampler twice": (
        {"search": {"name": "TPE", "entrypoint": "own:sampler"}},
        "spec.search: has a name and an entrypoint",
    ),
    "arguments without an entrypoint": (
        {"search": {"args": {"a": 1}}},
        "spec.search.args: is for a sampler of",
    ),
    "a set that is none": (
        {"initial": [{"spec.workers": 1}]},
        "spec.initial[0]: spec.workers is no parameter",
    ),
    "a value outside": ({"initial": [{RATE: 7}]}, f"spec.initial[0]: 7 is no value that {RATE} may have"),
    "a value between steps": ({"initial": [{MOMENTUM: 0.25}]}, f"0.25 is no value that {MOMENTUM} may have"),
    "a value of a parameter that trials do not go with": (
        {"parameters": [choices("spec.optimizer.name", "Momentum", "SGD")]},
        "spec.parameters[0]: has a value, 'SGD', with which spec.optimizer.momentum is for Momentum",
    ),
    "a choice twice": ({"parameters": [choices("spec.data.batchSize", 8, 8)]}, "has 8 twice"),
    "a broken template": (
        {"template": template(workers=2, merge={"structure": [2, 2]})},
        "spec.template.spec.merge.structure: ",
    ),
    "a template's life cycle": (
        {"template": template(ttlSecondsAfterFinished=3)},
        "spec.template.spec.ttlSecondsAfterFinished: is not a trial's",
    ),
    "itself as its past": ({"warmStartFrom": "search"}, "spec.warmStartFrom: is the search itself"),
    "suspending here": ({"suspend": True}, "spec.suspend: has no effect here"),
    "an unknown field": ({"maxTrial": 3}, "spec.maxTrial: is not a field (do you mean maxTrials?)"),
    "a number as text": ({"maxTrials": "16"}, "spec.maxTrials: must be a number without quotation marks"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_is_told_by_field_and_remedy(case: str) -> None:
    spec, text = REFUSED[case]
    assert text in said(**spec)


@pytest.mark.parametrize(
    "path",
    [
        "spec.model.image",
        "spec.memory.worker",
        "spec.cpu.worker",
        "spec.storage.bucket",
        "spec.placement.cells",
        "spec.model",
        "spec.data",
        "spec.data.source",
        "spec.algorithm.seed",
    ],
)
def test_what_all_trials_share_is_no_parameter(path: str) -> None:
    assert "that trials cannot differ in" in said(parameters=[choices(path, "1", "2")])


def test_a_search_is_read_and_written_alike() -> None:
    job = search_job(prune={"name": "ASHA", "factor": 4}, budgetUSD=2.5)
    assert parse(job.to_json()) == job
    assert job.spec.trials_at_once == 4
    assert job.spec.length == 16


def test_the_sample_is_a_search() -> None:
    job = load((SAMPLES / "tune.yaml").read_text())
    assert load((SAMPLES / "tune.yaml").read_text(), "kubernetes") == job
    assert is_tuning(job.to_json())
    assert not is_tuning(job.template.to_json())


def test_a_trial_is_the_template_with_its_values() -> None:
    job = search_job(
        parameters=[
            {"path": "spec.model.args.hidden[0]", "int": {"min": 8, "max": 32}},
            choices("spec.optimizer.name", "Momentum", "AdamW"),
            number(MOMENTUM)[0] | {"when": {"path": "spec.optimizer.name", "values": ["Momentum"]}},
            number("spec.optimizer.schedule.warmupEpochs")[0],
        ]
    )
    values = {
        "spec.model.args.hidden[0]": 8,
        "spec.optimizer.name": "Momentum",
        MOMENTUM: 0.2,
        "spec.optimizer.schedule.warmupEpochs": 0.5,
    }
    trial = training_job(job, values)
    assert trial.spec.model.args == {"hidden": [8]}
    assert trial.spec.optimizer.momentum == 0.2
    assert trial.spec.optimizer.schedule.warmup_epochs == 0.5
    assert trial.spec.algorithm == job.template.spec.algorithm


def test_a_parameter_that_is_not_there_is_not_the_templates_either() -> None:
    job = search_job(
        parameters=[
            choices("spec.optimizer.name", "Momentum", "AdamW"),
            number(MOMENTUM)[0] | {"when": {"path": "spec.optimizer.name", "values": ["Momentum"]}},
        ]
    )
    written = training_document(job, {"spec.optimizer.name": "AdamW"})
    assert "momentum" not in written["spec"]["optimizer"]
    assert training_document(job, {})["spec"]["optimizer"]["momentum"] == 0.9


def test_a_trial_has_no_values_but_the_searchs() -> None:
    with pytest.raises(SpecError, match="is no parameter of the search"):
        training_document(search_job(), {"spec.workers": 1})


def test_a_grid_counts_what_is_there() -> None:
    parameters = [
        ParameterSpec.model_validate(each)
        for each in (
            choices("spec.optimizer.name", "SGD", "Lion", "Momentum"),
            choices("spec.data.batchSize", 8, 16),
            number(MOMENTUM, step=0.1)[0] | {"when": {"path": "spec.optimizer.name", "values": ["Momentum"]}},
        )
    ]
    assert grid_size(parameters) == 2 * (1 + 1 + 5)


@pytest.mark.parametrize(
    ("value", "good"), [(1, True), (True, False), ("1", False), (1.0, True), (1.5, False)]
)
def test_values_of_whole_numbers(value: Any, good: bool) -> None:
    parameter = ParameterSpec.model_validate({"path": RATE, "int": {"min": 0, "max": 3}})
    assert fits(parameter, value) is good
