"""Simulated functions: the handlers of worker and merger in warm instances, without process or HTTP.

Requests and answers are the bytes that HTTP would carry. An instance serves one invocation at a time, any of a
pool's instances may be chosen for any rank, and whatever it keeps warm dies with it.
"""

import asyncio
import itertools
import math
import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from helpers.tapped_store import Failpoint, Killed, TappedStore, Write
from sapflow.channels.channels import open_channels
from sapflow.errors import InstanceLost, InvocationTimeout, SapflowError
from sapflow.messages import frames
from sapflow.messages.replies import FunctionReply
from sapflow.objects.stores.cell import CellStore
from sapflow.objects.stores.protocol import Store
from sapflow.preparation.opened import Parts
from sapflow.quantities.roles import Role
from sapflow.runtimes.http.answer import encode, interpret
from sapflow.runtimes.sender import Reply
from sapflow_functions.calls import settle_cell, translate, with_attachments
from sapflow_functions.roles import merging, preparation, worker
from sapflow_functions.runner import Context, Handler

FaultKind = Literal["refuse", "lose", "kill", "twice", "interleave", "late", "slow", "silent"]
WARM = 3
"""Instances of a role that are kept."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one invocation.

    refuse      fails before any work
    lose        works, but its answer is lost
    kill        dies at its write number `write`, before or (`after`) behind it
    twice       runs a second time before it answers, with the second answer
    interleave  a second instance does all of the work just before write number `write`
    late        runs again `seconds` later, when the step is long over
    slow        takes `seconds` longer, so that others come first, or that it is hedged
    silent      works, and its answer never comes
    """

    kind: FaultKind
    write: int = 0
    after: bool = False
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Invocation:
    """One invocation as it was sent."""

    role: Role
    request: dict[str, Any]


class Instance:
    """One warm instance: its own handlers and caches, its own view of the store."""

    def __init__(
        self,
        role: Role,
        store: Store,
        cell: int = 0,
        volume: Path | None = None,
        preparers: Parts | None = None,
    ) -> None:
        self.role = role
        self.store = TappedStore(store)
        self._seen = self.store if volume is None else CellStore(self.store, cell, str(volume))
        self.busy = False
        if role == "preparer":
            assert preparers is not None, "tests say what preparers are made of"
            self._handlers: Mapping[str, Handler] = preparation.handlers(preparers)
        else:
            self._handlers = worker._load_handlers() if role == "worker" else merging.handlers()

    def serve(self, content: bytes, *, hurried: bool) -> tuple[int, bytes]:
        """Status and body. `hurried`: its time is up as soon as it starts. Raises Killed where it dies."""
        body = frames.decode(content)
        received = body.pop(frames.ATTACHMENTS, {})
        self.busy = True
        try:
            context = Context(
                self._seen, open_channels(self._seen, received), deadline=-math.inf if hurried else math.inf
            )
            reply = self._handlers[body["op"]](body, context)
            if isinstance(self._seen, CellStore) and isinstance(reply, FunctionReply):
                reply = settle_cell(self._seen, body, reply)
            return 200, frames.encode(with_attachments(reply.body(), context))
        except (SapflowError, ValidationError) as error:
            answer = translate(error)
            return answer.status, answer.body
        finally:
            self.busy = False


@dataclass
class Functions:
    """Two pools of instances behind the interface of a sender; `faults` by number of the invocation."""

    store: Store
    seed: int = 0
    faults: Mapping[int, Fault] = field(default_factory=dict)
    hurry: float = 0.0
    """Chance that an invocation's time is up as soon as it starts: it does one unit of its work."""
    failpoint: Failpoint = lambda write, after: None
    """Called at every write of every instance, faults apart."""
    delay: Callable[[Mapping[str, Any]], float] = lambda request: 0.0
    """Seconds that an invocation takes longer, by its request."""
    limits: Mapping[str, int] = field(default_factory=dict)
    """Memory limits in bytes that instances say they have, by role."""
    log: list[Invocation] = field(default_factory=list)
    volumes: Sequence[Path] = ()
    """Of a placed job, one a cell."""
    preparers: Parts | None = None
    """What preparers are made of, where there are any."""

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._numbers = itertools.count()
        self._pools: dict[tuple[str, int], list[Instance]] = defaultdict(list)
        self._later_ones: list[asyncio.Future[None]] = []
        self.in_flight = self.most = 0
        """Calls that wait for an answer now, and the most that ever did at once."""
        self.durations: list[tuple[Invocation, float]] = []
        """The invocations that were answered or given up, and their seconds until then."""
        self.writes_of_each: list[int] = []
        """Writes of each invocation, in the order of invocations."""

    def end_instances(self) -> None:
        """Every warm instance is gone, with what it kept."""
        for pool in self._pools.values():
            pool.clear()

    async def invoke(self, role: Role, request: Mapping[str, Any], *, seconds: float) -> Reply:
        """As Sender.invoke."""
        content = encode(request, seconds)
        logged = {k: v for k, v in frames.decode(content).items() if k != frames.ATTACHMENTS}
        self.log.append(Invocation(role, logged))
        number = next(self._numbers)
        fault = self.faults.get(number)
        self.writes_of_each.append(0)
        # Whoever stops waiting does not stop the function: its work may be done when nobody expects it.
        work = asyncio.ensure_future(self._work(role, content, number, fault))
        started = asyncio.get_running_loop().time()
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            status, body = await asyncio.shield(work)
        finally:
            self.in_flight -= 1
            self.durations.append((self.log[number], asyncio.get_running_loop().time() - started))
        if fault is not None and fault.kind == "silent":
            await asyncio.sleep(seconds)
            raise InvocationTimeout(f"no answer within {seconds} s")
        elapsed = asyncio.get_running_loop().time() - started
        return Reply(interpret(request, status, body), elapsed, 0.0, 0.0, memory_bytes=self.limits.get(role))

    async def close(self) -> None:
        """Nothing of it outlives the simulation."""

    async def _work(self, role: Role, content: bytes, number: int, fault: Fault | None) -> tuple[int, bytes]:
        await asyncio.sleep(self._random.uniform(0.001, 0.1) + self.delay(self.log[number].request))
        if fault is None:
            return self._serve(role, content, number=number)
        match fault.kind:
            case "refuse":
                raise InstanceLost("the instance died before the work")
            case "lose":
                self._serve(role, content)
                raise InstanceLost("the instance died after the work")
            case "kill" | "interleave":
                return self._serve(role, content, fault)
            case "twice":
                self._serve(role, content)
            case "late":
                self._later_ones.append(asyncio.ensure_future(self._later(role, content, fault.seconds)))
            case "slow":
                await asyncio.sleep(fault.seconds)
        return self._serve(role, content)

    async def _later(self, role: Role, content: bytes, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._serve(role, content)

    def _serve(
        self, role: Role, content: bytes, fault: Fault | None = None, *, number: int | None = None
    ) -> tuple[int, bytes]:
        cell = frames.decode(content).get("cell") or 0
        instance = self._take(role, cell)
        writes = itertools.count()

        def failpoint(write: Write, after: bool) -> None:
            self.failpoint(write, after)
            if number is not None and not after:
                self.writes_of_each[number] += 1
            if (
                fault is None
                or after != (fault.kind == "kill" and fault.after)
                or next(writes) != fault.write
            ):
                return
            if fault.kind == "kill":
                raise Killed
            self._serve(role, content)

        instance.store.failpoint = failpoint
        try:
            return instance.serve(content, hurried=self._random.random() < self.hurry)
        except Killed:
            self._pools[role, cell].remove(instance)
            raise InstanceLost("the instance died at a write") from None

    def _take(self, role: Role, cell: int) -> Instance:
        pool = self._pools[role, cell]
        idle = [instance for instance in pool if not instance.busy]
        if idle and (len(pool) >= WARM or self._random.random() < 0.7):
            return self._random.choice(idle)
        volume = self.volumes[cell] if self.volumes else None
        pool.append(Instance(role, self.store, cell, volume, self.preparers))
        return pool[-1]


def requests(log: Sequence[Invocation], op: str) -> list[dict[str, Any]]:
    """The requests of one operation, as sent."""
    return [each.request for each in log if each.request["op"] == op]
