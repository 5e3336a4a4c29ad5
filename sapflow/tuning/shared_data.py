"""Which trials of a search train on its own data, which is cut once. Pure.

A parameter may also change what is cut: the seed, the share that is held out, the way it is drawn. Such a trial has its
data cut below its own prefix.
"""

from typing import Any

from sapflow.spec.training_job import TrainingJob

_READ_ALONE = {"batch_size", "micro_batch_size", "drop_last", "partition", "scale_target"}
"""Fields of `spec.data` that say how blocks are read, and not what is in them."""


def same_data(trial: TrainingJob, template: TrainingJob) -> bool:
    """Whether the data of a trial, cut into blocks, is the same as the template's."""
    return _cut_from(trial) == _cut_from(template)


def _cut_from(job: TrainingJob) -> tuple[int, dict[str, Any]]:
    """All of a job that its blocks follow from."""
    data = job.spec.data.model_dump(by_alias=True, mode="json", exclude_none=True, exclude=_READ_ALONE)
    return job.spec.algorithm.seed, data
