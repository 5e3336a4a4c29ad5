"""Rules between the fields of `spec.optimizer`."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from pydantic.alias_generators import to_camel

from sapflow.algorithms import hyperparameters, schedules
from sapflow.spec.rule import Rule

if TYPE_CHECKING:
    from sapflow.spec.training_job import Spec

_SCHEDULE = "optimizer.schedule"
_OPTIMIZER_FIELDS = ("momentum", "beta1", "beta2", "epsilon", "alpha", "centered")
_SCHEDULE_FIELDS = tuple(dict.fromkeys(field for fields in schedules.TAKES.values() for field in fields))
_LAYERWISE = tuple(name for name, kind in hyperparameters.KINDS.items() if kind.layerwise)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _only_for(
    field: str, owners: tuple[str, ...], holder: str, given: "Callable[[Spec], object]", of: str
) -> Rule["Spec"]:
    """The rule for a field that only some values of `holder` allow."""

    def holds(spec: "Spec") -> bool:
        return given(spec) is None or _name(spec, holder) in owners

    message = f"is for {' and '.join(owners)} only: leave it out, or take one of these {of}"
    return Rule(field, message, holds, f"!has(self.{field}) || self.{holder}.name in [{_listed(owners)}]")


def _name(spec: "Spec", holder: str) -> str:
    return spec.optimizer.name if holder == "optimizer" else spec.optimizer.schedule.name


def _owned() -> Iterator[Rule["Spec"]]:
    """The rules for fields that only some optimisers or schedules take."""
    for field in _OPTIMIZER_FIELDS:
        yield _only_for(
            f"optimizer.{to_camel(field)}",
            hyperparameters.takers(field),
            "optimizer",
            lambda spec, field=field: getattr(spec.optimizer, field),  # type: ignore[misc]
            "optimizers",
        )
    for field in _SCHEDULE_FIELDS:
        yield _only_for(
            f"{_SCHEDULE}.{to_camel(field)}",
            schedules.takers(field),
            _SCHEDULE,
            lambda spec, field=field: getattr(spec.optimizer.schedule, field),  # type: ignore[misc]
            "schedules",
        )


OPTIMIZER_RULES: tuple[Rule["Spec"], ...] = (
    *_owned(),
    Rule(
        f"{_SCHEDULE}.stepSize",
        "or stepEpochs is required for Step",
        lambda spec: (
            spec.optimizer.schedule.name != "Step"
            or spec.optimizer.schedule.step_size is not None
            or spec.optimizer.schedule.step_epochs is not None
        ),
        f"self.{_SCHEDULE}.name != 'Step' || has(self.{_SCHEDULE}.stepSize) || has(self.{_SCHEDULE}.stepEpochs)",
    ),
    Rule(
        f"{_SCHEDULE}.stepEpochs",
        "is stepSize in epochs: give one of them",
        lambda spec: spec.optimizer.schedule.step_epochs is None or spec.optimizer.schedule.step_size is None,
        f"!has(self.{_SCHEDULE}.stepEpochs) || !has(self.{_SCHEDULE}.stepSize)",
    ),
    Rule(
        f"{_SCHEDULE}.warmupEpochs",
        "is warmupSteps in epochs: give one of them",
        lambda spec: (
            spec.optimizer.schedule.warmup_epochs is None or spec.optimizer.schedule.warmup_steps == 0
        ),
        f"!has(self.{_SCHEDULE}.warmupEpochs) || self.{_SCHEDULE}.warmupSteps == 0",
    ),
    Rule(
        f"{_SCHEDULE}.name",
        "OneCycle has a warm-up of its own: leave warmupSteps and warmupEpochs out, and set pctStart",
        lambda spec: (
            spec.optimizer.schedule.name != "OneCycle"
            or (spec.optimizer.schedule.warmup_epochs is None and spec.optimizer.schedule.warmup_steps == 0)
        ),
        f"self.{_SCHEDULE}.name != 'OneCycle' || "
        f"!has(self.{_SCHEDULE}.warmupEpochs) && self.{_SCHEDULE}.warmupSteps == 0",
    ),
    Rule(
        f"{_SCHEDULE}.gamma",
        "is required for Exponential",
        lambda spec: (
            spec.optimizer.schedule.name != "Exponential" or spec.optimizer.schedule.gamma is not None
        ),
        f"has(self.{_SCHEDULE}.gamma) || self.{_SCHEDULE}.name != 'Exponential'",
    ),
    Rule(
        f"{_SCHEDULE}.stepSize",
        "goes with metric TrainingLoss: with ValidationLoss evaluation.everySteps says when the loss is compared",
        lambda spec: (
            spec.optimizer.schedule.metric != "ValidationLoss"
            or (spec.optimizer.schedule.step_size is None and spec.optimizer.schedule.step_epochs is None)
        ),
        f"!has(self.{_SCHEDULE}.metric) || self.{_SCHEDULE}.metric != 'ValidationLoss' || "
        f"!has(self.{_SCHEDULE}.stepSize) && !has(self.{_SCHEDULE}.stepEpochs)",
    ),
    Rule(
        f"{_SCHEDULE}.metric",
        "must be TrainingLoss with algorithm.mode Async: to wait for an evaluation would hold up all workers",
        lambda spec: spec.optimizer.schedule.metric != "ValidationLoss" or spec.algorithm.mode == "Sync",
        f"!has(self.{_SCHEDULE}.metric) || self.{_SCHEDULE}.metric != 'ValidationLoss' || "
        "self.algorithm.mode == 'Sync'",
    ),
    Rule(
        "limits.goal",
        f"has nothing to choose: {' and '.join(_LAYERWISE)} takes one shard; leave out merge.structure, or the goal",
        lambda spec: (
            spec.limits.goal is None
            or spec.optimizer.name not in _LAYERWISE
            or spec.algorithm.local_steps > 1
            or spec.merge.structure is None
        ),
        f"!has(self.limits.goal) || !(self.optimizer.name in [{_listed(_LAYERWISE)}]) || "
        "self.algorithm.localSteps > 1 || !has(self.merge.structure)",
    ),
    Rule(
        "merge.shards",
        f"must be 1 or left out with {' and '.join(_LAYERWISE)}, whose steps need norms of whole tensors at the root; "
        "with algorithm.localSteps above 1 workers take them",
        lambda spec: (
            spec.optimizer.name not in _LAYERWISE
            or spec.algorithm.local_steps > 1
            or spec.merge.shards in (None, 1)
        ),
        f"!(self.optimizer.name in [{_listed(_LAYERWISE)}]) || self.algorithm.localSteps > 1 || "
        "!has(self.merge.shards) || self.merge.shards == 1",
    ),
)
