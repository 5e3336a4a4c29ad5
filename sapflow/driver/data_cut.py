"""Data cut by a worker function, where the driver has neither the data's libraries nor the model's."""

import asyncio
from dataclasses import dataclass

from sapflow.data.blocks import Manifest, load_manifest
from sapflow.data.cut import write_spec
from sapflow.data.manifest import manifest_key
from sapflow.errors import JobFailed, ObjectMissing
from sapflow.messages.replies import CutReply
from sapflow.messages.requests import CutRequest
from sapflow.objects import keys
from sapflow.objects.stores.protocol import Store
from sapflow.quantities.memory import parse_quantity
from sapflow.records.commits import Account, Records
from sapflow.runtimes.sender import Sender
from sapflow.spec.training_job import TrainingJob
from sapflow.steps.calls import Caller
from sapflow.steps.observer import Observer

LEAST_SECONDS = 300.0
"""A cut cannot be continued by a second invocation, so one may take this long even where a step's may not."""


@dataclass(frozen=True, slots=True)
class CutData:
    """A job's data in blocks, and what preparing it has used and found out."""

    manifest: Manifest
    account: Account
    forward_flops: int | None = None
    """Of the model, for one sample; None where an earlier driver has prepared the data, or an older function did."""


async def cut_by_worker(
    uid: str,
    job: TrainingJob,
    store: Store,
    sender: Sender,
    observer: Observer | None = None,
    *,
    check_memory: bool = True,
) -> CutData:
    """The manifest of the job's data, cut by a worker unless that is done, and what that has used.

    `check_memory`: see PrepareRequest. A failure is kept in the store. Raises JobFailed with the message of what is
    wrong, StoreError.
    """
    prefix = keys.job(uid)
    key = manifest_key(keys.data(prefix))
    await asyncio.to_thread(write_spec, uid, job, store)
    try:
        return CutData(await asyncio.to_thread(load_manifest, store, key), Account())
    except ObjectMissing:
        pass
    spec = job.spec
    caller = Caller(
        sender,
        seconds=max(LEAST_SECONDS, spec.limits.invocation_seconds),
        retries=spec.limits.retries,
        price=job.price,
        cpus=job.cpus,
        memory={
            "worker": parse_quantity(spec.memory.worker),
            "merger": parse_quantity(spec.memory.merger),
        },
        observer=observer or Observer(),
        account=Account(),
    )
    request = CutRequest(
        job=uid, version=0, seconds_left=1, spec=keys.spec(prefix), check_memory=check_memory
    )
    try:
        reply = await caller.call("worker", request, CutReply)
    except JobFailed as failure:
        await Records(store, prefix).fail(failure, failure.version)
        raise
    manifest = await asyncio.to_thread(load_manifest, store, key)
    return CutData(manifest, caller.account, reply.forward_flops)
