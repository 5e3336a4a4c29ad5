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
from sapflow.driver.early_account import EarlyAccount
from sapflow.driver.preparation_forecast import PreparationForeteller
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
from sapflow.steps.observer import Observer, Observers, PreparedSoFar

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
    kept: EarlyAccount | None = None,
    recorded: bool = False,
    beginning: int | None = None,
) -> PreparedData:
    """Have preparers make blocks of the job's data, unless that is done.

    `spec` is the document in the store that names the job; left out: the job's own, which is written. `at_once` is the
    number of calls at work at once, by default that of the job's workers. `account` is what was consumed before, and
    where it has come to the `budget` in USD, no call is made any more; `kept` keeps it for the next driver. `recorded`:
    what the preparation is forecast to take is recorded beside the job, with its grade. With `beginning` only so many
    partitions are prepared, as if the source had no others, to see what they take. A failure is recorded in the store.
    Raises JobFailed, which says what is wrong, and StoreError.
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
    job, shown, most = resolved.job, observer or Observer(), at_once or resolved.job.spec.workers
    begins = not await asyncio.to_thread(store.exists, keys.preparation_plan(resolved.data_prefix, "survey"))
    foreteller = PreparationForeteller(
        job,
        shown,
        Records(store, resolved.prefix) if recorded else None,
        at_once=most,
        calls_each=CALLS_EACH,
        begins=begins and found is None and beginning is None,
        of_all=kept is not None,
    )
    caller = Caller.of(job, sender, Observers(foreteller, shown), before, budget=budget)
    walk = _Walk(
        resolved.uid,
        spec,
        caller,
        shown,
        most,
        budget,
        kept,
        foreteller,
        None if beginning is None else SourceBeginning(store, beginning),
    )
    try:
        if found is None:
            await foreteller.recall()
            await walk.run()
        await walk.clear()
        if found is None:
            await foreteller.ends(caller.account)
    except JobFailed as failure:
        # Another job that shares the data may have come first, and removed what was needed on the way.
        if not await asyncio.to_thread(store.exists, key):
            await Records(store, resolved.prefix).fail(failure, failure.version)
            raise
    finally:
        if kept is not None:
            await kept.keep(caller.account)
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
        kept: EarlyAccount | None,
        foreteller: PreparationForeteller,
        beginning: SourceBeginning | None,
    ) -> None:
        self._uid, self._spec, self._caller, self._observer = uid, spec, caller, observer
        self._at_once, self._budget, self._kept, self._beginning = at_once, budget, kept, beginning
        self._foreteller = foreteller
        self._rows = self._bad = self._passes = 0

    async def run(self) -> None:
        surveyed = await self._call(SurveyRequest(**self._common()), SurveyReply)
        cut: PartitionReply = surveyed
        if surveyed.to_index:
            cut = await self._indexed(surveyed)
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
            told=lambda done: self._foreteller.parsed(surveyed, cut, begun, done),
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

    async def _indexed(self, surveyed: SurveyReply) -> PartitionReply:
        """Packed files as partitions of what is unpacked; of a beginning, their number is an estimate."""
        files, beginning, plan = len(surveyed.to_index), self._beginning, surveyed.plan

        def request(first: int, last: int, most: int | None = None) -> IndexRequest:
            return IndexRequest(**self._common(), plan=plan, first=first, last=last, most=most)

        if beginning is None:
            await self._over("finding seek points", files, request)
        else:
            left = beginning.unpacked_bytes
            for number in range(files):
                if left <= 0:
                    break
                reply = await self._call(request(number, number + 1, beginning.borders), RangeReply)
                left -= reply.raw
        wanted = PartitionRequest(**self._common(), plan=plan, estimated=beginning is not None)
        return await self._call(wanted, PartitionReply)

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
        told: Callable[[int], Awaitable[None]] | None = None,
    ) -> None:
        """Work on all partitions, a range of them a call; ranges are as equal as may be. `told`: they are parsed, and
        this is told how many are."""
        calls = min(partitions, self._at_once * CALLS_EACH)
        edges = [number * partitions // calls for number in range(calls + 1)]
        done = 0

        def tell() -> None:
            self._observer.prepared(
                PreparedSoFar(what, done, partitions, self._rows, self._bad, self._caller.account)
            )

        async def one(first: int, last: int) -> None:
            nonlocal done
            reply = await self._call(request(first, last), RangeReply)
            done += last - first
            if told is not None:
                self._rows += reply.rows
                self._bad += reply.rejected
                await told(done)
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
        reply = await self._caller.call("preparer", request, kind)
        if self._kept is not None:
            await self._kept.grow(self._caller.account)
        return reply

    def _common(self) -> dict[str, Any]:
        return {"job": self._uid, "version": 0, "seconds_left": 1, "spec": self._spec}


def _learning(what: str, steps: list[str]) -> str:
    return f"{what}, and learning {', '.join(steps)}" if steps else what
