"""What a job's `spec.serve` will find in its model, before there is one."""

from sapflow.data.manifest import Manifest
from sapflow.driver.result import describe
from sapflow.errors import SpecError
from sapflow.serving.decisions import Decisions
from sapflow.serving.description import Description
from sapflow.spec.training_job import TrainingJob


def check_decision(job: TrainingJob, manifest: Manifest) -> None:
    """Raise SpecError where the decision of a job's `spec.serve` is not about such a model: of classes that the data
    does not have, say. `manifest` must be that of all of the data."""
    if job.spec.serve is None or job.spec.serve.decision is None:
        return
    try:
        Decisions(Description.model_validate(describe(job, manifest)), job.spec.serve.decision)
    except SpecError as error:
        prefix = "spec.decision"
        raise SpecError(
            [(f"spec.serve.decision{field.removeprefix(prefix)}", words) for field, words in error.problems]
        ) from error
