"""The driver of a job: it goes on from the last commit, or makes the first, and ends with the result.

Everything that it knows comes from the store. So it may be killed and restarted at any instruction, and two drivers
at once do no harm: a driver that finds a commit of another one continues from that.
"""

import asyncio
from collections.abc import Collection
from typing import Any

from sapflow.data.blocks import Manifest, parse_manifest
from sapflow.data.cut import write_spec
from sapflow.data.manifest import manifest_key
from sapflow.driver import result
from sapflow.driver.algorithms import driver_of
from sapflow.driver.deadline import LEAST_SECONDS, Deadline, DeadlineReached, within
from sapflow.driver.evaluations import Evaluations
from sapflow.driver.failures import first_of, outcome_of_another, record, stopped_by
from sapflow.driver.fork import Beginning, find_parent, same_data
from sapflow.driver.keeper import Keeper
from sapflow.driver.memory_search import MemorySearch
from sapflow.driver.pause import Pause
from sapflow.driver.plans import Environment, Planning
from sapflow.driver.sweep import sweep_up
from sapflow.driver.walk import Walk
from sapflow.errors import AlteredObject, CorruptObject, JobFailed, SapflowError
from sapflow.messages.documents import Document
from sapflow.messages.replies import InitializeReply
from sapflow.messages.requests import InitializeRequest
from sapflow.objects import keys
from sapflow.objects.stores.protocol import Store
from sapflow.planning import fork, placement
from sapflow.planning.other_workers import WorkersChanged, dealt_anew
from sapflow.planning.placement import Placement
from sapflow.records import numerics
from sapflow.records.commits import INTERRUPTED, Account, Commit, Records, ScheduleLengths
from sapflow.records.digests import digests
from sapflow.records.numerics import NUMERICS
from sapflow.records.plateau import PlateauState
from sapflow.runtimes.sender import Sender
from sapflow.spec.resolved import ResolvedJob
from sapflow.steps.algorithm import AlgorithmDriver
from sapflow.steps.calls import Caller
from sapflow.steps.context import Context, frozen_part, shard_parts
from sapflow.steps.garbage import CellGarbage
from sapflow.steps.leftovers import Leftovers
from sapflow.steps.observer import Observer

_LEAVE_MODEL = ("DeadlineExceeded", "BudgetExceeded", "NotFinite", "TooManySkipped")
"""Reasons that end a job whose functions are well."""
_EXPORT_SECONDS = 120.0


class Driver:
    """Trains one job. `run`, or `run_until`, may be called once."""

    def __init__(
        self,
        resolved: ResolvedJob,
        manifest: Manifest,
        store: Store,
        sender: Sender,
        observer: Observer | None = None,
        account: Account | None = None,
        environment: Environment | None = None,
        placed: Placement | None = None,
        stopped: str | None = None,
        ends: float | None = None,
        workers: int | None = None,
        pinned: Collection[int] = (),
    ) -> None:
        """`account` is what was used before the first version, to cut the data. `environment` has facts for planning.

        `workers`: a job that has begun with another number goes on with this one; None: with as many as it had.
        `placed`: how the job's functions are packed into cells, where that has been decided already. `stopped`: why
        the driver before this one has stopped, where it may not have told the store. `ends`: the time (`time.time()`)
        at which a job with a deadline must have ended, whatever the sum of its drivers' times is. `pinned`: versions
        that stay in the store, because other jobs have begun at them.
        Raises SpecError if the functions cannot be packed.
        """
        self._search, self._runtime = resolved.search, resolved.runtime
        self._earlier_account, self._environment = account or Account(), environment or Environment()
        self._sender, self._observer = sender, observer or Observer()
        self._resolved = resolved
        self._uid, self._prefix, self._job = resolved.uid, resolved.prefix, resolved.job
        self._manifest, self._store = manifest, store
        self._records = Records(store, self._prefix)
        self._stopped, self._ends = stopped, ends
        self._workers, self._pinned = workers, pinned
        self._placed = placed or placement.of(self._job)
        self._garbage = None if self._placed is None else CellGarbage(self._placed.count)

    async def run(self) -> dict[str, Any]:
        """Train to the end; the outcome record. Raises JobFailed, StoreError, and SpecError if the job cannot go on
        with another number of workers."""
        outcome = await self.run_until(None)
        assert not isinstance(outcome, Pause)
        return outcome

    async def run_until(self, version: int | None) -> dict[str, Any] | Pause:
        """Train until `version` is committed and evaluated, where the job pauses; None, or if it ends before: as `run`.

        Another driver goes on from there.
        """
        while True:
            try:
                return await self._run(version)
            except WorkersChanged:
                # Another driver has changed the number of workers: this one goes on with that.
                self._workers = None

    async def _run(self, until: int | None) -> dict[str, Any] | Pause:
        standing = await self._records.read(keys.result(self._prefix, "outcome.json"))
        if standing is not None:
            await sweep_up(self._resolved, self._store, self._pinned)
            self._observer.finished(standing)
            return dict(standing)
        last = await self._records.last()
        first = last if last is None or last.version == 0 else await self._records.commit(0)
        self._check_numerics(first)
        before = None if last is None else await self._records.plan(last.plan)
        if before is not None:
            self._job = self._job.with_workers(self._workers or before.workers)
        changed = before is not None and before.workers != self._job.spec.workers
        start = last
        if last is not None and before is not None and changed:
            start = dealt_anew(last, self._job, self._manifest.train_samples, before.workers)
        documents = await asyncio.to_thread(self._documents)
        parent = None if last is not None else await find_parent(self._store, self._resolved)
        if parent is not None:
            same = same_data(parent, self._resolved, documents[1].sha256)
            start = fork.start(parent, self._job, self._manifest.train_samples, same_data=same)
        deadline = Deadline(self._records, self._job.spec.limits.deadline_seconds, self._ends)
        account = await deadline.account(last.account if last else self._earlier_account)
        context = self._context(account, *documents, start.lengths if start else None)
        why = await self._records.take_failure(last.version if last else 0)
        context.caller.tally.resumed = self._stopped or why or (INTERRUPTED if last else None)
        keeper = Keeper(self._store, self._records, self._prefix, self._job.spec.checkpoint, self._garbage)
        evaluations = Evaluations(context, keeper)
        planning = Planning(context, self._environment)
        walk: Walk | None = None
        resumed = last is not None
        deadline.start(lambda: context.caller.account.seconds)
        try:
            if last is None or start is None:
                left = deadline.left
                least = None if left is None else max(left, LEAST_SECONDS)
                begun = (
                    self._initialize(context, planning)
                    if parent is None or start is None
                    else Beginning(context, planning, parent, start).make(
                        self._placed, self._memory_search(context)
                    )
                )
                last = start = await within(least, begun)
                if parent is not None:
                    await self._take_up(last, keeper, evaluations)
            else:
                await self._resume_plan(context, planning, first, last)
                if changed:
                    start = await self._planned_anew(planning, start)
                self._observer.resumed(start)
            plan = await self._records.plan(start.plan)
            algorithm = driver_of(context.facts.name)(
                context, start, plan, resumed=resumed, meanwhile=keeper.sweep
            )
            if changed and before is not None:
                algorithm.dealt_from = (last, before)
            if resumed:
                await self._inherit(algorithm, keeper, last)
                await evaluations.recover(last)
                keeper.collect()
            search = self._memory_search(context)
            walk = Walk(context, algorithm, plan, keeper, evaluations, planning, search, until)
            chosen = await within(deadline.left, walk.to_the_end())
            await keeper.settle()
            if walk.paused:
                metrics = await within(deadline.left, evaluations.measure(walk.last))
                return Pause(walk.version, metrics, context.caller.account)
            await keeper.record_checkpoint(chosen)
            exports = not self._environment.of_search
            if first is None:
                first = start if start.version == 0 else await self._first()
            outcome = await result.write(context, evaluations, first, walk.last, chosen, exports=exports)
            evaluations.release_all_but(chosen)
        except (SapflowError, ExceptionGroup) as error:
            failure = first_of(error)
            version = walk.version if walk is not None else last.version if last is not None else -1
            if isinstance(failure, DeadlineReached):
                failure = await self._stopped_late(keeper, walk.last if walk is not None else last)
            if isinstance(failure, JobFailed):
                failure.version = version
            standing = await outcome_of_another(self._records, self._prefix)
            if standing is None and isinstance(failure, JobFailed):
                await self._leave_model(context, walk, failure)
            if standing is None:
                await record(self._records, failure, version)
                raise failure from None
            outcome = standing
        finally:
            await deadline.stop()
            await evaluations.close()
            await keeper.settle()
        newest = None if walk is None else walk.last
        await sweep_up(self._resolved, self._store, self._pinned, outcome=outcome, known=newest)
        self._observer.finished(outcome)
        return outcome

    async def _first(self) -> Commit:
        """Commit 0. Raises CorruptObject if there is none."""
        first = await self._records.commit(0)
        if first is None:
            raise CorruptObject(f"commit 0 of job {self._uid} is missing")
        return first

    async def _stopped_late(self, keeper: Keeper, last: Commit | None) -> SapflowError:
        """The failure of a job whose deadline is reached, with `last` as its checkpoint; a StoreError if that fails."""
        stop = f"spec.limits.deadlineSeconds ({self._job.spec.limits.deadline_seconds}) is reached"
        if last is None:
            return JobFailed(
                f"{stop} before the first version was made", reason=DeadlineReached.reason, version=-1
            )
        try:
            await keeper.record_checkpoint(last)
        except SapflowError as error:
            return error
        return stopped_by(stop, DeadlineReached.reason, last.version, self._runtime)

    def _check_numerics(self, first: Commit | None) -> None:
        """Refuse a job that a release with other numerics began. Raises OtherNumerics."""
        record, what = (self._manifest, "the cut data") if first is None else (first, "version 0")
        numerics.check(self._uid, record.numerics, what=what, cluster=self._runtime == "kubernetes")

    def _documents(self) -> tuple[Document, Document]:
        """Spec and manifest as functions are to find them. Raises AlteredObject, ObjectMissing, StoreError."""
        key = manifest_key(self._resolved.data_prefix)
        written = bytes(self._store.read(key))
        if parse_manifest(written, key) != self._manifest:
            raise AlteredObject(
                f"{key} in the store has changed since it was read: somebody replaces it; start the job anew"
            )
        return write_spec(self._resolved, self._store), Document.of(key, written)

    def _context(
        self,
        account: Account,
        spec_document: Document,
        manifest_document: Document,
        lengths: ScheduleLengths | None,
    ) -> Context:
        budget = self._job.spec.limits.budget_usd
        caller = Caller.of(
            self._job, self._sender, self._observer, account, garbage=self._garbage, budget=budget
        )
        return Context(
            self._uid,
            self._prefix,
            self._job,
            self._manifest,
            self._store,
            self._records,
            caller,
            self._observer,
            spec_document,
            manifest_document,
            images=None if self._environment.images is None else dict(self._environment.images),
            lengths=lengths,
        )

    def _memory_search(self, context: Context) -> MemorySearch | None:
        """The search for the workers' memory size, or None if the job asks for none."""
        return None if self._search is None else MemorySearch(self._search, context.full_samples)

    async def _initialize(self, context: Context, planning: Planning) -> Commit:
        """Make version 0: a worker writes the model from its seed, and the model's size determines the plan."""
        job = self._job
        shards = job.shards
        ident = keys.step_id("", keys.digest({"shards": shards, "numerics": NUMERICS}))
        outputs = [keys.params(self._prefix, 0, ident, shard) for shard in range(shards)]
        reply = await context.caller.call(
            "worker",
            InitializeRequest(
                job=self._uid,
                version=0,
                seconds_left=1,
                spec=context.spec_document,
                manifest=context.manifest_document,
                shards=shards,
                outputs=outputs,
                frozen_output=keys.frozen(self._prefix, ident),
                estimate=True if self._search is not None else None,
                count_flops=True if planning.wants_flops else None,
            ),
            InitializeReply,
        )
        numerics.check_worker(reply.numerics, own_image=job.spec.model.image is not None)
        planning.learn_flops(reply.forward_flops)
        sizes = reply.sizes
        plan, forecast = planning.first(planning.size(sizes, reply.slots))
        if self._placed is not None:
            plan = plan.model_copy(update={"cells": self._placed.cells})
        wrote = await self._records.write(keys.plan(self._prefix, plan.name), plan.body(), durable=True)
        workers = job.spec.workers
        context.lay_out(reply.layout, reply.code)
        parts = shard_parts(sizes, shards, outputs) + frozen_part(self._prefix, ident, sizes)
        known = {part.key: each for part, each in zip(parts, reply.sha256 or (), strict=False)}
        commit = Commit(
            version=0,
            id=ident,
            previous="",
            plan=plan.name,
            sizes=sizes,
            slots=reply.slots,
            params=parts,
            optimizer=[],
            counters=[0] * workers if context.facts.counts_ranks else [],
            layout=reply.layout,
            code=reply.code,
            weights=reply.weights,
            numerics=NUMERICS,
            data=context.manifest_document.sha256,
            sha256=digests(parts, [], known),
            plateau=PlateauState() if context.schedule.name == "Plateau" else None,
            account=context.caller.account,
            measured=context.measured(None, 0.0, None),
            forecast=forecast,
        )
        memory_search = self._memory_search(context)
        if memory_search is not None:
            commit = memory_search.first(commit, reply.memory_needed_bytes or 0)
        standing, _ = await self._records.settle(commit)
        if not wrote or standing.plan != plan.name:
            plan = await self._records.plan(standing.plan)
        self._observer.planned(plan, standing.forecast)
        self._observer.committed(standing)
        return standing

    async def _take_up(self, first: Commit, keeper: Keeper, evaluations: Evaluations) -> None:
        """What is due of a fork's first version, which no step has made."""
        if await keeper.checkpoint(first):
            self._observer.checkpointed(first.version)
        if evaluations.due(first.version):
            evaluations.start(first)

    async def _resume_plan(
        self, context: Context, planning: Planning, first: Commit | None, last: Commit
    ) -> None:
        """Continue with the plan of the last commit."""
        if first is not None:
            context.lay_out(first.layout, first.code)
            planning.resume(first, last)
            if first.origin is not None:
                planning.settle()
        self._observer.planned(await self._records.plan(last.plan), first.forecast if first else None)

    async def _planned_anew(self, planning: Planning, start: Commit) -> Commit:
        """`start` as if it named a plan for the workers of now.

        The next commit names that plan. Until then, a driver that starts comes to the same once more.
        """
        plan, forecast = planning.first(planning.size(start.sizes, start.slots))
        planning.settle()
        await self._records.write(keys.plan(self._prefix, plan.name), plan.body(), durable=True)
        self._observer.planned(plan, forecast)
        return start.model_copy(update={"plan": plan.name})

    async def _inherit(self, algorithm: AlgorithmDriver, keeper: Keeper, last: Commit) -> None:
        """Take over the objects that an earlier driver was yet to remove."""
        for version in self._pinned:
            if (commit := await self._records.commit(version)) is not None:
                keeper.hold(commit, "forks", with_optimizer=True)
        for version in sorted({*last.kept, max(0, last.version - 1), last.version}):
            commit = await self._records.commit(version)
            if commit is not None:
                await keeper.inherit(commit, await self._leftovers(algorithm, commit), last)

    async def _leftovers(self, algorithm: AlgorithmDriver, commit: Commit) -> Leftovers:
        """The objects that were needed only to make a commit."""
        before = await self._records.commit(commit.version - 1) if commit.version else None
        if before is None:
            return Leftovers()
        plan = await self._records.plan(before.plan)
        if commit.dealt is None:
            return algorithm.inherited(before, plan, commit)
        made_by = await self._records.plan(commit.dealt)
        job, samples = self._job.with_workers(made_by.workers), self._manifest.train_samples
        dealt = dealt_anew(before, job, samples, plan.workers).model_copy(update={"plan": made_by.name})
        return algorithm.inherited(dealt, made_by, commit) + algorithm.abandoned(before, plan)

    async def _leave_model(self, context: Context, walk: "Walk | None", failure: JobFailed) -> None:
        """In a cluster, write the model of a job that was stopped by a limit or diverged.

        Elsewhere `sapflow export` makes it from the version that stays.
        """
        if (
            self._runtime != "kubernetes"
            or self._environment.of_search
            or walk is None
            or walk.version < 1
            or failure.reason not in _LEAVE_MODEL
        ):
            return
        try:
            first = await self._records.commit(0)
            if first is not None:
                async with asyncio.timeout(_EXPORT_SECONDS):
                    failure.model = await result.write_stopped(
                        context.caller, self._resolved, self._manifest, self._store, first, walk.last
                    )
        except (SapflowError, TimeoutError) as error:
            failure.add_note(f"(its model could not be written: {error})")
