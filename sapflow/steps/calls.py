"""Calls of functions: cursors, bounded retries, a hedge for a straggler, and the cost."""

import asyncio
import random
import statistics
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Generic

from sapflow.errors import InvocationError, InvocationTimeout, JobFailed, OutOfMemory
from sapflow.messages.frames import ATTACHMENTS
from sapflow.messages.requests import Request
from sapflow.quantities.prices import Price, cost
from sapflow.quantities.roles import Role
from sapflow.records.commits import Account, LevelUsage
from sapflow.runtimes import handover
from sapflow.runtimes.http.answer import describe
from sapflow.runtimes.sender import Answered, R, Reply, Sender
from sapflow.spec.training_job import TrainingJob
from sapflow.steps.garbage import CellGarbage, collecting
from sapflow.steps.held import Held
from sapflow.steps.observer import Observer

HEDGE_FLOOR = 2.0
"""Seconds before which no invocation counts as a straggler."""
HEDGE_FACTOR = 3.0
"""An invocation gets a hedge after this multiple of the median duration of its kind, if nothing was answered."""
MOST_CPUS = 8
"""Kinds of CPUs that a commit names, at most."""
MOST_VERSIONS = 4
"""Versions of one library that a commit names, at most."""
BUDGET_EXCEEDED = "BudgetExceeded"
BACKOFF = 0.05
MAX_BACKOFF = 5.0


@dataclass
class Tally:
    """Sums over a step's invocations."""

    phases: dict[str, float] = field(default_factory=dict)
    bytes_read: int = 0
    bytes_written: int = 0
    data_bytes: int | None = None
    data_seconds: float | None = None
    peak_memory: dict[str, int] = field(default_factory=dict)
    levels: dict[int, LevelUsage] = field(default_factory=dict)
    limits: dict[str, set[int]] = field(default_factory=dict)
    store_read: int | None = None
    store_written: int | None = None
    nodes: dict[int, str] = field(default_factory=dict)
    cpus: set[str] = field(default_factory=set)
    libraries: dict[str, set[str]] = field(default_factory=dict)
    remade: Counter[str] = field(default_factory=Counter)
    resumed: str | None = None

    def add(self, role: Role, answer: Answered[Any], level: int | None, dollars: float) -> None:
        """Add an answer that cost `dollars`. `level` is the call's level in the merge tree, None if it has none."""
        phases, moved = answer.reply.seconds, answer.reply.bytes
        _add(self.phases, phases)
        self.phases["queue"] = self.phases.get("queue", 0.0) + answer.queue_seconds
        self.phases["cold"] = self.phases.get("cold", 0.0) + answer.cold_seconds
        self.bytes_read += moved.read
        self.bytes_written += moved.written
        if (data := answer.reply.data) is not None:
            self.data_bytes = (self.data_bytes or 0) + data.bytes
            self.data_seconds = (self.data_seconds or 0.0) + data.seconds
        if moved.store_read is not None:
            self.store_read = (self.store_read or 0) + moved.store_read
            self.store_written = (self.store_written or 0) + (moved.store_written or 0)
        if level is not None:
            usage = self.levels.get(level, LevelUsage())
            total = dict(usage.phases)
            _add(total, phases)
            self.levels[level] = LevelUsage(
                calls=usage.calls + 1,
                seconds=usage.seconds + answer.seconds,
                slowest=max(usage.slowest, answer.seconds),
                phases=total,
                bytes_read=usage.bytes_read + moved.read,
                bytes_written=usage.bytes_written + moved.written,
                child_latency=_least(usage.child_latency, getattr(answer.reply, "child_latency", None)),
                cost_usd=usage.cost_usd + dollars,
            )
            if answer.memory_bytes is not None:
                self.limits.setdefault(role, set()).add(answer.memory_bytes)
        if answer.reply.cpu is not None and len(self.cpus) < MOST_CPUS:
            self.cpus.add(answer.reply.cpu)
        for name, version in (answer.reply.libraries or {}).items():
            versions = self.libraries.setdefault(name, set())
            if len(versions) < MOST_VERSIONS:
                versions.add(version)
        self.peak_memory[role] = max(self.peak_memory.get(role, 0), answer.reply.peak_memory_bytes)


def _least(one: float | None, other: float | None) -> float | None:
    known = [each for each in (one, other) if each is not None]
    return min(known, default=None)


def _add(total: dict[str, float], seconds: dict[str, float]) -> None:
    for name, value in seconds.items():
        total[name] = total.get(name, 0.0) + value


@dataclass(frozen=True, slots=True)
class _Call(Generic[R]):
    """A request as it is sent, however often."""

    role: Role
    request: Request
    kind: type[R]
    objects: Mapping[str, bytes]
    """What is sent along beside inline contributions."""

    @property
    def op(self) -> str:
        return str(getattr(self.request, "op", "call"))


class Caller:
    """Sends a job's requests until they are done, and keeps the account."""

    def __init__(
        self,
        sender: Sender,
        *,
        seconds: float,
        retries: int,
        price: Price,
        memory: dict[Role, int],
        cpus: dict[Role, float | None],
        observer: Observer,
        account: Account,
        garbage: CellGarbage | None = None,
        budget: float | None = None,
    ) -> None:
        """`garbage` is what cells are to remove, for placed jobs. Once the `budget` in USD is spent, a call is not
        repeated: the job ends."""
        self._sender, self._observer, self._garbage = sender, observer, garbage
        self._seconds, self._retries = seconds, retries
        self._budget = budget
        self._price, self._memory, self._cpus = price, memory, cpus
        self._history: dict[str, deque[float]] = {}
        self._sizes: dict[Role, int] = {}
        self._last_answer = 0.0
        self._slowest_start = 0.0
        self._earlier, self._started = account, time.monotonic()
        self._failures = Counter(account.failures or {})
        self._spent = {"cost_usd": 0.0, "invocations": 0, "cold_starts": 0, "retries": 0, "hedges": 0}
        self.tally = Tally()
        self.held = Held()

    @classmethod
    def of(
        cls,
        job: TrainingJob,
        sender: Sender,
        observer: Observer | None = None,
        account: Account | None = None,
        *,
        least_seconds: float = 0.0,
        garbage: CellGarbage | None = None,
        budget: float | None = None,
    ) -> "Caller":
        """Calls within a job's limits, at its prices. `account`: what it has consumed before. A call may take
        `least_seconds` even where the job's limit is shorter."""
        limits = job.spec.limits
        return cls(
            sender,
            seconds=max(least_seconds, limits.invocation_seconds),
            retries=limits.retries,
            price=job.price,
            cpus=job.cpus,
            memory=job.memory_bytes,
            observer=observer or Observer(),
            account=account or Account(),
            garbage=garbage,
            budget=budget,
        )

    @property
    def account(self) -> Account:
        """What the job has consumed, including earlier drivers."""
        used = {name: getattr(self._earlier, name) + value for name, value in self._spent.items()}
        seconds = self._earlier.seconds + time.monotonic() - self._started
        return Account.model_validate({"seconds": seconds, **used, "failures": dict(self._failures) or None})

    @property
    def slowest_start(self) -> float:
        """The longest cold start so far, in seconds."""
        return self._slowest_start

    def take_tally(self) -> Tally:
        """The sums since the last call of this method."""
        tally, self.tally = self.tally, Tally()
        return tally

    async def call(
        self,
        role: Role,
        request: Request,
        kind: type[R],
        cursors: list[str] | None = None,
        *,
        level: int | None = None,
        objects: Mapping[str, bytes] = MappingProxyType({}),
    ) -> R:
        """Invoke until the work is done, and return the last answer. Keys of cursors are added to `cursors`.

        `kind` is the type of the answer; any other answer is an InvocationError. `level` is the call's level in the
        merge tree (workers 0), None if it is no part of a step. `objects` are sent along. Raises JobFailed if the job
        cannot continue: out of memory, out of retries, or after an error that is not retryable.
        """
        while True:
            reply = await self._until_answered(_Call(role, request, kind, objects), level)
            if reply.done:
                return reply
            progress = reply.progress()
            if cursors is not None and progress.get("cursor") is not None:
                cursors.append(progress["cursor"])
            request = request.model_copy(update=progress)

    async def _until_answered(self, call: _Call[R], level: int | None) -> R:
        role, request = call.role, call.request
        for attempt in range(self._retries + 1):
            try:
                answer = await self._race(call, 2 * attempt)
            except InvocationError as error:
                self._observer.invocation_failed(role, call.op, error)
                self._failures[error.reason] += 1
                if not error.retryable or attempt == self._retries:
                    raise self._failure(role, request, error, attempt + 1) from error
                self._check_budget(request, error)
                self._spent["retries"] += 1
                await asyncio.sleep(min(MAX_BACKOFF, BACKOFF * 2**attempt) * random.uniform(0.5, 1.0))
            else:
                if request.of_step:
                    self.tally.add(role, answer, level, self._dollars(role, answer))
                self.held.take_in(answer.attachments)
                if request.cell is not None and answer.reply.node is not None:
                    self.tally.nodes[request.cell] = answer.reply.node
                return answer.reply
        raise AssertionError("unreachable")

    def _check_budget(self, request: Request, error: InvocationError) -> None:
        """Raise JobFailed instead of repeating a call when the budget is spent."""
        if self._budget is not None and self._earlier.cost_usd + self._spent["cost_usd"] >= self._budget:
            raise JobFailed(
                f"spec.limits.budgetUSD ({self._budget:g}) is spent, partly by calls that failed, the last one so: "
                f"{error}",
                reason=BUDGET_EXCEEDED,
                version=request.version - 1,
            ) from error

    def _failure(self, role: Role, request: Request, error: InvocationError, tries: int) -> JobFailed:
        op = getattr(request, "op", "call")
        rank = getattr(request, "rank", None)
        where = f"{op} of version {request.version}" + ("" if rank is None else f", rank {rank}")
        smaller = ", or lower spec.data.microBatchSize"
        if role == "preparer":
            where, smaller = f"the preparation of the data ({op})", ""
        remedy = ""
        if isinstance(error, OutOfMemory):
            remedy = f"; raise spec.memory.{role}{smaller}"
        elif isinstance(error, InvocationTimeout):
            remedy = (
                f"; one unit of its work does not fit into spec.limits.invocationSeconds ({self._seconds:g}): "
                f"raise it{smaller}"
            )
        again = f" after {tries} tries" if tries > 1 else ""
        return JobFailed(
            f"{where} failed{again}: {error}{remedy}", reason=error.reason, version=request.version - 1
        )

    async def _race(self, call: _Call[R], attempt: int) -> Answered[R]:
        """Invoke, and invoke a second time if the first falls behind its peers. The first answer counts."""
        clock = asyncio.get_running_loop().time
        started, op = clock(), call.op
        racers = {asyncio.create_task(self._send(call, attempt))}
        try:
            hedged = False
            while True:
                patience = None if hedged else self._quiet_until(op, started) - clock()
                timeout = None if patience is None or patience > 3600 else max(patience, 0.01)
                done, racers = await asyncio.wait(
                    racers, timeout=timeout, return_when=asyncio.FIRST_COMPLETED
                )
                for task in sorted(done, key=lambda one: one.exception() is not None):
                    if task.exception() is None or not racers:
                        return task.result()
                if not done and not hedged and clock() >= self._quiet_until(op, started):
                    hedged = True
                    self._spent["hedges"] += 1
                    self._observer.hedged(call.role, op, call.request.version)
                    racers.add(asyncio.create_task(self._send(call, attempt + 1)))
        finally:
            for task in racers:
                task.cancel()
            if racers:
                await asyncio.gather(*racers, return_exceptions=True)

    def _quiet_until(self, op: str, started: float) -> float:
        """The time at which an unanswered invocation counts as a straggler, because nothing was answered for long."""
        history = self._history.get(op, ())
        if len(history) < 2:
            return float("inf")
        patience = max(HEDGE_FLOOR + 2 * self._slowest_start, HEDGE_FACTOR * statistics.median(history))
        return max(started, self._last_answer) + patience

    async def _send(self, call: _Call[R], attempt: int) -> Answered[R]:
        role, request, op = call.role, call.request, call.op
        body = request.body()
        body["attempt"], body["secondsLeft"] = attempt, self._seconds
        self._spent["invocations"] += 1
        with collecting(self._garbage, request.cell) as names:
            if names:
                body["collect"] = names
            if attached := {**self.held.attachments(request.inline()), **call.objects}:
                body[ATTACHMENTS] = attached
            raw = await self._invoke(role, body)
        self._last_answer = asyncio.get_running_loop().time()
        self._history.setdefault(op, deque(maxlen=64)).append(raw.seconds)
        if raw.cold_seconds:
            self._slowest_start = max(self._slowest_start, raw.cold_seconds)
            self._spent["cold_starts"] += 1
        self._spent["cost_usd"] += self._dollars(role, raw)
        answer = Answered.of(raw, call.kind, describe(body))
        self._observer.answered(role, op, answer)
        return answer

    async def _invoke(self, role: Role, body: dict[str, Any]) -> Reply:
        """The sender's answer. A call that fails or is given up is billed as well, up to its known end."""
        with handover.watching() as watched:
            answered = False
            try:
                raw = await self._sender.invoke(role, body, seconds=self._seconds)
                answered = True
            finally:
                if not answered and (had := watched.seconds) is not None:
                    self._spent["cost_usd"] += self._cost(role, min(had, self._seconds), None)
        if raw.memory_bytes is not None:
            self._sizes[role] = raw.memory_bytes
        return raw

    def _cost(self, role: Role, seconds: float, memory: int | None) -> float:
        """The cost of an invocation on an instance of this size; None: of the size last known of the role."""
        known = self._sizes.get(role, self._memory[role]) if memory is None else memory
        return cost(self._price, known, seconds, self._cpus[role])

    def _dollars(self, role: Role, answer: Reply | Answered[Any]) -> float:
        """The cost of an invocation, by the memory size of its instance."""
        return self._cost(role, answer.seconds, answer.memory_bytes or self._memory[role])
