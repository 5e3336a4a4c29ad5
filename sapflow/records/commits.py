"""Commit records and plans: what a version stands on. The first writer of a record wins; everybody goes on from it."""

import asyncio
import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, ValidationError

from sapflow.errors import CorruptObject, ObjectMissing, SapflowError
from sapflow.messages.message import Message
from sapflow.messages.vectors import Part, Sizes
from sapflow.objects import keys
from sapflow.objects.stores.protocol import Store
from sapflow.records.memory_search import SizeSearch
from sapflow.records.rank_states import RankStates, all_keys

INTERRUPTED = "Interrupted"
"""Why a driver has stopped that left no record of a failure."""


class Plan(Message):
    """How one step is merged: the tree, root first, the number of shards, who merges, and where."""

    structure: tuple[int, ...]
    shards: int
    mergers: Literal["merger", "worker"] = "merger"
    cells: tuple[tuple[int, ...], ...] | None = None
    """Where the job is placed: the cell of each node by level, workers first; so the channel of each contribution."""

    @property
    def name(self) -> str:
        return keys.digest(self.body())


class Cursor(Message):
    """Where the data stands: the epoch, and samples used of it."""

    epoch: int = 0
    used: int = 0


class Applied(Message):
    """Asynchronous: one contribution that a commit applied, with the version that it was computed on."""

    rank: int
    count: int
    base: int
    skipped: bool = False


class Account(Message):
    """What the job has used up to this commit."""

    seconds: float = 0.0
    cost_usd: float = Field(0.0, alias="costUSD")
    invocations: int = 0
    cold_starts: int = 0
    retries: int = 0
    hedges: int = 0
    failures: dict[str, int] | None = None
    """Calls that failed, by the error's reason; most of them were repeated."""


class Leg(Message):
    """What the calls of one level of the tree took in a step: level 0 is the workers, the last one the root."""

    calls: int = 0
    seconds: float = 0.0
    """Of all calls together, from request to answer."""
    slowest: float = 0.0
    phases: dict[str, float] = {}
    """Seconds of all calls together inside the functions, by phase."""
    bytes_read: int = 0
    bytes_written: int = 0
    cost_usd: float = Field(0.0, alias="costUSD")


class Forecast(Message):
    """What the planner says of the steps that follow, warm ones, when it chooses how they are merged."""

    seconds_per_step: float
    dollars_per_step: float = Field(alias="dollarsPerStep")
    steps: int
    """That follow."""
    constants: str
    """Where the law's constants were measured."""

    @property
    def seconds(self) -> float:
        return self.steps * self.seconds_per_step

    @property
    def dollars(self) -> float:
        return self.steps * self.dollars_per_step


class Measured(Message):
    """What was seen while the version was made: training loss and accuracy, and where time and bytes went."""

    loss: float | None = None
    accuracy: float | None = None
    samples: int = 0
    gradient_norm: float | None = None
    learning_rate: float | None = None
    seconds: float = 0.0
    phases: dict[str, float] = {}
    bytes_read: int = 0
    bytes_written: int = 0
    peak_memory_bytes: dict[str, int] = {}
    legs: list[Leg] = []
    """One a level, workers first; empty in commits of drivers that did not count them."""
    memory_limits: dict[str, list[int]] = {}
    """Of the functions that did the step, by role, where they said so: several while they are given another."""
    search: SizeSearch | None = None
    """Where the search for the workers' size stands, of jobs that ask for one."""
    store_read: int | None = None
    store_written: int | None = None
    """Placed jobs: bytes of all kinds that the functions passed through the store; the rest stayed in cells."""
    remade: dict[str, int] | None = None
    """Times that the step was made anew, by the reason."""
    resumed: str | None = None
    """Of the first version of a driver that went on: the reason for which the one before had stopped, INTERRUPTED where
    that left none."""
    nodes: dict[int, str] | None = None
    """Placed jobs: where each cell is, as far as its functions know."""


class Commit(Message):
    """Version `version` of a job: the exact objects it stands on, the plan of the next step, and the data cursor."""

    version: int
    id: str
    previous: str
    plan: str
    sizes: Sizes
    slots: list[str]
    params: list[Part]
    optimizer: list[Part]
    states: list[RankStates] | None = None
    """Each rank's newest state of its own, of algorithms that have such."""
    cursor: Cursor = Cursor()
    updates: int = 0
    """Optimiser updates so far: steps less skipped ones, or local steps, or applied contributions."""
    counters: list[int] = []
    """Asynchronous: contributions applied of each rank."""
    applied: list[Applied] = []
    skipped: bool = False
    """The step was not finite and `onNaN: Skip` kept the version before."""
    layout: list[dict[str, Any]] = []
    """Names of the model's state on the vector; commit 0 only."""
    kept: list[int] = []
    """Versions before `version` − 1 that may still have objects in the store."""
    account: Account = Account()
    measured: Measured = Measured()
    forecast: Forecast | None = None
    """In commits whose plan is new."""

    def objects(self, prefix: str) -> list[str]:
        """The keys of all objects that the version stands on, below its job's prefix."""
        return [part.key for part in (*self.params, *self.optimizer)] + all_keys(self.states, prefix)

    def encode(self) -> bytes:
        return json.dumps(self.body(), sort_keys=True, separators=(",", ":")).encode()

    @property
    def digest(self) -> str:
        """What the next version's keys are derived from: what this one stands on, not how long it took."""
        identity = self.body()
        for name in ("account", "measured", "layout", "kept", "forecast"):
            identity.pop(name, None)
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


class Records:
    """A job's JSON records in the store. Each call is one round trip, made off the event loop."""

    def __init__(self, store: Store, prefix: str) -> None:
        """`prefix`: below which the job's keys lie."""
        self.store, self.prefix = store, prefix

    async def commit(self, version: int) -> Commit | None:
        """The record of a version, or None where it is not committed."""
        body = await self.read(keys.commit(self.prefix, version))
        if body is None:
            return None
        try:
            return Commit.model_validate(body)
        except ValidationError as error:
            raise CorruptObject(f"{keys.commit(self.prefix, version)} is broken: {error}") from error

    async def settle(self, commit: Commit) -> tuple[Commit, bool]:
        """Write a commit durably unless somebody has; what now stands, and whether it is ours."""
        key = keys.commit(self.prefix, commit.version)
        if await asyncio.to_thread(self.store.create, key, commit.encode(), durable=True):
            return commit, True
        standing = await self.commit(commit.version)
        if standing is None:
            raise CorruptObject(f"{key} exists and yet cannot be read")
        return standing, False

    async def last(self) -> Commit | None:
        """The newest commit: doubling steps forward, then halving, since versions have no gaps."""
        if await self.commit(0) is None:
            return None
        low, reach = 0, 1
        while await self._exists(low + reach):
            low, reach = low + reach, reach * 2
        high = low + reach
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if await self._exists(middle) else (low, middle)
        return await self.commit(low)

    async def _exists(self, version: int) -> bool:
        return await asyncio.to_thread(self.store.exists, keys.commit(self.prefix, version))

    async def plan(self, name: str) -> Plan:
        body = await self.read(keys.plan(self.prefix, name))
        if body is None:
            raise CorruptObject(f"{keys.plan(self.prefix, name)} is missing")
        return Plan.model_validate(body)

    async def write(self, key: str, body: Mapping[str, Any], *, durable: bool = False) -> bool:
        """Create a JSON record; False where it was there. Numbers that are not finite are written as null."""
        text = json.dumps(plain_json(body), sort_keys=True, separators=(",", ":"), allow_nan=False)
        data = text.encode()
        return await asyncio.to_thread(self.store.create, key, data, durable=durable)

    async def fail(self, failure: SapflowError, version: int) -> None:
        """Record why the job has stopped after `version`, -1: before the first, in place of an earlier reason."""
        key = keys.failure(self.prefix, max(version, 0))
        await asyncio.to_thread(self.store.delete, [key])
        await self.write(key, {"reason": failure.reason, "message": str(failure), "version": version})

    async def take_failure(self, version: int) -> str | None:
        """The reason for which the job has stopped after `version`, None where none is known; it is forgotten: the job
        goes on.

        A driver that got no answer to its commit recorded the version before.
        """
        found = [keys.failure(self.prefix, each) for each in (version, version - 1) if each >= 0]
        reason = None
        for key in found:
            try:
                failure = await self.read(key)
            except CorruptObject:
                # Failures are not made durable: a machine may have gone before this one was written.
                failure = {}
            if failure is not None:
                reason = reason or failure.get("reason")
                await asyncio.to_thread(self.store.delete, [key])
        return reason

    async def read(self, key: str) -> Any | None:
        """A JSON record, or None."""
        try:
            data = await asyncio.to_thread(self.store.read, key)
            return json.loads(bytes(data))
        except ObjectMissing:
            return None
        except ValueError as error:
            raise CorruptObject(f"object {key} is not JSON: {error}") from error


def plain_json(value: Any) -> Any:
    """A JSON value with null in place of what JSON has no number for."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: plain_json(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(inner) for inner in value]
    return value
