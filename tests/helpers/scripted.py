"""A driver's calls answered by a script: which call is made when, without functions."""

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, cast

from sapflow.data.manifest import Manifest, manifest_key
from sapflow.messages.documents import Document
from sapflow.messages.replies import FunctionReply, MergeReply, RootReply, TrainReply
from sapflow.messages.requests import MergeRequest, Request, RootRequest, TrainRequest
from sapflow.messages.vectors import Part, Sizes
from sapflow.objects import keys
from sapflow.objects.stores.protocol import Store
from sapflow.records.commits import Account, Commit, Records
from sapflow.spec.training_job import TrainingJob
from sapflow.steps.calls import Caller, Tally
from sapflow.steps.context import Context
from sapflow.steps.held import Held
from sapflow.steps.observer import Observer

MANIFEST = Manifest(
    source="set", task="classification", shape=(4,), dtype="float32", target_shape=(), classes=3,
    train=(120,), validation=(),
)  # fmt: skip
SIZES = Sizes(parameters=8192, averaged=0, block=1024)


class ScriptedCaller:
    """Answers each call once `open` lets it; `calls` are the requests as they came."""

    def __init__(self, reply: Callable[[Request], FunctionReply] | None = None) -> None:
        self.calls: list[Request] = []
        self.sent_along: list[dict[str, bytes]] = []
        """The objects that came with each of them."""
        self.held = Held()
        self.account = Account()
        self.tally = Tally()
        self._reply = reply or (lambda request: answer(request))
        self._closed: dict[str, asyncio.Event] = {}

    def hold_back(self, name: str) -> asyncio.Event:
        """Calls of this name (`train 3`, `merge 1-0`, `root`) are answered once the event is set."""
        return self._closed.setdefault(name, asyncio.Event())

    async def call(
        self,
        role: str,
        request: Request,
        kind: type[FunctionReply],
        cursors: list[str] | None = None,
        *,
        level: int | None = None,
        objects: Mapping[str, bytes] = MappingProxyType({}),
    ) -> FunctionReply:
        self.calls.append(request)
        self.sent_along.append(dict(objects))
        gate = self._closed.get(name_of(request))
        if gate is not None:
            await gate.wait()
        reply = self._reply(request)
        if isinstance(request, RootRequest) and request.carried:
            new = {request.params_output: b"params", request.optimizer_output: b"state"}
            self.held.take_in(new)
            known = dict(zip(("params_sha256", "optimizer_sha256"), map(_sha256, new.values()), strict=True))
            reply = reply.model_copy(update=known)
        assert isinstance(reply, kind)
        return reply

    def take_tally(self) -> Tally:
        tally, self.tally = self.tally, Tally()
        return tally

    @property
    def names(self) -> list[str]:
        """The calls so far, by name."""
        return [name_of(request) for request in self.calls]


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def name_of(request: Request) -> str:
    """`train RANK`, `merge LEVEL-INDEX`, `root` or `root PHASE`."""
    if isinstance(request, TrainRequest):
        return f"train {request.rank}"
    if isinstance(request, MergeRequest):
        return f"merge {request.output.key.rpartition('/')[2].partition('.')[0]}"
    if isinstance(request, RootRequest):
        return "root" if request.phase == "step" else f"root {request.phase}"
    return str(getattr(request, "op", ""))


def answer(request: Request) -> FunctionReply:
    """What a function with nothing to say against it answers."""
    if isinstance(request, TrainRequest):
        return TrainReply(done=True, samples=request.samples)
    if isinstance(request, MergeRequest):
        return MergeReply(done=True)
    assert isinstance(request, RootRequest)
    outcomes = [True] * len(request.children) if request.separate else None
    return RootReply(done=True, samples=32, losses={"loss": 16.0}, outcomes=outcomes, norms="AAAAAAAA8D8=")


def context_of(job: TrainingJob, store: Store, caller: ScriptedCaller) -> Context:
    """The context of a job named `u` whose functions are the script's."""
    prefix = keys.job("u")
    records = Records(store, prefix)
    documents = Document.of(keys.spec(prefix), b"{}"), Document.of(manifest_key(keys.data(prefix)), b"{}")
    return Context("u", prefix, job, MANIFEST, store, records, cast(Caller, caller), Observer(), *documents)


def first_commit(plan: str = "plan", **fields: Any) -> Commit:
    """Version 0 of a job of SIZES."""
    parts = [Part(key="jobs/u/params/0-x.0", start=0, stop=SIZES.total)]
    known = {"version": 0, "id": "x", "previous": "", "plan": plan, "sizes": SIZES, "slots": ["momentum"]}
    return Commit.model_validate({**known, "params": parts, "optimizer": [], **fields})
