"""Commit records and plans: the objects that a version consists of.

The first writer of a record wins, and everybody continues from that record.
"""

import asyncio
import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from pydantic import AliasChoices, Field, ValidationError

from sapflow.errors import CorruptObject, ObjectMissing, SapflowError
from sapflow.messages.message import Message
from sapflow.messages.vectors import Part, Sizes
from sapflow.objects import keys
from sapflow.objects.stores.protocol import Store
from sapflow.records.digests import Digests, by_key
from sapflow.records.judged import Judged
from sapflow.records.later_release import later_release, unknown_fields
from sapflow.records.memory_search import SizeSearch
from sapflow.records.plateau import PlateauState
from sapflow.records.rank_states import RankStates, all_keys
from sapflow.text import parse_json

M = TypeVar("M", bound=Message)

_NOT_IDENTITY = (
    "account", "measured", "layout", "weights", "code", "data", "origin", "kept", "forecast", "judged", "sha256",
)  # fmt: skip
"""Fields of a commit that no later key follows from: what was measured, and what follows from the rest."""
INTERRUPTED = "Interrupted"
"""The reason given for a driver that stopped without a record of a failure."""


class Plan(Message):
    """How a step is merged: the tree (root first), the number of shards, the role that merges, and the cells."""

    structure: tuple[int, ...]
    shards: int
    mergers: Literal["merger", "worker"] = "merger"
    cells: tuple[tuple[int, ...], ...] | None = None
    """For placed jobs, the cell of each node by level, workers first; it decides each contribution's channel."""
    inline: tuple[int, ...] | None = None
    """The levels, workers 0, whose contributions are handed on inside answers and requests."""

    @property
    def name(self) -> str:
        return keys.digest(self.body())

    @property
    def workers(self) -> int:
        return self.structure[-1]


class Dealing(Message):
    """What was done of an epoch before the number of workers changed: so many steps of so many workers."""

    workers: int = Field(ge=1)
    steps: int = Field(ge=1)


class Cursor(Message):
    """The position in the data: the epoch, and the number of its samples that are used."""

    epoch: int = 0
    used: int = 0
    dealings: list[Dealing] | None = None
    """Of an epoch in which the number of workers changed: what others did of it, before the workers of the plan."""


class ScheduleLengths(Message):
    """How long a job is whose number of workers has changed: in steps, in optimiser updates, and how many updates a
    learning-rate schedule takes for an epoch."""

    steps: int = Field(ge=0)
    updates: int = Field(ge=0)
    epoch: int = Field(ge=1)


class Applied(Message):
    """Asynchronous mode: one contribution that a commit applied, with the version that it was computed from."""

    rank: int
    count: int
    base: int
    skipped: bool = False


class Account(Message):
    """What the job has consumed up to this commit."""

    seconds: float = 0.0
    cost_usd: float = Field(0.0, alias="costUSD")
    invocations: int = 0
    cold_starts: int = 0
    retries: int = 0
    hedges: int = 0
    failures: dict[str, int] | None = None
    """Number of failed calls by the error's reason; most of them were repeated."""


class LevelUsage(Message):
    """Time, bytes and cost of all calls of one level in a step. Level 0 is the workers, the last level the root."""

    calls: int = 0
    seconds: float = 0.0
    """Sum over all calls of the time from request to answer."""
    slowest: float = 0.0
    phases: dict[str, float] = {}
    """Seconds inside the functions by phase, summed over all calls."""
    bytes_read: int = 0
    bytes_written: int = 0
    child_latency: float | None = None
    """The least seconds until a child began to arrive at one of the level's mergers; None where none came from a remote
    store."""
    cost_usd: float = Field(0.0, alias="costUSD")


class Forecast(Message):
    """The planner's prediction for the following steps, if warm, made when it chose their merge tree."""

    seconds_per_step: float
    dollars_per_step: float = Field(alias="dollarsPerStep")
    steps: int
    """Number of steps that follow."""
    constants: str
    """Where the cost model's constants were measured."""

    @property
    def seconds(self) -> float:
        return self.steps * self.seconds_per_step

    @property
    def dollars(self) -> float:
        return self.steps * self.dollars_per_step


class Measured(Message):
    """Measurements of the step that made the version: training loss and accuracy, time and bytes."""

    loss: float | None = None
    accuracy: float | None = None
    metrics: dict[str, float] | None = None
    """What the task measures of a step's own samples beside these, by name."""
    samples: int = 0
    gradient_norm: float | None = None
    learning_rate: float | None = None
    seconds: float = 0.0
    phases: dict[str, float] = {}
    bytes_read: int = 0
    bytes_written: int = 0
    data_bytes: int | None = None
    """Bytes of the data's blocks that the step's workers read from the store, which `bytes_read` leaves out; None where
    they did not count them."""
    data_seconds: float | None = None
    """Seconds inside those reads, summed over the workers; reads made ahead go on while a worker computes. How long
    workers waited for them is in `phases` as `data`."""
    peak_memory_bytes: dict[str, int] = {}
    levels: list[LevelUsage] = Field([], validation_alias=AliasChoices("levels", "legs"))
    """One entry per level, workers first; empty in commits of drivers that did not count them. Older commits call the
    field `legs`."""
    memory_limits: dict[str, list[int]] = {}
    """Memory limits in bytes of the functions that did the step, by role, if they report them. There are several while
    a new limit is being rolled out."""
    search: SizeSearch | None = None
    """The state of the search for the workers' memory size, for jobs that ask for one."""
    store_read: int | None = None
    store_written: int | None = None
    """For placed jobs: all bytes that the functions moved through the store; the others stayed in cells."""
    cpus: list[str] | None = None
    """The capabilities of the CPUs that computed the step (`sapflow.cpu_capability`), at most eight."""
    libraries: dict[str, list[str]] | None = None
    """The versions of the libraries that computed the step (`sapflow.library_versions`) by name, at most four each."""
    images: dict[str, str] | None = None
    """The images of the functions by role, where the driver knows them."""
    remade: dict[str, int] | None = None
    """How often the step was repeated, by reason."""
    resumed: str | None = None
    """In the first version that a restarted driver made: why the driver before had stopped, INTERRUPTED if it recorded
    no reason."""
    nodes: dict[int, str] | None = None
    """For placed jobs: the Kubernetes node of each cell, as far as its functions know."""


class Origin(Message):
    """The version of another job that a fork began at."""

    job: str
    """The other job's uid."""
    version: int = Field(ge=1)
    commit: str
    """The digest of the version's commit there."""


class Commit(Message):
    """Version `version` of a job: the exact objects it consists of, the plan of the next step, and the data cursor."""

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
    sha256: Digests | None = None
    """The SHA-256 of these objects; None in commits of earlier releases."""
    cursor: Cursor = Cursor()
    updates: int = 0
    """Optimiser updates so far: steps without the skipped ones, or local steps, or applied contributions."""
    counters: list[int] = []
    """Asynchronous mode: the number of applied contributions of each rank."""
    applied: list[Applied] = []
    skips: int | None = None
    """How many steps were skipped so far, this one included; asynchronous mode: contributions. None: none was."""
    skipped: bool = False
    """Whether the step was not finite, and `onNaN: Skip` kept the previous version."""
    plateau: PlateauState | None = None
    """Where the schedule Plateau stands, of jobs that ask for one: after this version's training loss, or after the
    evaluations of versions before it."""
    layout: list[dict[str, Any]] = []
    """Names and places of the model's state on the flat vector; in commit 0 only."""
    numerics: int | None = None
    """In commit 0 only: the number of the numerics that the job is computed under (records/numerics.py)."""
    weights: str | None = None
    """In commit 0 of jobs that start from a file of weights: its SHA-256."""
    code: dict[str, str] | None = None
    """In commit 0 of jobs with code of their own: the SHA-256 of each module that the model comes from."""
    data: str | None = None
    """In commit 0: the SHA-256 of the data's manifest; None in those of earlier releases."""
    origin: Origin | None = None
    """In commit 0 of a fork. It has no objects: the job's first version is the one that it began at."""
    dealt: str | None = None
    """The plan by which this version was made, where it is not the one that the version before names: the number of
    workers had changed."""
    lengths: ScheduleLengths | None = None
    """The learning-rate schedule's, once the number of workers has changed; before, they follow from the job."""
    judged: Judged | None = None
    """How far the evaluations were judged when this was written; None before the first."""
    kept: list[int] = []
    """Versions older than `version` − 1 that may still have objects in the store."""
    account: Account = Account()
    measured: Measured = Measured()
    forecast: Forecast | None = None
    """Only in commits that begin a new plan."""

    def objects(self, prefix: str) -> list[str]:
        """The keys of all objects that the version stands on, below its job's prefix."""
        return [part.key for part in (*self.params, *self.optimizer)] + all_keys(self.states, prefix)

    @property
    def first_version(self) -> int:
        """Of commit 0: the number of the job's first version that has objects, 0 unless it is a fork."""
        return 0 if self.origin is None else self.origin.version

    @property
    def digests(self) -> dict[str, str]:
        """The recorded SHA-256 of the version's parameters and optimiser state by key, as far as it is known."""
        return by_key(self.sha256, self.params, self.optimizer)

    def checkpoint(self) -> dict[str, Any]:
        """The record that names the version's objects as a checkpoint."""
        named = {"version", "sizes", "slots", "params", "optimizer", "states", "cursor"}
        return self.model_dump(by_alias=True, include=named, exclude_none=True)

    @property
    def newly_skipped(self) -> int:
        """How many steps, or contributions, this commit skipped."""
        return sum(each.skipped for each in self.applied) if self.applied else int(self.skipped)

    def encode(self) -> bytes:
        return json.dumps(self.body(), sort_keys=True, separators=(",", ":")).encode()

    @property
    def digest(self) -> str:
        """The digest from which the next version's keys are derived: of what this version consists of, without
        measurements."""
        identity = self.body()
        for name in _NOT_IDENTITY:
            identity.pop(name, None)
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


class Records:
    """A job's JSON records in the store. Each call is one round trip, made in a thread."""

    def __init__(self, store: Store, prefix: str) -> None:
        """`prefix` is the common beginning of the job's keys."""
        self.store, self.prefix = store, prefix

    async def commit(self, version: int) -> Commit | None:
        """The record of a version, or None if it is not committed. Raises LaterRelease, CorruptObject, StoreError."""
        key = keys.commit(self.prefix, version)
        body = await self.read(key)
        return None if body is None else _read_as(Commit, body, key)

    async def settle(self, commit: Commit) -> tuple[Commit, bool]:
        """Write a commit durably unless that version is committed already.

        Returns the commit that the store holds now, and whether it is this one.
        """
        key = keys.commit(self.prefix, commit.version)
        if await asyncio.to_thread(self.store.create, key, commit.encode(), durable=True):
            return commit, True
        standing = await self.commit(commit.version)
        if standing is None:
            raise CorruptObject(f"{key} exists and yet cannot be read")
        return standing, False

    async def last(self, known: Commit | None = None) -> Commit | None:
        """The newest commit, found by galloping and then binary search, since versions have no gaps, but for one after
        commit 0 of a fork. `known`: a commit that is not newer, where the search begins; None: commit 0."""
        first = await self.commit(0) if known is None else known
        if first is None:
            return None
        low, reach = first.version or first.first_version, 1
        while await self._exists(low + reach):
            low, reach = low + reach, reach * 2
        high = low + reach
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if await self._exists(middle) else (low, middle)
        return first if low == first.version else await self.commit(low)

    async def _exists(self, version: int) -> bool:
        return await asyncio.to_thread(self.store.exists, keys.commit(self.prefix, version))

    async def plan(self, name: str) -> Plan:
        """The plan of this name. Raises LaterRelease, CorruptObject, also if there is none, and StoreError."""
        key = keys.plan(self.prefix, name)
        body = await self.read(key)
        if body is None:
            raise CorruptObject(f"{key} is missing")
        return _read_as(Plan, body, key)

    async def write(self, key: str, body: Mapping[str, Any], *, durable: bool = False) -> bool:
        """Create a JSON record; False if the key existed. Numbers that are not finite are written as null."""
        text = json.dumps(plain_json(body), sort_keys=True, separators=(",", ":"), allow_nan=False)
        data = text.encode()
        return await asyncio.to_thread(self.store.create, key, data, durable=durable)

    async def fail(self, failure: SapflowError, version: int) -> None:
        """Record why the job stopped after `version` (-1 means before the first), replacing an earlier reason."""
        key = keys.failure(self.prefix, max(version, 0))
        await asyncio.to_thread(self.store.delete, [key])
        await self.write(key, {"reason": failure.reason, "message": str(failure), "version": version})

    async def take_failure(self, version: int) -> str | None:
        """Remove the record of why the job stopped after `version`, and return its reason, None if there is none.

        The record may name the version before: a driver that got no answer to its commit recorded that one.
        """
        found = [keys.failure(self.prefix, each) for each in (version, version - 1) if each >= 0]
        reason = None
        for key in found:
            try:
                failure = await self.read(key)
            except CorruptObject:
                # Failures are not written durably: the machine may have died while this one was written.
                failure = {}
            if failure is not None:
                reason = reason or failure.get("reason")
                await asyncio.to_thread(self.store.delete, [key])
        return reason

    async def read(self, key: str) -> Any | None:
        """A JSON record, or None if there is none."""
        try:
            data = await asyncio.to_thread(self.store.read, key)
            return parse_json(bytes(data))
        except ObjectMissing:
            return None
        except ValueError as error:
            raise CorruptObject(f"object {key} is not JSON: {error}") from error


def _read_as(kind: type[M], body: object, key: str) -> M:
    """The record in a JSON value of the object `key`. Raises LaterRelease, CorruptObject."""
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        if unknown := unknown_fields(error):
            raise later_release(key, "the fields", unknown) from error
        raise CorruptObject(f"{key} is broken: {error}") from error


def plain_json(value: Any) -> Any:
    """The JSON value with null in place of numbers that are not finite, which JSON cannot express."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: plain_json(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(inner) for inner in value]
    return value
