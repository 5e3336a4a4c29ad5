"""What is wrong with a TuningJob beyond its fields' own bounds, in words that name the field and the remedy."""

from collections.abc import Iterator

from sapflow.errors import SpecError
from sapflow.quantities.metric import metric
from sapflow.spec import field_paths
from sapflow.spec.parameter_values import MOST_POINTS, fits, grid_size, present, same
from sapflow.spec.parameters import ParameterSpec
from sapflow.spec.problems import Problem
from sapflow.spec.training_job import TrainingJob
from sapflow.spec.tuning_job import TuningJob, TuningSpec
from sapflow.spec.tuning_rules import TUNING_RULES


def of_template(error: SpecError) -> SpecError:
    """The problems of a template, which was checked as a job of its own, by the fields of the search."""
    return SpecError(
        [
            (f"spec.template.{field}" if field.startswith("spec") else field, said)
            for field, said in error.problems
        ]
    )


def problems(job: TuningJob) -> list[Problem]:
    """(field path, what is wrong and what to do) for each rule that does not hold, and for each parameter that is none
    of the template's."""
    spec = job.spec
    found = [(f"spec.{rule.field}", rule.message) for rule in TUNING_RULES if not rule.holds(spec)]
    if found:
        return found
    return [
        *_path_problems(job),
        *_choice_problems(spec),
        *_number_problems(spec),
        *_initial_problems(spec),
        *_name_problems(job),
    ]


def _path_problems(job: TuningJob) -> Iterator[Problem]:
    template = job.template.to_json()
    before: list[ParameterSpec] = []
    for index, parameter in enumerate(job.spec.parameters):
        field, path = f"spec.parameters[{index}].path", parameter.path
        place = field_paths.place(TrainingJob, path)
        if place == "Unknown":
            yield field, f"{path} is not a field of the template: see the fields of a TrainingJob"
        elif (place == "Free" or "[" in path) and not field_paths.given(template, path):
            yield field, f"{path} is not in the template: write the value there that it has without a search"
        for other in before:
            if field_paths.overlap(path, other.path):
                yield field, f"{path} and {other.path} lie one within the other: search the parts of one"
        if parameter.when is not None:
            yield from _when_problems(index, parameter, before)
        before.append(parameter)


def _when_problems(index: int, parameter: ParameterSpec, before: list[ParameterSpec]) -> Iterator[Problem]:
    when, field = parameter.when, f"spec.parameters[{index}].when"
    assert when is not None
    other = next((each for each in before if each.path == when.path), None)
    if other is None:
        yield f"{field}.path", f"{when.path} must stand before {parameter.path}: exchange the two"
        return
    for value in when.values:
        if not fits(other, value):
            yield f"{field}.values", f"{value!r} is no value of {other.path}: it would never be there"


def _choice_problems(spec: TuningSpec) -> Iterator[Problem]:
    for index, parameter in enumerate(spec.parameters):
        choices = [] if parameter.categorical is None else parameter.categorical.choices
        for place, choice in enumerate(choices):
            if any(same(choice, other) for other in choices[:place]):
                yield f"spec.parameters[{index}].categorical.choices", f"has {choice!r} twice: leave one out"


def _number_problems(spec: TuningSpec) -> Iterator[Problem]:
    prune, length = spec.prune, spec.length
    if prune.name != "None" and (prune.first or 1) >= length:
        yield (
            "spec.prune.first",
            f"must be below the trials' length, {length}, or no trial is ever judged before its end",
        )
    if spec.max_workers < spec.most_workers:
        yield "spec.maxWorkers", f"must be at least {spec.most_workers}, the workers of the widest trial"
    known, goal = metric(spec.objective.metric), spec.objective.goal
    if goal is not None and not known.least <= goal <= known.most:
        yield "spec.objective.goal", f"must be {known.bounds}, which {known.name} can have, got {goal:g}"
    size = grid_size(spec.parameters)
    if spec.search.sampler == "Grid" and spec.max_trials is not None and size > spec.max_trials:
        yield (
            "spec.maxTrials",
            f"must be at least {size:,}, the size of the Grid; or take larger steps, fewer choices, or Random",
        )
    if spec.search.sampler == "Grid" and size > MOST_POINTS:
        yield (
            "spec.parameters",
            f"makes a Grid of {size:,} trials, {MOST_POINTS:,} are the most: take larger steps",
        )


def _initial_problems(spec: TuningSpec) -> Iterator[Problem]:
    by_path = {each.path: each for each in spec.parameters}
    for index, values in enumerate(spec.initial or ()):
        field = f"spec.initial[{index}]"
        for path, value in values.items():
            if path not in by_path:
                yield field, f"{path} is no parameter: name one of {', '.join(by_path)}"
            elif not fits(by_path[path], value):
                yield field, f"{value!r} is no value that {path} may have: see its bounds, step or choices"
            elif not present(by_path[path], values):
                yield field, f"{path} is not there, because its when does not hold: leave it out"
    if spec.initial is not None and spec.search.sampler == "Grid":
        yield "spec.initial", "is of no use with Grid, which tries all: leave it out"
    if spec.initial is not None and spec.max_trials is not None and len(spec.initial) > spec.max_trials:
        yield "spec.maxTrials", f"must be at least {len(spec.initial)}, the sets of initial"


def _name_problems(job: TuningJob) -> Iterator[Problem]:
    if job.spec.warm_start_from == job.metadata.name:
        yield "spec.warmStartFrom", "is the search itself: name an earlier one, or leave it out"
