"""Rules between fields of a TuningJob, in one table for the library and the API server. What no CEL can say is in
tuning_problems.py."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from sapflow.quantities.metric import METRICS
from sapflow.spec.parameters import ParameterSpec
from sapflow.spec.rule import Rule
from sapflow.spec.service_rules import serve_rules
from sapflow.spec.tuning_job import MEASURED

if TYPE_CHECKING:
    from sapflow.spec.tuning_job import ObjectiveSpec, TuningSpec

FIXED = {
    "spec.model.image": "all trials share one pool, whose image it is",
    "spec.memory": "all trials share one pool, whose memory it is",
    "spec.cpu": "all trials share one pool, whose CPUs it is about",
    "spec.storage": "a search's objects lie in one place",
    "spec.placement": "all trials share one pool, whose place it is",
    "spec.affinity": "all trials share one pool, whose place it is",
    "spec.pods": "all trials share one pool, whose pods it is about",
    "spec.prices": "trials are compared by the same prices",
    "spec.serve": "the search's own serves the best trial's model",
    "spec.suspend": "suspend the search instead",
    "spec.ttlSecondsAfterFinished": "the search has one of its own",
    "spec.data.source": "all trials share the search's data, which is cut once",
    "spec.data.format": "all trials share the search's data, which is cut once",
    "spec.data.options": "all trials share the search's data, which is cut once",
    "spec.data.validation": "all trials are judged on the same held-out samples",
    "spec.data.validationFraction": "all trials are judged on the same held-out samples",
    "spec.data.split": "all trials are judged on the same held-out samples",
    "spec.data.normalize": "all trials share the search's data, which is cut once",
    "spec.data.prepare": "all trials share the search's data, which is prepared once",
    "spec.data.scaleTarget": "trials are compared by the same targets",
    "spec.algorithm.seed": "all trials are judged on the same held-out samples, which it draws",
}
"""Fields of the template that cannot be parameters, and why."""

_FIXED = "^(" + "|".join(re.escape(path) for path in FIXED) + r")($|\.|\[)|^spec\.(model|data|algorithm)$"
KEEPS_SHAPES = (
    r"^spec\.(optimizer\.(learningRate|momentum|beta1|beta2|epsilon|alpha|weightDecay|clipNorm|"
    r"schedule\.(gamma|endFactor|minFactor|factor|threshold)|groups\[[0-9]+\]\.(weightDecay|learningRateFactor))|"
    r"model\.(labelSmoothing|huberDelta))$"
)
"""Fields that a trial may have another value of in the middle of its training."""
LENGTHS = r"^spec\.algorithm\.(epochs|steps)$"
"""Fields that say how long a trial is trained."""
_LOWER = (*(each.name for each in METRICS.values() if each.better == "Lower"), *MEASURED)
_HIGHER = tuple(each.name for each in METRICS.values() if each.better == "Higher")
_ALWAYS_THERE = ("CmaEs", "QMC", "GP")
_FIELDS = {
    "first": ("Median", "ASHA", "Hyperband", "PBT"),
    "interval": ("Median", "PBT"),
    "factor": ("ASHA", "Hyperband"),
    "startupTrials": ("Median",),
    "quantile": ("PBT",),
}
"""Fields of `prune`, and the methods that take them."""
_PYTHON = {"startupTrials": "startup_trials"}


def _quoted(names: tuple[str, ...]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _each(holds: "Callable[[ParameterSpec], bool]") -> "Callable[[TuningSpec], bool]":
    return lambda spec: all(holds(each) for each in spec.parameters)


def _kinds(parameter: ParameterSpec) -> int:
    return sum(each is not None for each in (parameter.float_, parameter.int_, parameter.categorical))


def _right_way(objective: "ObjectiveSpec | None") -> bool:
    return objective is None or objective.natural in (None, objective.direction)


def _direction(field: str) -> str:
    return (
        f"(!(self.{field}.metric in [{_quoted(_LOWER)}]) || self.{field}.direction == 'Minimize') && "
        f"(!(self.{field}.metric in [{_quoted(_HIGHER)}]) || self.{field}.direction == 'Maximize')"
    )


def _reported(spec: "TuningSpec", objective: "ObjectiveSpec | None") -> bool:
    metrics = spec.template.spec.evaluation.metrics
    return metrics is None or objective is None or objective.metric in (*metrics, "loss", *MEASURED)


def _in_metrics(field: str) -> str:
    return (
        f"self.{field}.metric in [{_quoted(('loss', *MEASURED))}] || "
        "!has(self.template.spec.evaluation.metrics) || "
        f"self.{field}.metric in self.template.spec.evaluation.metrics"
    )


def _of_prune(field: str, owners: tuple[str, ...]) -> "Rule[TuningSpec]":
    def holds(spec: "TuningSpec") -> bool:
        return getattr(spec.prune, _PYTHON.get(field, field)) is None or spec.prune.name in owners

    return Rule(
        f"prune.{field}",
        f"is for {', '.join(owners)} only: leave it out, or take one of these",
        holds,
        f"!has(self.prune.{field}) || self.prune.name in [{_quoted(owners)}]",
    )


_WRONG_WAY = (
    f"is the wrong way round: {', '.join(_HIGHER)} are better the higher (Maximize), {', '.join(_LOWER)} the lower "
    "(Minimize)"
)
_NOT_REPORTED = "is never reported: name it in template.spec.evaluation.metrics, or leave that out"

TUNING_RULES: "tuple[Rule[TuningSpec], ...]" = (
    Rule(
        "parameters",
        "needs for each parameter one of float, int and categorical",
        _each(lambda each: _kinds(each) == 1),
        "self.parameters.all(p, (has(p.float) ? 1 : 0) + (has(p.int) ? 1 : 0) + (has(p.categorical) ? 1 : 0) == 1)",
    ),
    Rule(
        "parameters",
        "has a path twice: a field has one value",
        lambda spec: len({each.path for each in spec.parameters}) == len(spec.parameters),
        "self.parameters.all(p, self.parameters.exists_one(q, q.path == p.path))",
    ),
    Rule(
        "parameters",
        "has bounds the wrong way round: min must be below max",
        _each(
            lambda each: (
                (each.float_ is None or each.float_.min < each.float_.max)
                and (each.int_ is None or each.int_.min < each.int_.max)
            )
        ),
        "self.parameters.all(p, (!has(p.float) || p.float.min < p.float.max) && "
        "(!has(p.int) || p.int.min < p.int.max))",
    ),
    Rule(
        "parameters",
        "has log with a min that has no logarithm: min must be above 0, or leave log out",
        _each(
            lambda each: (
                (each.float_ is None or not each.float_.log or each.float_.min > 0)
                and (each.int_ is None or not each.int_.log or each.int_.min > 0)
            )
        ),
        "self.parameters.all(p, (!has(p.float) || !has(p.float.log) || !p.float.log || p.float.min > 0.0) && "
        "(!has(p.int) || !has(p.int.log) || !p.int.log || p.int.min > 0))",
    ),
    Rule(
        "parameters",
        "has log and step: leave one of the two out",
        _each(
            lambda each: (
                (each.float_ is None or not each.float_.log or each.float_.step is None)
                and (each.int_ is None or not each.int_.log or each.int_.step is None)
            )
        ),
        "self.parameters.all(p, (!has(p.float) || !has(p.float.log) || !p.float.log || !has(p.float.step)) && "
        "(!has(p.int) || !has(p.int.log) || !p.int.log || !has(p.int.step)))",
    ),
    Rule(
        "parameters",
        "has a path that trials cannot differ in: image, memory, cpu, storage, placement, affinity, pods, prices, life "
        "cycle, seed and what is cut of the data are the search's; name a field of model, optimizer or algorithm by "
        "itself",
        _each(lambda each: re.search(_FIXED, each.path) is None),
        f"self.parameters.all(p, !p.path.matches(r'{_FIXED}'))",
    ),
    Rule(
        "parameters",
        "has a when that names no other parameter: give the path of one that stands before",
        lambda spec: all(
            each.when is None
            or (
                each.when.path != each.path and any(other.path == each.when.path for other in spec.parameters)
            )
            for each in spec.parameters
        ),
        "self.parameters.all(p, !has(p.when) || (p.when.path != p.path && "
        "self.parameters.exists(q, q.path == p.when.path)))",
    ),
    Rule(
        "parameters",
        "has a when, which CmaEs, QMC and GP cannot do: leave when out, or take TPE, Random or Grid",
        lambda spec: (
            spec.search.sampler not in _ALWAYS_THERE or all(each.when is None for each in spec.parameters)
        ),
        f"!has(self.search.name) || !(self.search.name in [{_quoted(_ALWAYS_THERE)}]) || "
        "self.parameters.all(p, !has(p.when))",
    ),
    Rule(
        "parameters",
        "has a categorical, between whose values CmaEs knows no way: take TPE, or numbers only",
        lambda spec: (
            spec.search.sampler != "CmaEs" or all(each.categorical is None for each in spec.parameters)
        ),
        "!has(self.search.name) || self.search.name != 'CmaEs' || self.parameters.all(p, !has(p.categorical))",
    ),
    Rule(
        "parameters",
        "makes an infinite Grid: give every float a step, and no log",
        lambda spec: (
            spec.search.sampler != "Grid"
            or all(each.float_ is None or each.float_.step is not None for each in spec.parameters)
        ),
        "!has(self.search.name) || self.search.name != 'Grid' || "
        "self.parameters.all(p, !has(p.float) || has(p.float.step))",
    ),
    Rule(
        "parameters",
        "has a path that PBT cannot change while a trial is trained: it takes numbers of optimizer, schedule and "
        "groups, model.labelSmoothing and model.huberDelta, which keep the shapes of parameters and optimiser state",
        lambda spec: (
            spec.prune.name != "PBT"
            or all(re.search(KEEPS_SHAPES, each.path) is not None for each in spec.parameters)
        ),
        f"self.prune.name != 'PBT' || self.parameters.all(p, p.path.matches(r'{KEEPS_SHAPES}'))",
    ),
    Rule(
        "parameters",
        "has the trials' length, by which prune judges them: leave spec.algorithm.epochs and steps out, or prune None",
        lambda spec: (
            spec.prune.name == "None"
            or all(re.search(LENGTHS, each.path) is None for each in spec.parameters)
        ),
        f"self.prune.name == 'None' || self.parameters.all(p, !p.path.matches(r'{LENGTHS}'))",
    ),
    Rule(
        "search",
        "has a name and an entrypoint: leave one of the two out",
        lambda spec: spec.search.name is None or spec.search.entrypoint is None,
        "!has(self.search.name) || !has(self.search.entrypoint)",
    ),
    Rule(
        "search.args",
        "is for a sampler of your own: leave it out, or name an entrypoint",
        lambda spec: spec.search.args is None or spec.search.entrypoint is not None,
        "!has(self.search.args) || has(self.search.entrypoint)",
    ),
    Rule("objective.direction", _WRONG_WAY, lambda spec: _right_way(spec.objective), _direction("objective")),
    Rule(
        "secondObjective.direction",
        _WRONG_WAY,
        lambda spec: _right_way(spec.second_objective),
        f"!has(self.secondObjective) || {_direction('secondObjective')}",
    ),
    Rule(
        "objective.metric",
        _NOT_REPORTED,
        lambda spec: _reported(spec, spec.objective),
        _in_metrics("objective"),
    ),
    Rule(
        "secondObjective.metric",
        _NOT_REPORTED,
        lambda spec: _reported(spec, spec.second_objective),
        f"!has(self.secondObjective) || {_in_metrics('secondObjective')}",
    ),
    Rule(
        "secondObjective.metric",
        "is that of the objective: name another, or leave secondObjective out",
        lambda spec: spec.second_objective is None or spec.second_objective.metric != spec.objective.metric,
        "!has(self.secondObjective) || self.secondObjective.metric != self.objective.metric",
    ),
    Rule(
        "secondObjective.goal",
        "is for objective: the search ends by the first; leave it out",
        lambda spec: spec.second_objective is None or spec.second_objective.goal is None,
        "!has(self.secondObjective) || !has(self.secondObjective.goal)",
    ),
    Rule(
        "secondObjective",
        "is more than CmaEs can do: leave it out, or take TPE, GP or Random",
        lambda spec: spec.second_objective is None or spec.search.sampler != "CmaEs",
        "!has(self.secondObjective) || !has(self.search.name) || self.search.name != 'CmaEs'",
    ),
    Rule(
        "order",
        "InOrder needs objectives that faults cannot change: dollars and seconds differ from run to run; take "
        "Asynchronous",
        lambda spec: not spec.in_order or all(each.metric not in MEASURED for each in spec.objectives),
        f"!has(self.order) || self.order != 'InOrder' || (!(self.objective.metric in [{_quoted(MEASURED)}]) && "
        f"(!has(self.secondObjective) || !(self.secondObjective.metric in [{_quoted(MEASURED)}])))",
    ),
    Rule(
        "prune.name",
        "judges trials on the way, where dollars and seconds say nothing: take another objective, or prune None",
        lambda spec: spec.prune.name == "None" or spec.objective.metric not in MEASURED,
        f"self.prune.name == 'None' || !(self.objective.metric in [{_quoted(MEASURED)}])",
    ),
    *(_of_prune(field, owners) for field, owners in _FIELDS.items()),
    Rule(
        "maxTrials",
        "is required: only a Grid has an end of its own",
        lambda spec: spec.max_trials is not None or spec.search.sampler == "Grid",
        "has(self.maxTrials) || has(self.search.name) && self.search.name == 'Grid'",
    ),
    Rule(
        "maxWorkers",
        "must be at least template.spec.workers: one trial calls as many at once",
        lambda spec: spec.max_workers >= spec.template.spec.workers,
        "self.maxWorkers >= self.template.spec.workers",
    ),
    Rule(
        "template.spec.from",
        "is for a job by itself: leave it out; every trial begins at the beginning",
        lambda spec: spec.template.spec.begins_at is None,
        "!has(self.template.spec.from)",
    ),
    Rule(
        "template.spec.parametersFrom",
        "is for a job by itself: leave it out; warmStartFrom tells a search what an earlier one has found",
        lambda spec: spec.template.spec.parameters_from is None,
        "!has(self.template.spec.parametersFrom)",
    ),
    Rule(
        "template.spec.affinity",
        "is for a job by itself: trials share functions that run anywhere; leave it out",
        lambda spec: spec.template.spec.affinity is None,
        "!has(self.template.spec.affinity)",
    ),
    Rule(
        "template.spec.serve",
        "is not a trial's: the search's own serves the best one",
        lambda spec: spec.template.spec.serve is None,
        "!has(self.template.spec.serve)",
    ),
    *serve_rules(lambda spec: spec.serve),
    Rule(
        "template.spec.suspend",
        "is not a trial's: suspend the search instead",
        lambda spec: not spec.template.spec.suspend,
        "!self.template.spec.suspend",
    ),
    Rule(
        "template.spec.ttlSecondsAfterFinished",
        "is not a trial's: set the search's own",
        lambda spec: spec.template.spec.ttl_seconds_after_finished is None,
        "!has(self.template.spec.ttlSecondsAfterFinished)",
    ),
)
