"""A worker's work: initialise a model, compute one rank's contribution.

The loop over a rank's micro-batches is in this file; what is made of them is the algorithm's
(`sapflow.algorithms.*.worker`). What is written depends only on the request.
"""

import base64
from importlib import import_module

import numpy as np

from sapflow.algorithms import optimizers
from sapflow.algorithms.merge import write
from sapflow.algorithms.worker import AlgorithmWorker
from sapflow.channels.channels import Channels
from sapflow.errors import InputsChanged, InvocationError, SpecError
from sapflow.messages.replies import InitializeReply, TrainReply
from sapflow.messages.requests import InitializeRequest, TrainRequest
from sapflow.objects import contribution, keys, safetensor
from sapflow.objects.stores.digested import create_digested
from sapflow.objects.stores.protocol import Store
from sapflow.objects.sums import Sums
from sapflow.quantities import structure
from sapflow.records.numerics import NUMERICS
from sapflow.timing import Timing
from sapflow.training import weights
from sapflow.training.loaded import JobCache, LoadedJob

_CODE = "code"
"""In the metadata of version 0: the fingerprint of the code and of the file of weights that made it."""


def initialize(store: Store, jobs: JobCache, request: InitializeRequest, timing: Timing) -> InitializeReply:
    """Write version 0 of the parameters, unless the model is only to be described. The reply has their sizes, and the
    layout of named tensors on them."""
    loaded = jobs.get(request.spec, request.manifest)
    model, sizes = loaded.model, loaded.sizes

    def may_go_on() -> None:
        if not timing.may_start():
            raise InvocationError(
                "reading spec.model.weights was not done in time: raise spec.limits.invocationSeconds",
                reason="InvocationTimeout",
            )

    if request.describe:
        return _described(loaded, timing)
    with timing.phase("read"):
        started_from = weights.load(loaded.job.spec.model, model.module, store, may_go_on)
    vector = np.zeros(sizes.total, np.float32)
    vector[: len(model.values)] = model.values
    for row, slot in enumerate(loaded.slots if loaded.facts.averaged_state else ()):
        start = len(model.values) + row * sizes.parameters
        vector[start : start + sizes.parameters] = optimizers.initial(loaded.settings, slot)
    metadata = model.tensors.to_metadata() | {"raw": base64.b64encode(model.raw()).decode()}
    if loaded.modules or started_from is not None:
        metadata[_CODE] = keys.digest([loaded.modules, started_from], 32)
    try:
        ranges = structure.shard_ranges(sizes.total, request.shards, sizes.block)
    except ValueError as error:
        raise SpecError([("spec.merge.shards", str(error))]) from error
    with timing.phase("write"):
        sha256 = []
        for key, (start, stop) in zip(request.outputs, ranges, strict=True):
            content = contribution.encode(vector[start:stop], metadata)
            (written,) = create_digested(store, [(key, content)], durable=True)
            if not written.created:
                _refuse_another_model(store, key, stop - start, metadata.get(_CODE))
            sha256.append(written.sha256)
        if sizes.frozen:
            frozen = contribution.encode(model.frozen, {})
            (written,) = create_digested(store, [(request.frozen_output, frozen)], durable=True)
            sha256.append(written.sha256)
    return _described(loaded, timing).model_copy(update={"weights": started_from, "sha256": sha256})


def _described(loaded: LoadedJob, timing: Timing) -> InitializeReply:
    """What is told of a model, whether or not it was written."""
    return InitializeReply(
        done=True,
        sizes=loaded.sizes,
        slots=list(loaded.slots),
        layout=[entry.to_json() for entry in loaded.model.layout],
        code=loaded.modules or None,
        numerics=NUMERICS,
        **timing.report(),
    )


def _refuse_another_model(store: Store, key: str, count: int, code: str | None) -> None:
    """Raise InputsChanged if what stands in place of version 0 was written by other code than there is now."""
    with store.open(key) as reader:
        head = bytes(reader.next(8))
        header = safetensor.decode_header(
            head + bytes(reader.next(safetensor.header_length(head, key) - 8)), key
        )
    tensor = header.tensors.get(contribution.NAME)
    if tensor is None or tensor.shape != (count,) or header.metadata.get(_CODE) != code:
        raise InputsChanged(
            "the model's code, or the file of its first weights, has changed since this job was begun, and what it "
            "began with is no version yet: begin anew with `sapflow run --again` (in Python: again=True), or give it "
            "another metadata.name"
        )


def train(
    store: Store, channels: Channels, jobs: JobCache, request: TrainRequest, timing: Timing
) -> TrainReply:
    """Compute and write a contribution, or a cursor if the time limit comes first."""
    with timing.phase("read"):
        loaded = jobs.get(request.spec, request.manifest, request.code)
        carried = channels.carried if channels.carries(request.may_carry()) else None
        loaded.hold(request.params, request.sizes, carried)
        loaded.model.module.train()
        loaded.serve(request)
    try:
        return _contribute(store, channels, loaded, request, timing)
    finally:
        loaded.served(jobs.memory_bytes, runs_on=jobs.runs_on)


def _contribute(
    store: Store, channels: Channels, loaded: LoadedJob, request: TrainRequest, timing: Timing
) -> TrainReply:
    work = worker_of(loaded.facts.name)(loaded, request)
    with timing.phase("read"):
        if request.cursor is not None:
            work.resume(store, request.cursor)
        elif request.state is not None:
            work.take_state(store, request.state)
            timing.bytes["read"] += work.state_bytes
    for micro in range(work.first, len(work.batches)):
        if not timing.may_start():
            key = keys.cursor(request.outputs[0].key, micro)
            with timing.phase("write"):
                work.save(store, key, micro)
            return TrainReply(done=False, cursor=key, data=loaded.data_reads(), **timing.report())
        work.compute(micro, timing)
    with np.errstate(over="ignore", invalid="ignore"):
        vector, sums = work.finish()
    loaded.check_frozen()
    metadata = sums.to_metadata()
    with timing.phase("write"):
        state_sha256 = None
        if request.state_output is not None:
            state_sha256 = work.keep_state(store, request.state_output)
            timing.bytes["written"] += work.state_bytes
        for ref in request.outputs:
            write(channels, ref, vector[ref.start : ref.stop], metadata)
    timing.bytes["written"] += vector.nbytes
    return TrainReply(
        done=True,
        samples=sums.weight,
        losses=_finite_or_none(sums),
        state_sha256=state_sha256,
        data=loaded.data_reads(),
        **timing.report(),
    )


def worker_of(name: str) -> type[AlgorithmWorker]:
    """The class `Worker` of `sapflow.algorithms.NAME.worker`: the worker's side of an algorithm."""
    found: type[AlgorithmWorker] = import_module(f"sapflow.algorithms.{name}.worker").Worker
    return found


def _finite_or_none(sums: Sums) -> dict[str, float | None]:
    return {name: value if np.isfinite(value) else None for name, value in sums.losses.items()}
