"""Checks a search against its data, once that is cut and before any trial is trained."""

from collections.abc import Iterator

from sapflow.data import cut
from sapflow.data.manifest import Manifest
from sapflow.errors import SpecError
from sapflow.spec.tuning_job import MEASURED, TuningJob
from sapflow.spec.tuning_problems import of_template


def check_data(job: TuningJob, manifest: Manifest) -> None:
    """Check the template with the data, and that evaluations will have the objectives. Raises SpecError."""
    try:
        cut.check_data(job.template, manifest)
    except SpecError as error:
        raise of_template(error) from error
    if problems := list(_objectives(job, manifest)):
        raise SpecError(problems)


def _objectives(job: TuningJob, manifest: Manifest) -> Iterator[tuple[str, str]]:
    spec = job.template.spec
    task = manifest.task_for(scale_target=bool(spec.data.scale_target))
    evaluated = {"loss", *(each.metric.name for each in task.measures(spec, manifest.validation_samples))}
    fields = ("spec.objective.metric", "spec.secondObjective.metric")
    for field, objective in zip(fields, job.spec.objectives, strict=False):
        if objective.metric in MEASURED:
            continue
        if objective.metric not in task.metrics:
            known = f"{task.name} of {task.summary} has {', '.join(task.metrics)}"
            yield field, f"there is no metric {objective.metric!r}: {known}"
        elif objective.metric not in evaluated:
            yield (
                field,
                f"{objective.metric} is not evaluated: name it in spec.template.spec.evaluation.metrics",
            )
        elif not manifest.validation_samples:
            yield field, "needs held-out samples: set spec.template.spec.data.validationFraction above 0"
