"""A worker's evaluation of a version on the held-out samples: it returns sums, from which the driver makes metrics."""

import torch

from sapflow.messages.replies import EvaluateReply
from sapflow.messages.requests import EvaluateRequest
from sapflow.objects.stores.protocol import Store
from sapflow.timing import Timing
from sapflow.training.loaded import JobCache

EVALUATION_BATCH = 1024


def evaluate(store: Store, jobs: JobCache, request: EvaluateRequest, timing: Timing) -> EvaluateReply:
    """Sum the loss and the job's metrics from `position` on, as far as the time limit allows."""
    with timing.phase("read"):
        loaded = jobs.get(request.spec, request.manifest, request.code)
        loaded.hold(request.params, request.sizes)
        loaded.model.module.eval()
    spec, task, total = loaded.job.spec, loaded.task, loaded.manifest.validation_samples
    size = min(spec.data.micro_batch_size or spec.data.batch_size, EVALUATION_BATCH)
    measures = task.measures(spec, total)
    sums = {"loss": 0.0, **{name: float.fromhex(text) for name, text in request.sums.items()}}
    position = request.position
    while position < total and timing.may_start():
        end = min(position + size, total)
        with timing.phase("data"):
            features, targets = loaded.reader.range(position, end)
        with timing.phase("compute"), torch.inference_mode():
            outputs = loaded.model.module(torch.from_numpy(features))
            loss = loaded.loss.total(outputs, torch.from_numpy(targets))
        sums["loss"] += float(loss)
        with timing.phase("compute"):
            values = task.metric_values(outputs.numpy())
            for measure in measures:
                for name, value in measure.sums(values, targets).items():
                    sums[name] = sums.get(name, 0.0) + value
        position = end
    return EvaluateReply(
        done=position >= total,
        position=position,
        samples=total,
        sums={name: value.hex() for name, value in sums.items()},
        data=loaded.data_reads(),
        **timing.report(),
    )
