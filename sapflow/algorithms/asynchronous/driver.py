"""The driver's side of asynchronous mode: ranks compute on the newest version, and the root applies contributions in
the order that the driver chooses.

Contribution k of a rank is named by rank, k and the version that it was computed on. A commit applies one or more
contributions, each only if k is the next number of its rank. Staleness is the number of commits between the version
that a contribution was computed on and the one that it makes. It stays within `maxStaleness`: while the oldest
contribution under way has reached it, nothing else is committed, and a rank starts again only when its last
contribution is committed. Nothing is dropped.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sapflow.errors import ObjectMissing, SapflowError
from sapflow.messages.refs import Ref
from sapflow.messages.replies import RootReply, TrainReply
from sapflow.messages.requests import RootRequest, TrainRequest
from sapflow.objects import keys
from sapflow.records.commits import Applied, Commit, Plan
from sapflow.records.digests import digests
from sapflow.steps.algorithm import AlgorithmDriver
from sapflow.steps.context import Context, objects_after, written_by
from sapflow.steps.leftovers import Leftovers


@dataclass(frozen=True)
class Pending:
    """A contribution that is computed or waits to be applied."""

    rank: int
    count: int
    base: int


class Driver(AlgorithmDriver):
    """Keeps all ranks computing, and makes commits from their contributions, one at a time."""

    repeatable = False

    def __init__(
        self,
        context: Context,
        commit: Commit,
        plan: Plan,
        *,
        resumed: bool,
        meanwhile: Callable[[], None],
    ) -> None:
        super().__init__(context, commit, plan, resumed=resumed, meanwhile=meanwhile)
        workers = context.job.spec.workers
        asked = context.job.spec.algorithm.max_staleness
        self.max_staleness = workers if asked is None else asked
        self._computing: dict[asyncio.Task[None], Pending] = {}
        self._ready: list[Pending] = []
        self._params = {commit.version: commit.params}
        self._cursors: dict[Pending, list[str]] = {}
        self._dropped: list[Ref] = []
        self._written: dict[str, str] = {}
        self._given_up: list[asyncio.Task[None]] = []
        self._resumed_at = commit.version
        self._maybe_left = set(range(workers)) if commit.version else set()

    @property
    def finished(self) -> bool:
        ranks = range(self.context.job.spec.workers)
        return all(self._next(rank) is None for rank in ranks)

    def held_versions(self) -> set[int]:
        return {pending.base for pending in self._computing.values()}

    async def next_commit(self) -> Commit:
        """Wait until a commit is due, and make it."""
        started = time.perf_counter()
        self._start_ranks()
        self.meanwhile()
        while not self._due():
            await self._one_more()
        batch = list(self._ready)
        ident = keys.step_id(
            self.commit.digest, self.plan.name, [f"{p.rank}-{p.count}-{p.base}" for p in batch]
        )
        root = asyncio.create_task(self._apply(batch, ident))
        try:
            while not root.done():
                waiting: set[asyncio.Task[Any]] = {root, *self._computing}
                done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                self._collect(done - {root})
        finally:
            root.cancel()
        return self._to_commit(batch, ident, root.result(), time.perf_counter() - started)

    async def again(self, made: Commit, versions: Mapping[int, Commit]) -> Commit:
        """The contributions that the commit applied are computed on the versions that they were computed on."""
        batch = [Pending(one.rank, one.count, one.base) for one in made.applied]
        self._params = {version: commit.params for version, commit in versions.items()}
        async with asyncio.TaskGroup() as group:
            for pending in batch:
                group.create_task(self._compute(pending))
        return self._to_commit(batch, made.id, await self._apply(batch, made.id), 0.0)

    def settle(self, commit: Commit, plan: Plan) -> None:
        """Take note of a commit: the contributions that it applied are done.

        If another driver made the commit, our contributions may not be needed any more, or be too stale; then they are
        computed again.
        """
        super().settle(commit, plan)
        self._params[commit.version] = commit.params
        for pending in [p for p in self._ready if not self._of_use(p)]:
            self._ready.remove(pending)
            self._dropped.append(self._ref(pending))
        for task, pending in [(t, p) for t, p in self._computing.items() if not self._of_use(p)]:
            task.cancel()
            del self._computing[task]
            self._given_up.append(task)
            self._dropped.append(self._ref(pending))
        live = self.held_versions() | {commit.version}
        self._params = {version: parts for version, parts in self._params.items() if version in live}

    async def close(self) -> None:
        for task in self._computing:
            task.cancel()
        await asyncio.gather(*self._computing, *self._given_up, return_exceptions=True)

    def leftovers(self, commit: Commit) -> Leftovers:
        """The leftovers of a commit, including those of an earlier driver's contributions."""
        oldest = max(0, self._resumed_at - self.max_staleness)
        found, self._dropped = self._dropped, []
        cursors: list[str] = []
        for one in commit.applied:
            bases = {one.base}
            if one.rank in self._maybe_left:
                self._maybe_left.discard(one.rank)
                bases.update(range(oldest, self._resumed_at + 1))
            for pending in (Pending(one.rank, one.count, base) for base in bases):
                found.append(self._ref(pending))
                cursors += self._cursors.pop(pending, [])
        return Leftovers.of(found, cursors)

    def contributions(self) -> Leftovers:
        return Leftovers()

    def inherited(self, before: Commit, plan: Plan, made: Commit) -> Leftovers:
        return Leftovers.of(self._ref(Pending(one.rank, one.count, one.base)) for one in made.applied)

    def _next(self, rank: int) -> int | None:
        """The number of the rank's next contribution. Steps in which it has no samples are skipped."""
        count = self.commit.counters[rank]
        while count < self.context.total_steps:
            if self.context.slices_of(self.context.cursor_of(count), rank):
                return count
            count += 1
        return None

    def _of_use(self, pending: Pending) -> bool:
        """Whether the next commit may apply a contribution."""
        late = self.commit.version - pending.base
        return pending.count == self._next(pending.rank) and late <= self.max_staleness

    def _start_ranks(self) -> None:
        busy = {p.rank for p in [*self._computing.values(), *self._ready]}
        for rank in range(self.context.job.spec.workers):
            count = self._next(rank) if rank not in busy else None
            if count is not None:
                pending = Pending(rank, count, self.commit.version)
                self._computing[asyncio.create_task(self._compute(pending))] = pending

    def _due(self) -> bool:
        """Whether to commit the contributions that are ready; not if that made the oldest one under way too stale."""
        if not self._ready:
            return False
        oldest = min((p.base for p in self._computing.values()), default=self.commit.version)
        return not self._computing or self.commit.version - oldest < self.max_staleness

    async def _one_more(self) -> None:
        done, _ = await asyncio.wait(set(self._computing), return_when=asyncio.FIRST_COMPLETED)
        self._collect(done)

    def _collect(self, done: set[asyncio.Task[Any]]) -> None:
        """Take the finished contributions. Raises their errors, unless another driver's progress explains them."""
        missed = False
        for task in sorted(done, key=lambda one: (self._computing[one].base, self._computing[one].rank)):
            pending = self._computing.pop(task)
            error = task.exception()
            if error is None:
                self._ready.append(pending)
            elif pending.base < self.commit.version and _is_missing(error):
                # Another driver has removed the version that this contribution was to be computed on.
                missed = True
            else:
                raise error
        if missed:
            self._start_ranks()

    async def _compute(self, pending: Pending) -> None:
        context = self.context
        cursor = context.cursor_of(pending.count)
        following = pending.count + 1
        last = following >= context.total_steps
        request = TrainRequest(
            job=context.uid,
            version=pending.count,
            seconds_left=1,
            spec=context.spec_document,
            manifest=context.manifest_document,
            code=context.code,
            rank=pending.rank,
            params=self._params[pending.base],
            sizes=self.commit.sizes,
            epoch=cursor.epoch,
            slices=context.slices_of(cursor, pending.rank),
            ahead=None if last else context.ahead(context.cursor_of(following), pending.rank),
            outputs=[self._ref(pending)],
        )
        await context.caller.call(
            "worker", request, TrainReply, self._cursors.setdefault(pending, []), level=0
        )

    def _ref(self, pending: Pending) -> Ref:
        key = keys.async_contribution(self.context.prefix, pending.rank, pending.count, pending.base, 0)
        return Ref(key=key, start=0, stop=self.commit.sizes.total)

    async def _apply(self, batch: list[Pending], ident: str) -> RootReply:
        context, commit = self.context, self.commit
        sizes, version = commit.sizes, commit.version + 1
        rates = [context.learning_rate(commit.updates + each, self.plateau) for each in range(len(batch))]
        request = RootRequest(
            job=context.uid,
            version=version,
            seconds_left=1,
            phase="step",
            children=[self._ref(pending) for pending in batch],
            sizes=sizes,
            start=0,
            stop=sizes.total,
            params=commit.params,
            optimizer=commit.optimizer,
            update=context.update(commit.updates + 1, 0.0, 0, sizes.total),
            schedule=rates,
            separate=True,
            params_output=keys.params(context.prefix, version, ident, 0),
            optimizer_output=keys.optimizer(context.prefix, version, ident, 0),
        )
        reply = await context.caller.call("merger", request, RootReply, level=1)
        self._written = {**commit.digests, **written_by(request, reply)}
        return reply

    def _to_commit(self, batch: list[Pending], ident: str, reply: RootReply, seconds: float) -> Commit:
        context, commit = self.context, self.commit
        params, state = objects_after(context.prefix, commit, ident, 1, has_state=bool(commit.slots))
        counters, outcomes = list(commit.counters), reply.outcomes or []
        applied = []
        for pending, finite in zip(batch, outcomes, strict=True):
            counters[pending.rank] = pending.count + 1
            applied.append(
                Applied(rank=pending.rank, count=pending.count, base=pending.base, skipped=not finite)
            )
        return Commit(
            version=commit.version + 1,
            id=ident,
            previous=commit.digest,
            plan=self.plan.name,
            sizes=commit.sizes,
            slots=commit.slots,
            params=params,
            optimizer=state,
            sha256=digests(params, state, self._written),
            cursor=context.cursor_of(min(counters)),
            updates=commit.updates + sum(outcomes),
            counters=counters,
            applied=applied,
            skipped=not all(outcomes),
            account=context.caller.account,
            measured=context.measured(reply, seconds, context.learning_rate(commit.updates, self.plateau)),
        )


def _is_missing(error: BaseException) -> bool:
    return isinstance(error, SapflowError) and error.reason == ObjectMissing.reason
