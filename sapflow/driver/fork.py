"""The first version of a fork: a copy of another job's version, under the fork's own keys and by its own spec.

Whatever does not fit is told before anything is copied. Every write is create-only and follows from the two jobs
alone, so a driver that dies in between is followed by one that does the same; commit 0 is written last.
"""

import asyncio
from collections.abc import Sequence

from sapflow.driver.memory_search import MemorySearch
from sapflow.driver.plans import Planning
from sapflow.errors import JobFailed, ObjectMissing, OtherNumerics, SapflowError, SpecError
from sapflow.messages.replies import CopyReply, InitializeReply
from sapflow.messages.requests import COPIED_AT_ONCE, Copied, CopyRequest, InitializeRequest
from sapflow.messages.vectors import Part
from sapflow.objects import keys
from sapflow.objects.stores.protocol import Store
from sapflow.planning import fork
from sapflow.planning.fork import Parent
from sapflow.planning.placement import Placement
from sapflow.records import numerics, rank_states
from sapflow.records.commits import Account, Commit, Measured, Origin, Plan, Records
from sapflow.records.digests import digests
from sapflow.records.numerics import NUMERICS
from sapflow.spec import resolved
from sapflow.spec.resolved import ResolvedJob
from sapflow.steps.context import Context

JOB, VERSION = "spec.from.job", "spec.from.version"


async def find_parent(store: Store, job: ResolvedJob) -> Parent | None:
    """The version that a fork begins at, None for a job that is none.

    Raises SpecError, which names field and remedy, if there is no such version, and StoreError.
    """
    origin, uid = job.job.spec.begins_at, job.parent_uid
    if origin is None or uid is None:
        return None
    prefix = keys.job(uid)
    records = Records(store, prefix)
    first = await records.commit(0)
    document = await records.read(keys.spec(prefix))
    if first is None or document is None:
        raise SpecError(
            [
                (
                    JOB,
                    f"there is no job {uid} in {_where(store)}, or it has no version: name a job of this store; its "
                    "objects go where it is deleted",
                )
            ]
        )
    begun = numerics.FIRST if first.numerics is None else first.numerics
    if begun != NUMERICS:
        raise OtherNumerics(
            f"{JOB}: {uid} was computed under numerics {begun}, and this release computes under numerics {NUMERICS}: "
            "fork it with the release that began it, or start from `sapflow export` with spec.model.weights"
        )
    commit = await records.commit(origin.version)
    if commit is None or origin.version < first.first_version:
        newest = await records.last()
        last = "" if newest is None else f"; its last is {newest.version}"
        raise SpecError([(VERSION, f"job {uid} has no version {origin.version}{last}")])
    was = resolved.read(document, prefix).job
    return Parent(uid, prefix, was, first, commit, await records.plan(commit.plan))


def same_data(parent: Parent, job: ResolvedJob, manifest_sha256: str) -> bool:
    """Whether the fork trains on the parent's samples, `manifest_sha256` being that of its own manifest."""
    if parent.first.data is not None:
        return parent.first.data == manifest_sha256
    was, asked = parent.job.spec, job.job.spec
    return (was.data, was.algorithm.seed) == (asked.data, asked.algorithm.seed)


class Beginning:
    """Makes the first version of a fork."""

    def __init__(self, context: Context, planning: Planning, parent: Parent, start: Commit) -> None:
        """`start`: the parent's commit as the fork goes on from it (`sapflow.planning.fork.start`)."""
        self._context, self._planning, self._parent, self._start = context, planning, parent, start

    async def make(self, placed: Placement | None, search: MemorySearch | None) -> Commit:
        """The commit of the first version, as it stands in the store. Raises SpecError, JobFailed, StoreError."""
        context, parent, start = self._context, self._parent, self._start
        described = await self._describe(estimate=search is not None)
        if found := fork.model_problems(parent, described.sizes, described.slots, described.layout):
            raise SpecError(found)
        self._planning.learn_flops(described.forward_flops)
        context.lay_out(described.layout, described.code)
        plan, forecast = self._planning.first(self._planning.size(start.sizes, described.slots))
        if placed is not None:
            plan = plan.model_copy(update={"cells": placed.cells})
        # Measured seconds would decide about the bits of a fork that nothing else tells from its parent.
        self._planning.settle()
        if fork.same_plan(parent, context.job) and parent.plan.cells == plan.cells:
            forecast = forecast if plan == parent.plan else None
            plan = parent.plan
        ident = keys.step_id(parent.commit.digest, plan.name, ["fork"])
        copied = self._copied(ident)
        told = await self._copy(copied)
        params = _renamed(start.params, copied)
        optimizer = _renamed(start.optimizer, copied)
        records = context.records
        await records.write(keys.plan(context.prefix, plan.name), plan.body(), durable=True)
        commit = start.model_copy(
            update={
                "id": ident,
                "previous": parent.commit.digest,
                "plan": plan.name,
                "slots": described.slots,
                "params": params,
                "optimizer": optimizer,
                "sha256": digests(params, optimizer, told),
                "applied": [],
                "skipped": False,
                "dealt": None,
                "judged": None,
                "kept": [],
                "account": context.caller.account,
                "measured": context.measured(None, 0.0, None),
                "forecast": forecast,
            }
        )
        if search is not None:
            commit = search.first(commit, described.memory_needed_bytes or 0)
        standing, _ = await records.settle(commit)
        await records.settle(self._record(described, plan, ident))
        context.observer.planned(await records.plan(standing.plan), standing.forecast)
        context.observer.committed(standing)
        return standing

    def _record(self, described: InitializeReply, plan: Plan, ident: str) -> Commit:
        """Commit 0: what the whole job has in common, and no objects."""
        parent, context = self._parent, self._context
        return Commit(
            version=0,
            id=ident,
            previous="",
            plan=plan.name,
            sizes=parent.commit.sizes,
            slots=described.slots,
            params=[],
            optimizer=[],
            layout=described.layout,
            code=described.code,
            weights=parent.first.weights,
            numerics=NUMERICS,
            data=context.manifest_document.sha256,
            origin=Origin(job=parent.uid, version=parent.commit.version, commit=parent.commit.digest),
            account=Account(),
            measured=Measured(),
        )

    async def _describe(self, *, estimate: bool) -> InitializeReply:
        """What the fork's own model is like."""
        context = self._context
        reply = await context.caller.call(
            "worker",
            InitializeRequest(
                job=context.uid,
                version=0,
                seconds_left=1,
                spec=context.spec_document,
                manifest=context.manifest_document,
                shards=1,
                outputs=[],
                frozen_output="",
                estimate=True if estimate else None,
                count_flops=True if self._planning.wants_flops else None,
                describe=True,
            ),
            InitializeReply,
        )
        numerics.check_worker(reply.numerics, own_image=context.job.spec.model.image is not None)
        return reply

    def _copied(self, ident: str) -> list[Copied]:
        """All objects of the version, and their keys in the fork."""
        prefix, start, parent = self._context.prefix, self._start, self._parent
        version, total, recorded = start.version, start.sizes.total, parent.commit.digests
        found = []
        for shard, part in enumerate(start.params):
            key = keys.params(prefix, version, ident, shard)
            found.append((part.key, keys.frozen(prefix, ident) if part.start >= total else key))
        for shard, part in enumerate(start.optimizer):
            found.append((part.key, keys.optimizer(prefix, version, ident, shard)))
        found += zip(
            rank_states.all_keys(start.states, parent.prefix),
            rank_states.all_keys(start.states, prefix),
            strict=True,
        )
        return [Copied(source=source, key=key, sha256=recorded.get(source)) for source, key in found]

    async def _copy(self, objects: Sequence[Copied]) -> dict[str, str]:
        """Have functions copy the objects; the SHA-256 of each by its new key."""
        told: dict[str, str] = {}
        for at in range(0, len(objects), COPIED_AT_ONCE):
            told |= await self._copy_some(objects[at : at + COPIED_AT_ONCE])
        return told

    async def _copy_some(self, objects: Sequence[Copied]) -> dict[str, str]:
        context, parent = self._context, self._parent
        request = CopyRequest(
            job=context.uid, version=parent.commit.version, seconds_left=1, objects=list(objects)
        )
        try:
            reply = await context.caller.call("merger", request, CopyReply)
        except (JobFailed, ObjectMissing) as error:
            if error.reason != ObjectMissing.reason:
                raise
            raise not_kept(parent.uid, parent.commit.version) from error
        return {each.key: sha256 for each, sha256 in zip(objects, reply.sha256, strict=True)}


def not_kept(uid: str, version: int, kept: Sequence[int] | None = None) -> SapflowError:
    """The error about a version whose objects are gone; `kept` are those that stay, if they are known."""
    named = ""
    if kept is not None:
        named = f" ({', '.join(map(str, kept)) or 'none any more'})"
    return SpecError(
        [
            (
                VERSION,
                f"job {uid} does not keep version {version} any more: name one that it keeps{named}; its "
                "spec.checkpoint says which versions stay",
            )
        ]
    )


async def is_kept(store: Store, prefix: str, commit: Commit) -> bool:
    """Whether all objects of a version are in the store."""
    names = commit.objects(prefix)
    if not names:
        return False
    found = await asyncio.gather(*(asyncio.to_thread(store.exists, name) for name in names))
    return all(found)


def _renamed(parts: Sequence[Part], copied: Sequence[Copied]) -> list[Part]:
    names = {each.source: each.key for each in copied}
    return [part.model_copy(update={"key": names[part.key]}) for part in parts]


def _where(store: Store) -> str:
    return store.url.partition("?")[0]
