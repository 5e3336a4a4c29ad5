"""Has preparers make blocks of a job's raw data: the calls of a preparation, in their order, several at once.

The driver holds nothing but where it is. Begun again, it makes the same calls, and functions find what there is.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

from sapflow.data.blocks import Manifest, load_manifest
from sapflow.data.cut import write_spec
from sapflow.driver.source_beginning import SourceBeginning
from sapflow.errors import JobFailed, ObjectMissing
from sapflow.messages.documents import Document
from sapflow.messages.preparation import (
    AdvanceReply,
    AdvanceRequest,
    BeginReply,
    BeginRequest,
    ClearReply,
    ClearRequest,
    CountRequest,
    FinishReply,
    FinishRequest,
    IndexRequest,
    MergeStatisticsReply,
    MergeStatisticsRequest,
    ParseRequest,
    PartitionReply,
    PartitionRequest,
    RangeReply,
    ScanRequest,
    SurveyReply,
    SurveyRequest,
    WriteRequest,
)
from sapflow.messages.replies import FunctionReply
from sapflow.messages.requests import Request
from sapflow.objects import keys
from sapflow.objects.stores.protocol import Store
from sapflow.preparation.passes import levels
from sapflow.records.commits import Account, Records
from sapflow.runtimes.sender import Sender
from sapflow.spec.resolved import ResolvedJob
from sapflow.steps.calls import BUDGET_EXCEEDED, Caller
from sapflow.steps.observer import Observer, PreparedSoFar

CALLS_EACH = 4
"""Calls that a pass makes of each function that is at work, so that the last ones end at about the same time."""
R = TypeVar("R", bound=FunctionReply)


@dataclass(frozen=True, slots=True)
class PreparedData:
    """A job's data in blocks, and what the preparation has consumed."""

    manifest: Manifest
    account: Account


async def prepare(
    resolved: ResolvedJob,
    store: Store,
    sender: Sender,
    observer: Observer | None = None,
    *,
    spec: Document | None = None,
    at_once: int | None = None,
    account: Account | None = None,
    budget: float | None = None,
    beginning: int | None = None,
) -> PreparedData:
    """Have preparers make blocks of the job's data, unless that is done.

    `spec` is the document in the store that names the job; left out: the job's own, which is written. `at_once` is the
    number of calls at work at once, by default that of the job's workers. `account` is what was consumed before, and
    where it has come to the `budget` in USD, no call is made any more. With `beginning` only so many partitions are
    prepared, as if the source had no others, to see what they take. A failure is recorded in the store. Raises
    JobFailed, which says what is wrong, and StoreError.
    """
    key = keys.manifest(resolved.data_prefix)
    before = account or Account()
    found: Manifest | None = None
    try:
        found = await asyncio.to_thread(load_manifest, store, key)
    except ObjectMissing:
        pass
    else:
        uncleared = keys.preparation_plan(resolved.data_prefix, "survey")
        if not await asyncio.to_thread(store.exists, uncleared):
            return PreparedData(found, before)
    if spec is None:
        spec = await asyncio.to_thread(write_spec, resolved, store)
    job = resolved.job
    caller = Caller.of(job, sender, observer, before, budget=budget)
    walk = _Walk(
        resolved.uid,
        spec,
        caller,
        observer or Observer(),
        at_once or job.spec.workers,
        budget,
        None if beginning is None else SourceBeginning(store, beginning),
    )
    try:
        if found is None:
            await walk.run()
        await walk.clear()
    except JobFailed as failure:
        # Another job that shares the data may have come first, and removed what was needed on the way.
        if not await asyncio.to_thread(store.exists, key):
            await Records(store, resolved.prefix).fail(failure, failure.version)
            raise
    return PreparedData(await asyncio.to_thread(load_manifest, store, key), caller.account)


class _Walk:
    """The calls of one preparation."""

    def __init__(
        self,
        uid: str,
        spec: Document,
        caller: Caller,
        observer: Observer,
        at_once: int,
        budget: float | None,
        beginning: SourceBeginning | None,
    ) -> None:
        self._uid, self._spec, self._caller, self._observer = uid, spec, caller, observer
        self._at_once, self._budget, self._beginning = at_once, budget, beginning
        self._rows = self._bad = self._passes = 0

    async def run(self) -> None:
        surveyed = await self._call(SurveyRequest(**self._common()), SurveyReply)
        cut: PartitionReply = surveyed
        # Of a beginning alone no seek points are sought: they are found by unpacking all of a file.
        if surveyed.to_index and self._beginning is None:
            await self._over(
                "finding seek points",
                len(surveyed.to_index),
                lambda first, last: IndexRequest(
                    **self._common(), plan=surveyed.plan, first=first, last=last
                ),
            )
            cut = await self._call(PartitionRequest(**self._common(), plan=surveyed.plan), PartitionReply)
        survey, to_scan = cut.plan, cut.to_scan
        if self._beginning is not None:
            survey, to_scan = await self._beginning.of_survey(survey)
        if to_scan:
            await self._over(
                "scanning",
                len(to_scan),
                lambda first, last: ScanRequest(**self._common(), plan=survey, first=first, last=last),
            )
        begun = await self._call(BeginRequest(**self._common(), plan=survey), BeginReply)
        plan, partitions = begun.plan, begun.partitions
        if self._beginning is not None:
            plan, partitions = await self._beginning.of_exact(plan)
        state, fitted, learning = begun.state, begun.fitted, begun.learning
        await self._over(
            _learning("parsing", learning),
            partitions,
            lambda first, last: ParseRequest(
                **self._common(), plan=plan, state=begun.state, first=first, last=last
            ),
            parsing=True,
        )
        while True:
            advanced = await self._merged(plan, state, partitions)
            if advanced.census is not None:
                break
            state, fitted, learning = advanced.state, advanced.fitted, advanced.learning
            self._passes += 1
            await self._over(
                "counting samples" if fitted else _learning("counting", learning),
                partitions,
                self._counting(plan, state),
            )
        census = advanced.census
        self._bad = advanced.bad
        await self._over(
            "writing blocks",
            partitions,
            lambda first, last: WriteRequest(
                **self._common(), plan=plan, state=state, census=census, first=first, last=last
            ),
        )
        finish = FinishRequest(**self._common(), plan=plan, state=state, census=census)
        await self._call(finish, FinishReply)

    async def clear(self) -> None:
        """Remove what nobody needs once the manifest stands."""
        await self._call(ClearRequest(**self._common()), ClearReply)

    def _counting(self, plan: Document, state: Document) -> Callable[[int, int], Request]:
        return lambda first, last: CountRequest(
            **self._common(), plan=plan, state=state, first=first, last=last
        )

    async def _merged(self, plan: Document, state: Document, partitions: int) -> AdvanceReply:
        """What follows from a pass, its statistics merged up the tree."""
        below = partitions
        tree = levels(partitions)
        for level, nodes in enumerate(tree, 1):
            await self._together(
                self._call(
                    MergeStatisticsRequest(
                        **self._common(), plan=plan, state=state, level=level, index=index, nodes=below
                    ),
                    MergeStatisticsReply,
                )
                for index in range(nodes)
            )
            below = nodes
        request = AdvanceRequest(**self._common(), plan=plan, state=state, level=len(tree))
        return await self._call(request, AdvanceReply)

    async def _over(
        self,
        what: str,
        partitions: int,
        request: Callable[[int, int], Request],
        *,
        parsing: bool = False,
    ) -> None:
        """Work on all partitions, a range of them a call; ranges are as equal as may be."""
        calls = min(partitions, self._at_once * CALLS_EACH)
        edges = [number * partitions // calls for number in range(calls + 1)]
        done = 0

        def tell() -> None:
            self._observer.prepared(PreparedSoFar(what, done, partitions, self._rows, self._bad))

        async def one(first: int, last: int) -> None:
            nonlocal done
            reply = await self._call(request(first, last), RangeReply)
            done += last - first
            if parsing:
                self._rows += reply.rows
                self._bad += reply.rejected
            tell()

        tell()
        await self._together(one(first, last) for first, last in pairwise(edges))

    async def _together(self, calls: Iterable[Awaitable[object]]) -> None:
        """Make calls, as many at once as may be. The first error ends the others."""
        free = asyncio.Semaphore(self._at_once)

        async def one(call: Awaitable[object]) -> None:
            async with free:
                await call

        waiting = list(calls)
        try:
            async with asyncio.TaskGroup() as group:
                for call in waiting:
                    group.create_task(one(call))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            for call in waiting:
                close = getattr(call, "close", None)
                if close is not None:
                    close()  # of those that were never begun

    async def _call(self, request: Request, kind: type[R]) -> R:
        if self._budget is not None and self._caller.account.cost_usd >= self._budget:
            raise JobFailed(
                f"spec.limits.budgetUSD ({self._budget:g}) is spent before the data was prepared; raise it, and the "
                "job goes on from there",
                reason=BUDGET_EXCEEDED,
                version=-1,
            )
        return await self._caller.call("preparer", request, kind)

    def _common(self) -> dict[str, Any]:
        return {"job": self._uid, "version": 0, "seconds_left": 1, "spec": self._spec}


def _learning(what: str, steps: list[str]) -> str:
    return f"{what}, and learning {', '.join(steps)}" if steps else what
