"""What a worker reads of the data in a step, on average over the job, as far as it is known before the job runs. Pure.

An epoch moves the data set once, whatever the number of workers. Later epochs move nothing where instances keep what
they read: with `data.partition: Fixed` a worker's own part, otherwise all of the data, which every instance comes to
have in the end.
"""

import math
from dataclasses import dataclass

import numpy as np

from sapflow.data.block_size import MAX_BLOCK_BYTES
from sapflow.data.manifest import Manifest
from sapflow.planning.extent import Extent
from sapflow.quantities.memory import parse_quantity
from sapflow.spec.training_job import TrainingJob

KEPT_SHARE = 0.5
"""The share of a worker's memory that is taken to hold blocks: model, gradients and libraries have the rest."""


@dataclass(frozen=True, slots=True)
class DataLoad:
    """What one worker reads in one step, on average over the job."""

    bytes: float
    requests: float


def of(job: TrainingJob, manifest: Manifest) -> DataLoad:
    """The load of a job on the data that a manifest describes."""
    spec, extent = job.spec, Extent.of(job, manifest.train_samples)
    row = sample_bytes(manifest)
    everything, workers = row * manifest.train_samples, spec.workers
    epochs = max(1.0, extent.steps / extent.steps_per_epoch)
    moved, fixed = epochs, spec.data.partition == "Fixed"
    kept = everything / workers if fixed else everything
    if kept <= KEPT_SHARE * parse_quantity(spec.memory.worker):
        moved = min(epochs, 1.0 if fixed else float(workers))
    share = moved / epochs / extent.steps_per_epoch
    pieces = everything / MAX_BLOCK_BYTES / workers + 1
    return DataLoad(share * everything / workers, share * pieces)


def sample_bytes(manifest: Manifest) -> int:
    """Bytes of one sample in a block: its features and its target."""
    features = math.prod(manifest.shape) * np.dtype(manifest.dtype).itemsize
    return features + 4 * math.prod(manifest.target_shape)
