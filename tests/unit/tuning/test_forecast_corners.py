"""The corners of a space, what lies between them, and how trials' costs follow from two that were rehearsed."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from helpers.searches import search_job

from sapflow.data.manifest import Manifest
from sapflow.errors import SpecError
from sapflow.messages.replies import ModelSize
from sapflow.planning.constants import KNATIVE, LOCAL_DIRECTORY
from sapflow.spec.parameter_values import fits, present
from sapflow.spec.training_job import TrainingJob
from sapflow.spec.tuning_job import TuningJob
from sapflow.tuning.forecast.corners import Corner, Corners
from sapflow.tuning.forecast.costs import Costs, Known
from sapflow.tuning.forecast.draws import completed, drawn, extremes
from sapflow.tuning.forecast.estimates import MOST_MODELS, Estimates
from sapflow.tuning.forecast.expense import Expense
from sapflow.tuning.forecast.rehearsal import Rehearsed
from sapflow.tuning.forecast.work import Estimate, Place

RATE, WIDTH = "spec.optimizer.learningRate", "spec.model.args.hidden[0]"
NAME, MOMENTUM = "spec.optimizer.name", "spec.optimizer.momentum"
BATCH, EPOCHS = "spec.data.batchSize", "spec.algorithm.epochs"
MANIFEST = Manifest(
    source="s",
    task="classification",
    shape=(20,),
    dtype="float32",
    target_shape=(),
    classes=2,
    train=(4_000,),
    validation=(400,),
)
PARAMETERS: list[dict[str, Any]] = [
    {"path": RATE, "float": {"min": 0.001, "max": 1.0, "log": True}},
    {"path": WIDTH, "int": {"min": 16, "max": 4_096, "log": True}},
    {"path": NAME, "categorical": {"choices": ["Momentum", "AdamW"]}},
    {
        "path": MOMENTUM,
        "float": {"min": 0.0, "max": 0.9, "step": 0.3},
        "when": {"path": NAME, "values": ["Momentum"]},
    },
    {"path": BATCH, "int": {"min": 8, "max": 128, "step": 8}},
    {"path": EPOCHS, "int": {"min": 2, "max": 16}},
]
LOCAL = Place(LOCAL_DIRECTORY, "local", 2)


class Models:
    """Says how large perceptrons are, and counts them."""

    def __init__(self, refused: int | None = None) -> None:
        self.count, self.refused = 0, refused

    async def sizes(self, jobs: Sequence[TrainingJob]) -> list[ModelSize]:
        self.count += len(jobs)
        return [self._size(job.spec.model.args.get("hidden", [16])[0]) for job in jobs]

    def _size(self, width: int) -> ModelSize:
        if self.refused is not None and width > self.refused:
            return ModelSize(problems=[("spec.memory.worker", "is too little; set at least 1Gi")])
        return ModelSize(parameters=22 * width + 2, slots=1, forward_flops=44 * width)


def search(*parameters: dict[str, Any], **spec: Any) -> TuningJob:
    return search_job(parameters=list(parameters or PARAMETERS), **spec)


def estimates(job: TuningJob, models: Models | None = None) -> Estimates:
    return Estimates(job, MANIFEST, LOCAL, (models or Models()).sizes, "local")


def find(
    job: TuningJob, known: Estimates | None = None, some: Sequence[Corner] = ()
) -> tuple[Corner, Corner, Corners]:
    corners = Corners(job.spec.parameters, job.template.to_json(), known or estimates(job))
    cheapest, dearest = asyncio.run(corners.find(some))
    return cheapest, dearest, corners


def test_corners_have_the_values_that_change_the_cost_and_the_template_s_others() -> None:
    cheapest, dearest, _ = find(search())
    assert cheapest.parameters[WIDTH] == 16
    assert (cheapest.parameters[BATCH], cheapest.parameters[EPOCHS]) == (128, 2)
    assert dearest.parameters[WIDTH] == 4_096
    assert (dearest.parameters[BATCH], dearest.parameters[EPOCHS]) == (8, 16)
    # The template has these.
    assert cheapest.parameters[RATE] == dearest.parameters[RATE] == 0.1
    assert cheapest.cost < dearest.cost


def test_growth_is_told_by_parameter_the_largest_first_and_only_where_there_is_any() -> None:
    _, _, corners = find(search())
    paths = [each.path for each in corners.growth]
    assert RATE not in paths
    assert MOMENTUM not in paths
    assert {WIDTH, BATCH, EPOCHS} <= {*paths}
    factors = [each.factor for each in corners.growth]
    assert factors == sorted(factors, reverse=True)
    epochs = next(each for each in corners.growth if each.path == EPOCHS)
    assert (epochs.cheapest, epochs.dearest) == (2, 16)
    assert epochs.factor == pytest.approx(8.0)


def test_a_huge_space_is_not_tried_out() -> None:
    choices = [[width] for width in range(16, 16 + 64)]
    spaces = [
        {"path": "spec.model.args.hidden", "categorical": {"choices": choices}},
        *({"path": f"spec.model.args.a{index}", "int": {"min": 1, "max": 10**9}} for index in range(20)),
    ]
    template = search_job().to_json()["spec"]["template"]
    template["spec"]["model"] = {
        "entrypoint": "own.models:net",
        "args": {"hidden": [16], **{f"a{index}": 1 for index in range(20)}},
    }
    job, models = search(*spaces, template=template), Models()
    known = estimates(job, models)
    random = Random(0)
    sets = [drawn(job.spec.parameters, random) for _ in range(300)]
    found = asyncio.run(known.of(sets, 64))
    assert sum(isinstance(each, Estimate) for each in found) == 64
    _, dearest, _ = find(job, known)
    assert models.count <= MOST_MODELS
    assert dearest.parameters["spec.model.args.hidden"] == [79]


def test_a_drawn_set_that_is_dearer_is_a_corner_without_what_chance_gave_it_else() -> None:
    job = search(*PARAMETERS[:2])
    known = estimates(job)
    chance = {RATE: 0.987, WIDTH: 4_096}
    (found,) = asyncio.run(known.of([chance]))
    assert isinstance(found, Estimate)
    dearer = Corner(chance, replace(found, steps=10 * found.steps))
    _, dearest, _ = find(job, known, [dearer])
    # It stays as it is where its cost is its own.
    assert dearest.parameters == chance
    _, dearest, _ = find(job, known, [Corner(chance, found)])
    assert dearest.parameters == {RATE: 0.1, WIDTH: 4_096}


def test_a_conditional_parameter_is_judged_where_it_is_there() -> None:
    hidden = "spec.model.args.hidden"
    choices = {"categorical": {"choices": [[16], [64], [4_096]]}}
    width = {"path": hidden, **choices, "when": {"path": NAME, "values": ["AdamW"]}}
    _, dearest, corners = find(search(PARAMETERS[2], PARAMETERS[3], width))
    assert dearest.parameters == {NAME: "AdamW", hidden: [4_096]}
    assert [each.path for each in corners.growth] == [hidden]


def test_sets_that_cannot_be_trained_are_left_out_and_told() -> None:
    job = search(PARAMETERS[0], PARAMETERS[1])
    known = estimates(job, Models(refused=100))
    found = asyncio.run(known.of([{RATE: 0.1, WIDTH: 4_096}, {RATE: 0.1, WIDTH: 50}]))
    assert isinstance(found[0], SpecError)
    assert "spec.memory.worker" in str(found[0])
    assert isinstance(found[1], Estimate)
    _, dearest, _ = find(job, known)
    assert dearest.parameters[WIDTH] == 16
    with pytest.raises(SpecError, match="set at least 1Gi"):
        find(job, estimates(job, Models(refused=1)))


def test_drawn_sets_are_of_the_space_and_spread_as_it_says() -> None:
    parameters = search().spec.parameters
    random = Random(0)
    sets = [drawn(parameters, random) for _ in range(400)]
    for values in sets:
        for each in parameters:
            assert (each.path in values) == present(each, values)
            assert each.path not in values or fits(each, values[each.path])
    # Half of the logarithms are below the middle one.
    below = sum(values[WIDTH] < 256 for values in sets)
    assert 160 < below < 240
    assert drawn(parameters, random, {RATE: 0.5})[RATE] == 0.5


def test_a_set_is_completed_by_the_template_s_values_and_without_what_is_not_there() -> None:
    job = search()
    template = job.template.to_json()
    found = completed(job.spec.parameters, {NAME: "AdamW", MOMENTUM: 0.3}, template)
    assert MOMENTUM not in found
    assert found[WIDTH] == 16
    # What the template has lies outside: the least value.
    assert completed(job.spec.parameters, {}, template)[MOMENTUM] == 0.9
    assert found[BATCH] == 32
    assert extremes(job.spec.parameters[3]) == [0.0, pytest.approx(0.9)]
    assert extremes(job.spec.parameters[1]) == [16, 4_096]


def rehearsed(step: float, compute: float, begin: float = 0.5) -> Rehearsed:
    steps = (Expense(step, step / 10, 1.5 * step, step / 100),) * 2
    return Rehearsed(steps, Expense(begin), Expense(begin / 2), Expense(0.1, 0.002, 0.1, 0.01), compute)


def costs(job: TuningJob, elsewhere: Place | None = None) -> tuple[Costs, Known, Known]:
    known = estimates(job)
    cheapest, dearest, _ = find(job, known)
    ends = Known(cheapest, rehearsed(0.01, 0.002)), Known(dearest, rehearsed(0.2, 0.15, 1.5))
    return Costs(known, *ends, elsewhere), *ends


def test_at_the_corners_a_trial_costs_what_was_measured() -> None:
    found, *ends = costs(search(PARAMETERS[1]))
    for end in ends:
        cost = found.of(end.corner.parameters, end.corner.estimate)
        for name in ("seconds", "dollars", "calls", "driver"):
            assert getattr(cost.step, name) == pytest.approx(getattr(end.rehearsed.step, name))
        assert (cost.begin, cost.resume, cost.pause) == (
            end.rehearsed.begin, end.rehearsed.resume, end.rehearsed.pause,
        )  # fmt: skip
        assert cost.length == 16
        assert cost.steps_per_unit == -(-4_000 // (2 * 32))


def test_between_the_corners_it_costs_more_the_more_there_is_to_compute() -> None:
    job = search(PARAMETERS[1])
    found, *_ = costs(job)
    sets = [{WIDTH: width} for width in (16, 64, 256, 1_024, 4_096)]
    known = asyncio.run(estimates(job).of(sets))
    asyncio.run(found._estimates.of(sets))
    steps = [
        found.of(values, each).step.seconds
        for values, each in zip(sets, known, strict=True)
        if isinstance(each, Estimate)
    ]
    assert len(steps) == 5
    assert steps == sorted(steps)
    assert 0.01 < steps[1] < steps[3] < 0.2


def test_in_a_cluster_computing_is_what_was_measured_and_the_rest_the_planner_s() -> None:
    there = Place(KNATIVE, "kubernetes", None)
    found, _, dearest = costs(search(PARAMETERS[1]), there)
    cost = found.of(dearest.corner.parameters, dearest.corner.estimate)
    # Computing was measured; calls and the store take what they take there, not what was measured here.
    assert 0.15 < cost.step.seconds < 0.2
    assert cost.begin.seconds == pytest.approx(1.5 + 20 * (KNATIVE.request - LOCAL_DIRECTORY.request))
