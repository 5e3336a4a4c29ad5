"""Checks a job's model against the data and estimates its memory, before anything starts.

`examine_apart` and `measure_apart` do it in a separate process, for drivers that should not load torch.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sapflow.algorithms import optimizers, parameter_groups
from sapflow.data.blocks import Manifest
from sapflow.data.dealing import Deal, window_of
from sapflow.errors import SpecError
from sapflow.planning.extent import Extent
from sapflow.planning.inline import misfit
from sapflow.planning.search import SHARDS
from sapflow.planning.workload import Size, most_shards
from sapflow.quantities import structure
from sapflow.quantities.memory import (
    MIB,
    Estimate,
    estimate_mergers,
    estimate_worker,
    format_quantity,
    parse_quantity,
)
from sapflow.spec.document import parse
from sapflow.spec.training_job import Runtime, TrainingJob
from sapflow.training import apart

if TYPE_CHECKING:
    from sapflow.models import ModelFacts

_MAPPED_FROM = 2 << 20
"""Pieces of blocks larger than this many bytes may be mapped from a store in a directory instead of being held."""
_SUGGESTED_STEP = 32 * MIB


@dataclass(frozen=True, slots=True)
class Needs:
    """The sizes of a job's model, and the least memory of its functions."""

    parameters: int
    """Those that are trained."""
    frozen: int
    buffers: int
    worker: Estimate
    merger: Estimate


def examine(job: TrainingJob, manifest: Manifest) -> Needs:
    """Build the model without allocating it, and compare it with the spec. Loads torch.

    Raises SpecError with all problems: a model that cannot be built or does not fit the data, too little memory, more
    shards than blocks, batches that are too small for batch statistics.
    """
    facts, least_batch = _facts(job, manifest)
    spec = job.spec
    averaged, slots = _beside(job, facts)
    worker = _worker_needs(job, manifest, facts)
    most = min(most_shards(Size(facts.parameters, averaged, slots, 0)), max(SHARDS))
    # A planner chooses as many shards as needed.
    merger = estimate_mergers(
        total=facts.parameters + averaged,
        parameters=facts.parameters,
        slots=slots,
        shards=most if job.planned and job.fixed_shards is None else job.shards,
        frozen=facts.frozen,
    )
    problems = [
        *_shortage("worker", worker, spec.memory.worker, ", or lower spec.data.microBatchSize"),
        *_shortage("merger", merger, spec.memory.merger, ""),
        *_shards(facts.parameters + averaged, job.shards, optimizers.block_size(facts.parameters)),
        *_channel(job, facts.parameters + averaged),
        *_batches(job, manifest, least_batch),
        *_optimizer(job, manifest, facts),
    ]
    if problems:
        raise SpecError(problems)
    buffers = facts.float_buffers + facts.other_buffers
    return Needs(facts.parameters, facts.frozen, buffers, worker, merger)


def worker_needs(job: TrainingJob, manifest: Manifest) -> Estimate:
    """The least memory of a worker. Loads torch. Raises SpecError if the model cannot be built."""
    facts, _ = _facts(job, manifest)
    return _worker_needs(job, manifest, facts)


def measure(job: TrainingJob, manifest: Manifest) -> Size:
    """The size of a job's model, independent of structure and shards. Loads torch.

    Raises SpecError like `examine`, about model and workers.
    """
    facts, least_batch = _facts(job, manifest)
    memory = job.spec.memory
    problems = [*_batches(job, manifest, least_batch), *_optimizer(job, manifest, facts)]
    if not memory.grow_on_oom:
        worker = _worker_needs(job, manifest, facts)
        problems += _shortage("worker", worker, memory.worker, ", or lower spec.data.microBatchSize")
    if problems:
        raise SpecError(problems)
    averaged, slots = _beside(job, facts)
    return Size(facts.parameters, averaged, slots, forward_flops(job, manifest))


def _facts(job: TrainingJob, manifest: Manifest) -> "tuple[ModelFacts, int]":
    from sapflow import models  # imports torch, which takes hundreds of milliseconds
    from sapflow.tasks.torch.losses import try_out

    model, task = job.spec.model, manifest.task_for()
    try_out(task, task.loss(model))
    return models.examine(
        model.name or str(model.entrypoint),
        model.args,
        inputs=manifest.shape,
        outputs=manifest.outputs,
        env=model.env,
    )


def forward_flops(job: TrainingJob, manifest: Manifest) -> int:
    """The floating-point operations of the model's forward pass for one sample. Loads torch."""
    from sapflow import models

    model = job.spec.model
    return models.forward_flops(
        model.name or str(model.entrypoint),
        model.args,
        inputs=manifest.shape,
        outputs=manifest.outputs,
        env=model.env,
    )


def _beside(job: TrainingJob, facts: "ModelFacts") -> tuple[int, int]:
    """The number of values that are averaged in addition to the parameters, and of state vectors at the root."""
    slots = len(optimizers.slots(job.optimizer_settings))
    algorithm = job.spec.algorithm.facts
    travelling = slots if algorithm.averaged_state else 0
    return facts.float_buffers + facts.parameters * travelling, slots if algorithm.root_state else 0


def examine_apart(job: TrainingJob, manifest: Manifest, environ: Mapping[str, str]) -> int:
    """Run the checks of `examine` in a separate process, which a user's model may even crash. Raises SpecError.

    Returns the floating-point operations of a forward pass for one sample.
    """
    return _ask("examine", job, manifest, environ, "local")["forward_flops"]


def measure_apart(
    job: TrainingJob, manifest: Manifest, environ: Mapping[str, str], runtime: Runtime = "local"
) -> Size:
    """Run `measure` in a separate process. Raises SpecError."""
    return Size(**_ask("measure", job, manifest, environ, runtime))


def _ask(
    question: str, job: TrainingJob, manifest: Manifest, environ: Mapping[str, str], runtime: Runtime
) -> dict[str, int]:
    given = {"ask": question, "job": job.to_json(), "manifest": manifest.to_json(), "runtime": runtime}
    ended = apart.ask(__name__, json.dumps(given), environ)
    try:
        found = json.loads(_last_line(ended.output))
        problems = [(str(field), str(message)) for field, message in found["problems"]]
    except (ValueError, TypeError, KeyError):
        last = " ".join(ended.errors.strip().splitlines()[-1:])
        text = f"ended the process that built it (exit code {ended.code}): {last}"
        raise SpecError([("spec.model", text)]) from None
    if problems:
        raise SpecError(problems)
    size: dict[str, int] = found["size"]
    return size


def _last_line(text: str) -> str:
    return text.rstrip("\n").rpartition("\n")[2]


def answer(question: str) -> str:
    """The answer to a question of `_ask`, in the process apart.

    It begins a line: what a model prints while it is built comes before it.
    """
    return "\n" + json.dumps(_answer(json.loads(question)))


def _answer(given: dict[str, Any]) -> dict[str, Any]:
    try:
        job, manifest = parse(given["job"], given["runtime"]), Manifest.from_json(given["manifest"])
        if given["ask"] == "measure":
            return {"problems": [], "size": asdict(measure(job, manifest))}
        examine(job, manifest)
    except SpecError as error:
        return {"problems": error.problems, "size": {}}
    return {"problems": [], "size": {"forward_flops": forward_flops(job, manifest)}}


def _worker_needs(job: TrainingJob, manifest: Manifest, facts: "ModelFacts") -> Estimate:
    data = job.spec.data
    micro = min(data.micro_batch_size or data.batch_size, manifest.train_samples)
    width = 1
    for extent in manifest.shape:
        width *= extent
    row = width * (1 if manifest.dtype == "uint8" else 4)
    piece = min(max(manifest.train), -(-manifest.train_samples // job.spec.workers)) * row
    if job.spec.storage is None:
        piece = min(piece, _MAPPED_FROM)
    return estimate_worker(
        parameters=facts.parameters,
        buffers=facts.float_buffers,
        frozen=facts.frozen,
        activations_per_sample=facts.activations_per_sample,
        micro_batch=micro,
        block_bytes=min(window_of(job.spec.workers) * piece, manifest.train_samples * row)
        + 4 * width * micro,
        slots=len(optimizers.slots(job.optimizer_settings)),
        local_steps=job.spec.algorithm.facts.local_steps,
    )


def _shortage(role: str, estimate: Estimate, given: str, remedy: str) -> Iterator[tuple[str, str]]:
    shortage = estimate.shortage(parse_quantity(given))
    if shortage is not None:
        enough = -(-estimate.total // _SUGGESTED_STEP) * _SUGGESTED_STEP
        yield f"spec.memory.{role}", f"{shortage}; set at least {format_quantity(enough)}{remedy}"


def _channel(job: TrainingJob, total: int) -> Iterator[tuple[str, str]]:
    """Where the job names its tree: whether contributions can be inline, as it asks. A planner looks for a tree."""
    if job.spec.merge.channel == "Inline" and not job.planned:
        why = misfit(job.structure, job.shards, total)
        if why is not None:
            yield "spec.merge.channel", why


def _shards(total: int, shards: int, block: int) -> Iterator[tuple[str, str]]:
    try:
        structure.shard_ranges(total, shards, block)
    except ValueError as error:
        yield "spec.merge.shards", str(error)


def _batches(job: TrainingJob, manifest: Manifest, least: int) -> Iterator[tuple[str, str]]:
    """Problems of batches with one sample if the model's batch statistics need two."""
    if least > 1 and 1 in _micro_batches(job, manifest.train_samples):
        yield (
            "spec.data.batchSize",
            "leaves a worker with a micro-batch of 1 sample, on which this model's batch statistics are not "
            f"defined ({manifest.train_samples:,} samples, {job.spec.workers} workers); choose another "
            "batchSize, microBatchSize or number of workers",
        )


def _optimizer(job: TrainingJob, manifest: Manifest, facts: "ModelFacts") -> Iterator[tuple[str, str]]:
    """Parameter groups without parameters, and a validation loss to follow where nothing is held out."""
    yield from parameter_groups.unmatched(job.asked_groups, facts.names)
    if job.spec.optimizer.schedule.metric == "ValidationLoss" and not manifest.validation_samples:
        yield (
            "spec.optimizer.schedule.metric",
            "ValidationLoss needs held-out samples and there are none: raise spec.data.validationFraction, or follow "
            "TrainingLoss",
        )


def _micro_batches(job: TrainingJob, samples: int) -> set[int]:
    """The sizes of all micro-batches of an epoch: those of a full step and of the last one."""
    data, extent = job.spec.data, Extent.of(job, samples)
    micro = data.micro_batch_size or data.batch_size
    full, last = data.batch_size * job.spec.algorithm.facts.local_steps, extent.steps_per_epoch - 1
    deal = Deal(samples, full, job.spec.workers, drop_last=bool(data.drop_last))
    shares = {deal.count(rank, last) for rank in range(job.spec.workers)}
    if extent.steps_per_epoch > 1:
        shares.add(full)
    batches = {data.batch_size for share in shares if share >= data.batch_size}
    batches |= {share % data.batch_size for share in shares}
    sizes = {micro for batch in batches if batch >= micro} | {batch % micro for batch in batches}
    return sizes - {0}
