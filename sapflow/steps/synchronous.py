"""The steps of synchronous algorithms: all workers, then the merge tree, then the root.

A merger waits only for its own children, never for a whole level.
"""

import asyncio
import base64
import time
from abc import abstractmethod
from typing import Any

import numpy as np

from sapflow.algorithms.merge import OPEN_CHILDREN
from sapflow.messages.refs import Ref
from sapflow.messages.replies import MergeReply, RootReply, TrainReply
from sapflow.messages.requests import MergeRequest, RootRequest, TrainRequest, Update
from sapflow.messages.vectors import Part
from sapflow.objects import keys
from sapflow.planning import inline
from sapflow.quantities import structure
from sapflow.quantities.batches import micro_batches
from sapflow.records import digests, rank_states
from sapflow.records.commits import Commit, Plan
from sapflow.records.rank_states import RankStates
from sapflow.steps.algorithm import AlgorithmDriver
from sapflow.steps.carried import New
from sapflow.steps.context import Slices, objects_after, written_by
from sapflow.steps.leftovers import Leftovers
from sapflow.steps.routes import Routes

ROOT_AT_WORK = 0.0005
"""Seconds after a call of the root in which it has surely received its request."""


class SynchronousDriver(AlgorithmDriver):
    """The driver's side of an algorithm that waits for all workers. Subclasses define how a version follows."""

    _step: "Step | None" = None
    _next: "tuple[Step, asyncio.Task[Commit]] | None" = None
    """The step that was begun while the commit before it was written."""

    @abstractmethod
    def update(self, commit: Commit, start: int, stop: int) -> Update:
        """How elements `start` to `stop` of the version after `commit` follow from the sums at the root."""

    @abstractmethod
    def batch(self, samples: int) -> int:
        """The size of the batches that a worker divides into micro-batches, for so many samples of a step."""

    @property
    def finished(self) -> bool:
        return self.context.finished(self.commit.version, self.commit.cursor)

    def begin_next(self, commit: Commit, plan: Plan) -> None:
        # The keys of contributions follow from the digest of the commit before them, which every other try of that
        # commit shares. So they are found again even if this driver ends before the commit is written.
        context = self.context
        last = context.finished(commit.version, commit.cursor)
        if self.plateau is None and not context.facts.rank_state and not last:
            step = Step(self, commit, plan)
            self._next = step, asyncio.create_task(step.next_commit())

    @property
    def has_begun_next(self) -> bool:
        return self._next is not None

    def settle(self, commit: Commit, plan: Plan) -> None:
        super().settle(commit, plan)
        if self._next is not None:
            self._next[0].settled.set()

    async def abandon_next(self) -> Leftovers:
        if self._next is None:
            return Leftovers()
        (step, task), self._next = self._next, None
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return step.leftovers([])

    async def next_commit(self) -> Commit:
        if self._next is None:
            self._step = Step(self, self.commit, self.plan)
            self._step.settled.set()
            return await self._step.next_commit()
        (self._step, task), self._next = self._next, None
        return await task

    def leftovers(self, commit: Commit) -> Leftovers:
        if self._step is None:
            return Leftovers()
        more = self._step.possible_cursors() if self.resumed else []
        self.resumed = False
        if commit.skipped:
            more += self._step.written()
        left = self._step.leftovers(more)
        # Not before that commit stands: until then, another driver may still make the other workers' step.
        if commit.dealt is not None and self.dealt_from is not None:
            left += self.abandoned(*self.dealt_from)
        return left

    def contributions(self) -> Leftovers:
        if self._step is None:
            return Leftovers()
        return Leftovers(self._step.leftovers(self._step.states_written()).keys)

    def inherited(self, before: Commit, plan: Plan, made: Commit) -> Leftovers:
        step = Step(self, before, plan)
        return step.leftovers(step.possible_cursors() + (step.written() if made.skipped else []))

    def abandoned(self, commit: Commit, plan: Plan) -> Leftovers:
        step = Step(self, commit, plan)
        return step.leftovers(step.possible_cursors() + step.written())


class Step:
    """The step that follows `commit` with `plan`."""

    def __init__(self, algorithm: SynchronousDriver, commit: Commit, plan: Plan) -> None:
        context = algorithm.context
        self.algorithm, self.context, self.commit, self.plan = algorithm, context, commit, plan
        self.version = commit.version + 1
        self._previous = commit.digest
        self.ident = keys.step_id(self._previous, commit.plan)
        self.slices: Slices = context.slices(commit.cursor, plan.workers)
        dealt_from = algorithm.dealt_from
        self._dealt = plan.name if dealt_from and dealt_from[0].version == commit.version else None
        self._last = context.finished(self.version, self.slices.after)
        self.groups = structure.active_groups(plan.structure, sorted(self.slices.ranks))
        self.top = structure.levels(plan.structure)
        self.routes = Routes(plan)
        self.ranges = structure.shard_ranges(commit.sizes.total, plan.shards, commit.sizes.block)
        has_state = bool(commit.slots) and context.facts.root_state
        self.params, self.state = objects_after(
            context.prefix, commit, self.ident, plan.shards, has_state=has_state
        )
        self._carried = algorithm.carried if self._travels() else None
        self._tasks: dict[tuple[int, int, int], asyncio.Task[Any]] = {}
        self._cursors: list[str] = []
        self._written: dict[str, str] = dict(commit.digests)
        """The SHA-256 of objects by key, as functions say it."""
        self._states_written: dict[int, str | None] = {}
        self.settled = asyncio.Event()
        """Set once the commit before the step is written. Until then only contributions may be made."""

    def _travels(self) -> bool:
        """Whether the new version is small enough for the root's answer and the workers' requests."""
        sizes, state = self.commit.sizes, len(self.commit.slots) if self.context.facts.root_state else 0
        small = inline.version_travels(sizes.total, state * sizes.parameters, len(self.slices.ranks))
        return small and self.plan.shards == 1 and self.top - 1 in (self.plan.inline or ())

    async def next_commit(self) -> Commit:
        """Make the step, and return its commit, which is not written yet."""
        started = time.perf_counter()
        self.context.caller.held.clear()
        async with asyncio.TaskGroup() as group:
            for rank in self.slices.ranks:
                self._tasks[0, rank, 0] = group.create_task(self._worker(rank))
            for level in range(1, self.top):
                for index, children in self.groups[level].items():
                    for shard in range(self.plan.shards):
                        self._tasks[level, index, shard] = group.create_task(
                            self._merger(level, index, children, shard)
                        )
            root = group.create_task(self._root())
        reply = root.result()
        measured = self.context.measured(reply, time.perf_counter() - started, self._rate)
        return self._commit(reply, measured)

    @property
    def _rate(self) -> float:
        return self.context.learning_rate(self.commit.updates, self.algorithm.plateau)

    @property
    def _updates(self) -> int:
        """The number of optimiser updates that the step makes: those of the rank with the most samples."""
        batch = self.algorithm.batch
        samples = max(map(self.slices.samples, self.slices.ranks))
        return -(-samples // batch(samples))

    def _ref(self, level: int, index: int, shard: int) -> Ref:
        key = keys.contribution(self.context.prefix, self.version, self.ident, level, index, shard)
        return self.routes.ref(level, index, key, *self.ranges[shard])

    async def _children(self, level: int, children: list[int], shard: int) -> list[Ref]:
        """Wait for the children of a group, and return their refs in order."""
        below = level - 1
        for child in children:
            await self._tasks[below, child, shard if below else 0]
        return [self._ref(below, child, shard) for child in children]

    async def _worker(self, rank: int) -> None:
        context, plateau = self.context, self.algorithm.plateau
        request = TrainRequest(
            job=context.uid,
            version=self.version,
            seconds_left=1,
            spec=context.spec_document,
            manifest=context.manifest_document,
            code=context.code,
            rank=rank,
            cell=self.routes.cell(0, rank),
            params=self.commit.params,
            sizes=self.commit.sizes,
            epoch=self.slices.cursor.epoch,
            slices=self.slices.ranks[rank],
            ahead=None if self._last else context.ahead(self.slices.after, rank),
            schedule_step=self.commit.updates,
            schedule_total=context.schedule_total,
            schedule_factor=None if context.facts.root_state or plateau is None else plateau.factor,
            outputs=[self._ref(0, rank, shard) for shard in range(self.plan.shards)],
            state=rank_states.find(self.commit.states, context.prefix, rank),
            state_output=self._state(rank),
        )
        carried = self.algorithm.carried
        objects = {} if carried is None else carried.attachments(request.may_carry())
        reply = await context.caller.call(
            "worker", request, TrainReply, self._cursors, level=0, objects=objects
        )
        if request.state_output is not None:
            self._states_written[rank] = reply.state_sha256

    def _state(self, rank: int) -> str | None:
        """The key of a rank's next state, None if the algorithm has no rank state."""
        if not self.context.facts.rank_state:
            return None
        return keys.rank_state(self.context.prefix, self.version, self.ident, rank)

    def states_written(self) -> list[str]:
        """The keys of the rank states that this step writes."""
        return [key for rank in self.slices.ranks if (key := self._state(rank)) is not None]

    def written(self) -> list[str]:
        """The keys of what this step writes for the next version; of no use if the step is skipped.

        With shards some may have been written when the update of another one was not finite.
        """
        version = [part.key for part in self.params if part.start < self.commit.sizes.total]
        return [*self.states_written(), *version, *(part.key for part in self.state)]

    def _states(self) -> list[RankStates] | None:
        """The rank states that the commit names after this step."""
        if not self.context.facts.rank_state:
            return None
        found = rank_states.after(self.commit.states, self.version, self.ident, self.slices.ranks)
        return rank_states.below(found, self.plan.workers)

    async def _merger(self, level: int, index: int, children: list[int], shard: int) -> None:
        request = MergeRequest(
            job=self.context.uid,
            version=self.version,
            seconds_left=1,
            cell=self.routes.cell(level, index),
            children=await self._children(level, children, shard),
            output=self._ref(level, index, shard),
        )
        await self.context.caller.call(self.plan.mergers, request, MergeReply, self._cursors, level=level)
        self.context.caller.held.drop(request.children)

    async def _root(self) -> RootReply:
        """Call the root to sum and update, in two phases if there are shards."""
        await self.settled.wait()
        if self.plan.shards == 1:
            return await self._root_call("step", 0)
        sums = await self._root_calls("sum")
        if not all(reply.finite for reply in sums):
            return sums[0].model_copy(update={"finite": False})
        decoded = [np.frombuffer(base64.b64decode(reply.norms), "<f8") for reply in sums]
        norms = base64.b64encode(np.concatenate(decoded).tobytes()).decode()
        made = await self._root_calls("apply", norms)
        return next((reply for reply in made if not reply.finite), made[0])

    async def _root_calls(self, phase: str, norms: str | None = None) -> list[RootReply]:
        """Call one phase of the root for all shards at once."""
        async with asyncio.TaskGroup() as group:
            calls = [
                group.create_task(self._root_call(phase, shard, norms)) for shard in range(self.plan.shards)
            ]
        return [call.result() for call in calls]

    async def _root_call(self, phase: str, shard: int, norms: str | None = None) -> RootReply:
        context, commit = self.context, self.commit
        start, stop = self.ranges[shard]
        last = [] if phase == "apply" else self._last_level()
        # Wait only for the first child: the request is prepared while the others are at work.
        await self._children(self.top, last[:1], shard)
        request = RootRequest.model_validate(
            {
                "job": context.uid,
                "version": self.version,
                "secondsLeft": 1,
                "cell": self.routes.cell(self.top, 0),
                "phase": phase,
                "children": [self._ref(self.top - 1, child, shard) for child in last],
                "total": self._total(shard),
                "sizes": commit.sizes,
                "start": start,
                "stop": stop,
                "params": _touching(commit.params, start, stop),
                "optimizer": _touching(commit.optimizer, start, stop),
                "update": self.algorithm.update(commit, start, stop),
                "norms": norms,
                "paramsOutput": self.params[shard].key,
                "optimizerOutput": keys.optimizer(context.prefix, self.version, self.ident, shard),
                "carried": True if self._carried is not None else None,
                "sha256": self.commit.digests if self._carried is not None else None,
            }
        )
        await self._children(self.top, last, shard)
        asyncio.get_running_loop().call_later(ROOT_AT_WORK, self.algorithm.meanwhile)
        reply = await context.caller.call(
            self.plan.mergers, request, RootReply, self._cursors, level=self.top
        )
        self._written |= (written := written_by(request, reply))
        held = context.caller.held
        brought = [
            New(key, content, sha256)
            for key, sha256 in written.items()
            if (content := held.take(key)) is not None
        ]
        if self._carried is not None and brought:
            self._carried.take_in(brought, read=[request.params_output])
        return reply

    def _last_level(self) -> list[int]:
        return self.groups[self.top][0]

    def _commit(self, reply: RootReply, measured: Any) -> Commit:
        finite = reply.finite
        params = self.params if finite else self.commit.params
        optimizer = self.state if finite else self.commit.optimizer
        states = digests.of_states(self._states_written) if finite else None
        return Commit(
            version=self.version,
            id=self.ident,
            previous=self._previous,
            plan=self.commit.plan,
            sizes=self.commit.sizes,
            slots=self.commit.slots,
            params=params,
            optimizer=optimizer,
            states=self._states() if finite else self.commit.states,
            sha256=digests.digests(params, optimizer, self._written, states),
            cursor=self.slices.after,
            lengths=self.commit.lengths,
            dealt=self._dealt,
            updates=self.commit.updates + (self._updates if finite else 0),
            skipped=not finite,
            account=self.context.caller.account,
            measured=measured,
        )

    def leftovers(self, more: list[str]) -> Leftovers:
        """The objects that only this step needs, which are removed after its commit, and the keys `more`."""
        shards = range(self.plan.shards)
        nodes = [(0, rank) for rank in self.slices.ranks]
        nodes += [(level, index) for level in range(1, self.top) for index in self.groups[level]]
        found = [self._ref(level, index, shard) for level, index in nodes for shard in shards]
        if self.plan.shards > 1:
            found += [self._total(shard) for shard in shards]
        return Leftovers.of(found, self._cursors + more)

    def _total(self, shard: int) -> Ref:
        # Both phases of the root run in its cell.
        key = keys.total(self.context.prefix, self.version, self.ident, shard)
        return self.routes.ref(self.top, 0, key, *self.ranges[shard])

    def possible_cursors(self) -> list[str]:
        """All cursors that invocations of an earlier driver may have left of this step."""
        data, found = self.context.job.spec.data, []
        size = data.micro_batch_size or data.batch_size
        for rank in self.slices.ranks:
            samples = self.slices.samples(rank)
            micros = len(micro_batches(samples, self.algorithm.batch(samples), size))
            found += [keys.cursor(self._ref(0, rank, 0).key, done) for done in range(1, micros)]
        for level in range(1, self.top + 1):
            for index, children in self.groups[level].items():
                for shard in range(self.plan.shards):
                    output = self._ref(level, index, shard) if level < self.top else self._total(shard)
                    stops = range(OPEN_CHILDREN, len(children), OPEN_CHILDREN)
                    found += [keys.cursor(output.key, done) for done in stops]
        return found


def _touching(parts: list[Part], start: int, stop: int) -> list[Part]:
    return [part for part in parts if part.start < stop and part.stop > start]
