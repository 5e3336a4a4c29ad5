"""What a job's model is and needs: checked, against the data, before anything starts.

`python -m sapflow.estimate` does it in a process of its own, for a driver that is not to hold torch.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sapflow import optimizers, structure
from sapflow.data.blocks import Manifest
from sapflow.data.sampler import split
from sapflow.errors import SpecError
from sapflow.job import TrainingJob, parse
from sapflow.memory import (
    MIB,
    Estimate,
    estimate_merger,
    estimate_worker,
    format_quantity,
    parse_quantity,
)
from sapflow.progress import Extent

_MAPPED_FROM = 2 << 20
"""Bytes of a block above which a worker may map it from the store instead of holding it."""
_SUGGESTED_STEP = 32 * MIB


@dataclass(frozen=True, slots=True)
class Needs:
    """A job's model in numbers, and the least memory of its functions."""

    parameters: int
    buffers: int
    worker: Estimate
    merger: Estimate


def examine(job: TrainingJob, manifest: Manifest) -> Needs:
    """Build the model on nothing and compare it with the spec. Loads torch.

    Raises SpecError with all problems: a model that cannot be built or does not fit the data, memory below
    what it needs, more shards than blocks, batches too small for batch statistics.
    """
    from sapflow import models  # torch, hundreds of milliseconds: only those who ask pay

    spec = job.spec
    facts, least_batch = models.examine(
        spec.model.name or str(spec.model.entrypoint),
        spec.model.args,
        inputs=manifest.shape,
        outputs=manifest.outputs,
    )
    slots = len(optimizers.slots(job.optimizer_settings))
    local = spec.algorithm.local_steps > 1
    travelling = slots if local and spec.algorithm.local_state == "Average" else 0
    total = facts.parameters * (1 + travelling) + facts.float_buffers
    worker = _worker(
        job, manifest, facts.parameters, facts.float_buffers, facts.activations_per_sample, slots
    )
    merger = _merger(total, facts.parameters, 0 if local else slots, spec.merge.shards)
    problems = [
        *_shortage("worker", worker, spec.memory.worker, ", or lower spec.data.microBatchSize"),
        *_shortage("merger", merger, spec.memory.merger, ""),
        *_shards(total, spec.merge.shards, optimizers.block_size(facts.parameters)),
        *_batches(job, manifest, least_batch),
    ]
    if problems:
        raise SpecError(problems)
    return Needs(facts.parameters, facts.float_buffers + facts.integer_buffers, worker, merger)


def examine_apart(job: TrainingJob, manifest: Manifest, environ: Mapping[str, str]) -> None:
    """The checks of `examine` in a process of its own, which a user's model may even crash. Raises SpecError."""
    process = subprocess.run(
        [sys.executable, "-m", "sapflow.estimate"],
        input=json.dumps({"job": job.to_json(), "manifest": manifest.to_json()}),
        capture_output=True,
        text=True,
        env=dict(environ),
        check=False,
    )
    try:
        problems = [(str(field), str(message)) for field, message in json.loads(_last_line(process.stdout))]
    except ValueError:
        last = " ".join(process.stderr.strip().splitlines()[-1:])
        text = f"ended the process that built it (exit code {process.returncode}): {last}"
        problems = [("spec.model", text)]
    if problems:
        raise SpecError(problems)


def _last_line(text: str) -> str:
    return text.rstrip("\n").rpartition("\n")[2]


def _examine_given(given: dict[str, Any]) -> list[tuple[str, str]]:
    try:
        examine(parse(given["job"]), Manifest.from_json(given["manifest"]))
    except SpecError as error:
        return error.problems
    return []


def _worker(
    job: TrainingJob, manifest: Manifest, parameters: int, buffers: int, activations: int, slots: int
) -> Estimate:
    data = job.spec.data
    micro = min(data.micro_batch_size or data.batch_size, manifest.train_samples)
    width = 1
    for extent in manifest.shape:
        width *= extent
    block = max(manifest.train) * width * (1 if manifest.dtype == "uint8" else 4)
    return estimate_worker(
        parameters=parameters,
        buffers=buffers,
        activations_per_sample=activations,
        micro_batch=micro,
        block_bytes=min(block, _MAPPED_FROM) + 4 * width * micro,
        slots=slots,
        local_steps=job.spec.algorithm.local_steps,
    )


def _merger(total: int, parameters: int, slots: int, shards: int) -> Estimate:
    """The larger of what the root holds of one shard, and what the export of the result holds."""
    root = estimate_merger(4 * -(-total // shards), parameters=-(-parameters // shards), slots=slots)
    export = estimate_merger(4 * total)
    return max(root, export, key=lambda estimate: estimate.total)


def _shortage(role: str, estimate: Estimate, given: str, remedy: str) -> Iterator[tuple[str, str]]:
    shortage = estimate.shortage(parse_quantity(given))
    if shortage is not None:
        enough = -(-estimate.total // _SUGGESTED_STEP) * _SUGGESTED_STEP
        yield f"spec.memory.{role}", f"{shortage}; set at least {format_quantity(enough)}{remedy}"


def _shards(total: int, shards: int, block: int) -> Iterator[tuple[str, str]]:
    try:
        structure.shard_ranges(total, shards, block)
    except ValueError as error:
        yield "spec.merge.shards", str(error)


def _batches(job: TrainingJob, manifest: Manifest, least: int) -> Iterator[tuple[str, str]]:
    """Batches of one sample, where the model's batch statistics need two."""
    if least > 1 and 1 in _micro_batches(job, manifest.train_samples):
        yield (
            "spec.data.batchSize",
            "leaves a worker with a micro-batch of 1 sample, on which this model's batch statistics are not "
            f"defined ({manifest.train_samples:,} samples, {job.spec.workers} workers); choose another "
            "batchSize, microBatchSize or number of workers",
        )


def _micro_batches(job: TrainingJob, samples: int) -> set[int]:
    """The sizes of all micro-batches of an epoch: those of a full step and of the last one."""
    data, extent = job.spec.data, Extent.of(job, samples)
    micro = data.micro_batch_size or data.batch_size
    last = samples - (extent.steps_per_epoch - 1) * extent.round_samples
    shares = {stop - start for start, stop in split(0, last, job.spec.workers)}
    if extent.steps_per_epoch > 1:
        shares.add(data.batch_size * job.spec.algorithm.local_steps)
    batches = {data.batch_size for share in shares if share >= data.batch_size}
    batches |= {share % data.batch_size for share in shares}
    sizes = {micro for batch in batches if batch >= micro} | {batch % micro for batch in batches}
    return sizes - {0}


if __name__ == "__main__":
    found = json.dumps(_examine_given(json.load(sys.stdin)))
    # What a model prints while it is built goes before the answer, which is the last line.
    print(f"\n{found}")
