"""Makes a job's versions again, from its records, on a store of their own over the job's.

The keys of a step follow from the commits before it, so a step that is made again writes the same keys; the store
(`sapflow.objects.stores.overlay`) keeps the two apart.
"""

import asyncio
import hashlib
from collections.abc import Mapping

from sapflow.data.blocks import Manifest, parse_manifest
from sapflow.data.manifest import manifest_key
from sapflow.driver.algorithms import driver_of
from sapflow.errors import CorruptObject, ObjectMissing
from sapflow.messages.documents import Document
from sapflow.messages.replies import InitializeReply
from sapflow.messages.requests import InitializeRequest
from sapflow.objects import keys
from sapflow.objects.stores.protocol import Store
from sapflow.planning.other_workers import dealt_anew
from sapflow.records import rank_states
from sapflow.records.commits import Commit, Records, ScheduleLengths
from sapflow.records.digests import digests
from sapflow.records.plateau import PlateauState
from sapflow.runtimes.sender import Sender
from sapflow.spec.resolved import ResolvedJob
from sapflow.spec.training_job import TrainingJob
from sapflow.steps.calls import Caller
from sapflow.steps.context import Context
from sapflow.steps.observer import Observer


class Replay:
    """Computes versions of one job again."""

    def __init__(
        self, resolved: ResolvedJob, store: Store, sender: Sender, observer: Observer | None = None
    ) -> None:
        """`store` is the one that functions of the sender open: it reads the job's, and writes elsewhere."""
        self._resolved, self._job, self._prefix = resolved, resolved.job, resolved.prefix
        self._store, self._sender, self._observer = store, sender, observer or Observer()
        self._records = Records(store, self._prefix)
        self._caller = self._make_caller()

    async def first(self, first: Commit) -> Commit:
        """Version 0 again, from the model's seed: its commit with the SHA-256 of what was written."""
        context = await self._context(first, self._job, None)
        parts = [part for part in first.params if part.start < first.sizes.total]
        frozen = next((part.key for part in first.params if part.start >= first.sizes.total), None)
        reply = await self._caller.call(
            "worker",
            InitializeRequest(
                job=self._resolved.uid,
                version=0,
                seconds_left=1,
                spec=context.spec_document,
                manifest=context.manifest_document,
                shards=len(parts),
                outputs=[part.key for part in parts],
                frozen_output=frozen or keys.frozen(self._prefix, first.id),
            ),
            InitializeReply,
        )
        told = zip(first.params, reply.sha256 or (), strict=False)
        known = {part.key: sha256 for part, sha256 in told}
        return first.model_copy(update={"sha256": digests(first.params, [], known)})

    async def copied(self, first: Commit, begun: Commit) -> Commit:
        """The first version of a fork again, from the job that it began at; `first` is commit 0, `begun` its commit.

        Raises ObjectMissing if that job does not keep the version any more.
        """
        assert first.origin is not None, "no job but a fork begins with copies"
        prefix = keys.job(first.origin.job)
        parent = await Records(self._store, prefix).commit(first.origin.version)
        if parent is None or parent.digest != first.origin.commit:
            raise ObjectMissing(f"job {first.origin.job} is gone, or is another one now")
        sources = [part.key for part in (*parent.params, *parent.optimizer)]
        names = [part.key for part in (*begun.params, *begun.optimizer)]
        sources += rank_states.all_keys(begun.states, prefix)
        names += rank_states.all_keys(begun.states, self._prefix)
        known = {}
        for source, key in zip(sources, names, strict=True):
            content = await asyncio.to_thread(self._store.read, source)
            await asyncio.to_thread(self._store.create, key, content)
            known[key] = hashlib.sha256(content).hexdigest()
        return begun.model_copy(update={"sha256": digests(begun.params, begun.optimizer, known)})

    async def step(
        self, first: Commit, before: Commit, made: Commit, versions: Mapping[int, Commit]
    ) -> Commit:
        """The step from `before` to `made` again: a commit with the SHA-256 of what was written.

        `first` is commit 0. `versions` are the commits that asynchronous contributions were computed on. What only the
        step needed is removed. Raises JobFailed, StoreError.
        """
        start, plan_name = before, made.dealt or before.plan
        plan = await self._records.plan(plan_name)
        job = self._job.with_workers(plan.workers)
        _, manifest = await self._manifest()
        if made.dealt is not None:
            workers = (await self._records.plan(before.plan)).workers
            dealt = dealt_anew(before, job, manifest.train_samples, workers)
            start = dealt.model_copy(update={"plan": plan_name})
        context = await self._context(first, job, start.lengths)
        # The channels of cells need nodes with volumes; what is summed is the same without them.
        local = plan.model_copy(update={"cells": None})
        algorithm = driver_of(context.facts.name)(
            context, start, local, resumed=False, meanwhile=lambda: None
        )
        algorithm.plateau = self._plateau(context, start, made)
        try:
            again = await algorithm.again(made, versions)
            await asyncio.to_thread(self._store.delete, algorithm.leftovers(again).keys)
        finally:
            await algorithm.close()
        return again

    def _plateau(self, context: Context, before: Commit, made: Commit) -> PlateauState | None:
        """Where the schedule Plateau stood in the step. By the validation loss, the step's commit has it unchanged."""
        return made.plateau if context.schedule.metric == "ValidationLoss" else before.plateau

    async def _manifest(self) -> tuple[Document, Manifest]:
        key = manifest_key(self._resolved.data_prefix)
        written = bytes(await asyncio.to_thread(self._store.read, key))
        return Document.of(key, written), parse_manifest(written, key)

    async def _context(self, first: Commit, job: TrainingJob, lengths: ScheduleLengths | None) -> Context:
        document, manifest = await self._manifest()
        key = keys.spec(self._prefix)
        spec = Document.of(key, bytes(await asyncio.to_thread(self._store.read, key)))
        if not first.layout:
            raise CorruptObject(
                f"{keys.commit(self._prefix, 0)} does not say where the model's parameters lie"
            )
        context = Context(
            self._resolved.uid,
            self._prefix,
            job,
            manifest,
            self._store,
            self._records,
            self._caller,
            self._observer,
            spec,
            document,
            lengths=lengths,
        )
        context.lay_out(first.layout, first.code)
        return context

    def _make_caller(self) -> Caller:
        return Caller.of(self._job, self._sender, self._observer)
