"""Lets a worker function cut the data, because the driver in a cluster lacks the libraries of data and model."""

import asyncio
from dataclasses import dataclass

from sapflow.data.blocks import Manifest, load_manifest
from sapflow.data.cut import write_spec
from sapflow.data.manifest import manifest_key
from sapflow.driver.early_account import EarlyAccount
from sapflow.driver.preparation import prepare
from sapflow.errors import JobFailed, ObjectMissing
from sapflow.messages.documents import Document
from sapflow.messages.replies import CutReply
from sapflow.messages.requests import CutRequest
from sapflow.objects import keys
from sapflow.objects.stores.protocol import Store
from sapflow.records.commits import Account, Records
from sapflow.runtimes.sender import Sender
from sapflow.spec.resolved import ResolvedJob
from sapflow.steps.calls import Caller
from sapflow.steps.observer import Observer

LEAST_SECONDS = 300.0
"""Least time limit of the invocation that cuts: unlike a step, a cut cannot continue in a second invocation."""


@dataclass(frozen=True, slots=True)
class CutData:
    """A job's data in blocks, what the job has consumed until then, and what the cut found out about the model."""

    manifest: Manifest
    account: Account
    """With what earlier drivers have consumed, of a job; a search keeps its own account."""
    forward_flops: int | None = None
    """Operations of the model's forward pass for one sample; None if an earlier driver or an older function cut the
    data."""


async def cut_by_worker(
    resolved: ResolvedJob,
    store: Store,
    sender: Sender,
    observer: Observer | None = None,
    *,
    begun: str | None = None,
    spec: Document | None = None,
    at_once: int | None = None,
) -> CutData:
    """Have a worker cut the job's data, unless that is done, and check job and model against it. Raw data is prepared
    by preparers before.

    Data in a shared area may have been cut for another job, so a job is checked anyway that lacks the object `begun`,
    which is version 0 if left out. A failure is recorded in the store. `spec` is the document in the store that names
    the job; left out: the job's own, which is written. `at_once` preparers are at work at once, by default as many
    as the job has workers. Raises JobFailed, which says what is wrong with job or data, and StoreError.
    """
    job, prefix = resolved.job, resolved.prefix
    key = manifest_key(resolved.data_prefix)
    # A search has a budget of its own, which its calls keep to; its template's is that of a trial.
    budget = job.spec.limits.budget_usd if spec is None else None
    account, kept = Account(), None
    if spec is None:
        spec = await asyncio.to_thread(write_spec, resolved, store)
        kept = EarlyAccount(Records(store, prefix))
        account = await kept.read()
    if resolved.area is None or await asyncio.to_thread(store.exists, begun or keys.commit(prefix, 0)):
        try:
            return CutData(await asyncio.to_thread(load_manifest, store, key), account)
        except ObjectMissing:
            pass
    if job.spec.data.prepare is not None:
        made = await prepare(
            resolved,
            store,
            sender,
            observer,
            spec=spec,
            at_once=at_once,
            account=account,
            budget=budget,
            kept=kept,
            recorded=True,
        )
        account = made.account
    caller = Caller.of(job, sender, observer, account, least_seconds=LEAST_SECONDS)
    request = CutRequest(job=resolved.uid, version=0, seconds_left=1, spec=spec)
    try:
        reply = await caller.call("worker", request, CutReply)
    except JobFailed as failure:
        await Records(store, prefix).fail(failure, failure.version)
        raise
    finally:
        if kept is not None:
            await kept.keep(caller.account)
    manifest = await asyncio.to_thread(load_manifest, store, key)
    return CutData(manifest, caller.account, reply.forward_flops)
