"""The TuningJob: its fields, defaults and bounds. Rules between fields are in tuning_rules.py.

The CRD is generated from these models, and tuning_document.py parses YAML into them.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from sapflow.quantities.metric import METRICS
from sapflow.spec.learning import MetricName
from sapflow.spec.parameters import ParameterSpec, ParameterValues
from sapflow.spec.serving.serve import ServeSpec
from sapflow.spec.training_job import MAX_WORKERS, Metadata, Spec, TrainingJob
from sapflow.spec.types import Count, Dotted, Model, Name, Seconds

TUNING_KIND = "TuningJob"
SHORT_NAME = "tune"
MAX_TRIALS = 20_000
MOST_PARAMETERS = 64
MEASURED = ("dollars", "seconds")
"""Objectives that are what a trial has used, not what its model can do."""

SearchName = Literal["Random", "Grid", "TPE", "CmaEs", "QMC", "GP"]
PruneName = Literal["None", "Median", "ASHA", "Hyperband", "PBT"]
Direction = Literal["Maximize", "Minimize"]


class TemplateSpec(Model):
    """What every trial is, save the values of its parameters."""

    spec: Spec = Field(description="The spec of a TrainingJob: [spec.md](spec.md).")


class ObjectiveSpec(Model):
    """What is sought."""

    metric: MetricName = Field(
        description="A metric of the trials' evaluations, such as accuracy or loss; or dollars or seconds, which a "
        "trial has used."
    )
    direction: Direction = Field(description="Whether more of it is better, or less.")
    goal: float | None = Field(
        None, description="A value that is good enough: the search ends with the first trial that has it."
    )

    @property
    def natural(self) -> Direction | None:
        """The direction in which the metric is better; None for one that Sapflow does not know."""
        if self.metric in MEASURED:
            return "Minimize"
        known = METRICS.get(self.metric)
        return None if known is None else "Maximize" if known.better == "Higher" else "Minimize"


class SearchSpec(Model):
    """How parameters are suggested."""

    name: SearchName | None = Field(
        None,
        description="The sampler; left out: TPE. Grid tries every combination once; GP is for few trials that are "
        "dear; CmaEs is for numbers only, QMC covers the space evenly.",
    )
    entrypoint: Dotted | None = Field(
        None,
        description="Your own sampler in place of one by name: `package.module:function`, run in the worker's image.",
    )
    args: dict[str, Any] | None = Field(None, description="Arguments of your own sampler.")
    seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(
        0, description="Seed of all suggestions; trial k's follow from it, k and what is known then."
    )

    @property
    def sampler(self) -> str:
        """The sampler's name; `Own` for one by entrypoint."""
        return "Own" if self.entrypoint is not None else self.name or "TPE"


class PruneSpec(Model):
    """How trials that do not promise much are kept from using more. Lengths are in the units of the template's
    algorithm: epochs where it has epochs, else steps."""

    name: PruneName = Field(
        "None",
        description="Median stops what is worse than half of the others; ASHA and Hyperband pause all and go on with "
        "the best; PBT goes on with copies of the best, their parameters a little changed.",
    )
    first: Count | None = Field(
        None, description="Length after which a trial is judged for the first time; 1 if left out."
    )
    interval: Count | None = Field(
        None, description="Median, PBT: length between two judgements; as first if left out."
    )
    factor: Annotated[int, Field(ge=2, le=16)] | None = Field(
        None,
        description="ASHA, Hyperband: one in so many trials goes on, so many times as long; 4 if left out, 3 for "
        "Hyperband.",
    )
    startup_trials: Annotated[int, Field(ge=1, le=MAX_TRIALS)] | None = Field(
        None, description="Median: trials that must have got as far before one is stopped; 5 if left out."
    )
    quantile: Annotated[float, Field(gt=0, le=0.5)] | None = Field(
        None, description="PBT: the part of the trials that is replaced by the best; 0.25 if left out."
    )


class TuningSpec(Model):
    template: TemplateSpec
    parameters: Annotated[list[ParameterSpec], Field(min_length=1, max_length=MOST_PARAMETERS)] = Field(
        description="What is searched. See [spec.parameters](#specparameters)."
    )
    initial: Annotated[list[ParameterValues], Field(min_length=1, max_length=64)] | None = Field(
        None,
        description="Sets of values, by path, that are tried first; a parameter that a set leaves out is suggested.",
    )
    objective: ObjectiveSpec
    second_objective: ObjectiveSpec | None = Field(
        None,
        description="A second one: the result is all trials that no other beats in both. Trials are judged on the way "
        "by the first.",
    )
    search: SearchSpec = SearchSpec()
    prune: PruneSpec = PruneSpec()
    order: Literal["Asynchronous", "InOrder"] | None = Field(
        None,
        description="What a suggestion knows: every result that is there (Asynchronous, or left out), or exactly "
        "those of the decisions up to parallelTrials before, so that faults change nothing at all (InOrder).",
    )
    parallel_trials: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        None,
        description="Trials at once; left out: as many as maxWorkers are enough for. May be raised.",
    )
    max_workers: Annotated[int, Field(ge=1, le=MAX_WORKERS)] = Field(
        description="Calls of functions at once, those of all trials together. May be raised."
    )
    max_trials: Annotated[int, Field(ge=1, le=MAX_TRIALS)] | None = Field(
        None, description="Trials in all; left out: the size of the Grid, which alone has one. May be raised."
    )
    max_failed_trials: Annotated[int, Field(ge=0, le=MAX_TRIALS)] | None = Field(
        None,
        description="Trials that may fail; one more ends the search. Left out: a tenth of maxTrials, at least three.",
    )
    budget_usd: Annotated[float, Field(gt=0)] | None = Field(
        None,
        alias="budgetUSD",
        description="Dollars that the search never exceeds: a call starts only if its worst price is left. May be "
        "raised.",
    )
    deadline_seconds: Seconds | None = Field(
        None, description="Seconds after which the search ends with what it has found. May be raised."
    )
    warm_start_from: Name | None = Field(
        None,
        description="An earlier TuningJob with the same objective: its results are known to the sampler from the "
        "start.",
    )
    serve: ServeSpec | None = Field(
        None, description="Serves the best trial's model, as the spec.serve of a job does."
    )
    suspend: bool = Field(
        False, description="In a cluster: ends driver and functions; false again goes on with every trial."
    )
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=315_360_000)] | None = Field(
        None, description="In a cluster: seconds after which a finished search is deleted; left out: never."
    )

    @property
    def objectives(self) -> list[ObjectiveSpec]:
        return [self.objective] if self.second_objective is None else [self.objective, self.second_objective]

    @property
    def in_order(self) -> bool:
        return self.order == "InOrder"

    @property
    def length(self) -> int:
        """The units that a trial of the template is trained for: epochs, or steps."""
        algorithm = self.template.spec.algorithm
        return algorithm.epochs or algorithm.steps or 1

    @property
    def most_workers(self) -> int:
        """The workers of the widest trial."""
        found = [self.template.spec.workers]
        for parameter in self.parameters:
            if parameter.path == "spec.workers":
                found += [each for each in parameter.extremes if isinstance(each, int)]
        return max(found)

    @property
    def trials_at_once(self) -> int:
        """parallelTrials, or as many as maxWorkers are enough for."""
        return self.parallel_trials or max(1, min(1000, self.max_workers // self.most_workers))


class TuningJob(Model):
    """A checked TuningJob."""

    api_version: Literal["sapflow.dev/v1alpha1"]
    kind: Literal["TuningJob"]
    metadata: Metadata
    spec: TuningSpec

    def to_json(self) -> dict[str, Any]:
        """The search as a JSON value; `tuning_document.parse` reads it back."""
        return self.model_dump(by_alias=True, mode="json", exclude_none=True)

    @property
    def template(self) -> TrainingJob:
        """The template as a TrainingJob of the search's name."""
        return TrainingJob(
            api_version=self.api_version,
            kind="TrainingJob",
            metadata=self.metadata,
            spec=self.spec.template.spec,
        )
