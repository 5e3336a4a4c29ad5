"""Functions as OpenWhisk actions, activated over its REST API. Activations that take longer than a minute are polled.

The API is described in docs/rest_api.md of apache/openwhisk, records in docs/actions.md and docs/annotations.md there.
"""

import asyncio
import base64
import json
import math
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from yarl import URL

from sapflow.errors import InstanceLost, InvocationError, InvocationTimeout, OutOfMemory
from sapflow.messages import frames
from sapflow.quantities.roles import Role
from sapflow.runtimes.http.answer import describe, error_in, timed_out
from sapflow.runtimes.sender import Reply
from sapflow.runtimes.slots import Slots

START_SECONDS = 180.0
"""How long, beyond its time limit, an activation may wait for a place to run and its image."""
INIT_SECONDS = 30
"""The part of an action's time limit that its first activation may spend on starting the function."""
_ANSWER_SECONDS = 75.0
"""Time limit of a blocking request: OpenWhisk answers after a minute at the latest, with or without a result."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
REQUEST_BYTES = 700 << 10
"""Bytes of attachments that an activation's parameters hold: base64 makes 933 KiB of them, and 1 MiB is the limit of
apache/openwhisk."""
_BUSY_STATUSES = frozenset({429, 503})
_OUT_OF_MEMORY = "exhausted its memory"
_OUT_OF_TIME = "exceeded its time limits"


@dataclass(frozen=True, slots=True)
class Action:
    """The definition of an action. `environ` reaches its function by `/init`, and never its activations' records."""

    name: str
    image: str
    memory: int
    """Bytes; OpenWhisk counts in MiB, rounded up here."""
    seconds: float
    environ: Mapping[str, str] = field(repr=False)

    def body(self) -> dict[str, Any]:
        """The body of the PUT request that creates the action."""
        return {
            "namespace": "_",
            "name": self.name,
            "exec": {"kind": "blackbox", "image": self.image, "binary": False},
            "limits": {
                "memory": math.ceil(self.memory / (1 << 20)),
                "timeout": round(1000 * (self.seconds + INIT_SECONDS)),
                "concurrency": 1,
            },
            "parameters": [
                {"key": name, "value": value, "init": True} for name, value in sorted(self.environ.items())
            ],
        }


class OpenWhiskSender:
    """A Sender whose functions are actions of one namespace. Call `create` first; `close` removes the actions."""

    def __init__(
        self,
        url: str,
        auth: str,
        actions: Mapping[Role, Action],
        token: str,
        *,
        instances: int,
        start_seconds: float = START_SECONDS,
    ) -> None:
        """`url` is that of the API host, `auth` is `user:password` as in ~/.wskprops, `token` is the pool's.

        `instances` is the number of activations at once that the namespace's limits allow.
        Raises InvocationError if url or auth are malformed.
        """
        self._base = URL(url)
        if self._base.scheme not in ("http", "https") or not self._base.host:
            raise InvocationError(
                f"{url!r} is no address of an OpenWhisk: write it as https://host", reason="StartFailed"
            )
        if ":" not in auth:
            raise InvocationError(
                "the credentials of OpenWhisk are not of the form user:password: set OW_AUTH to what "
                "`wsk property get --auth` prints",
                reason="StartFailed",
            )
        self._headers = {
            "Authorization": f"Basic {base64.b64encode(auth.encode()).decode()}",
            "Content-Type": "application/json",
        }
        self._actions, self._token = dict(actions), token
        self.instances = instances
        self._slots = Slots(instances)
        self._start_seconds = start_seconds
        self._session: aiohttp.ClientSession | None = None
        self._created: list[str] = []

    async def create(self) -> None:
        """Create the actions, replacing those of the same names. Raises InvocationError."""
        for action in self._actions.values():
            status, text = await self._exchange(
                "PUT", self._of_action(action.name) % {"overwrite": "true"}, json.dumps(action.body())
            )
            if status != 200:
                raise InvocationError(
                    f"OpenWhisk at {self._base} refused the action {action.name} ({status}): {_message(text)}",
                    reason="StartFailed",
                )
            self._created.append(action.name)

    async def close(self) -> None:
        """Remove the actions. Activations under way end with an error."""
        try:
            for name in self._created:
                await self._exchange("DELETE", self._of_action(name))
        except InvocationError:
            pass  # an API that cannot be reached cannot be cleaned up; its functions hold nothing but caches
        finally:
            self._created.clear()
            if self._session is not None:
                await self._session.close()

    async def invoke(self, role: Role, request: Mapping[str, Any], *, seconds: float) -> Reply:
        """See Sender.invoke. The times of handler, start and queue are those that OpenWhisk measures."""
        asked = time.monotonic()
        await self._slots.acquire(urgent=role == "merger", job=str(request.get("job", "")))
        try:
            waited = time.monotonic() - asked
            deadline = time.monotonic() + seconds + self._start_seconds
            record = await self._activate(self._actions[role].name, request, seconds, deadline)
        finally:
            self._slots.release()
        return reply_of(record, request, seconds, waited)

    async def _activate(
        self, name: str, request: Mapping[str, Any], seconds: float, deadline: float
    ) -> dict[str, Any]:
        """The record of an activation once it has ended."""
        body = json.dumps(frames.to_json({**request, "secondsLeft": seconds, "token": self._token}))
        url = self._of_action(name) % {"blocking": "true", "result": "false"}
        pause = _FIRST_PAUSE
        while True:
            status, text = await self._exchange("POST", url, body)
            answer = _object(text)
            if status == 202 and "activationId" in answer:
                return await self._poll(str(answer["activationId"]), request, seconds, deadline)
            if "response" in answer:
                return answer
            if status not in _BUSY_STATUSES:
                raise InvocationError(
                    f"{describe(request)}: OpenWhisk answered {status}: {_message(text)}",
                    reason="Unavailable" if status >= 500 else "InvocationFailed",
                    retryable=status >= 500,
                )
            if time.monotonic() + pause >= deadline:
                raise InvocationError(
                    f"{describe(request)}: OpenWhisk took no more activations ({_message(text)}): lower "
                    "spec.workers, or have the namespace's limits raised",
                    reason="Unavailable",
                    retryable=True,
                )
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(_LONGEST_PAUSE, 2 * pause)

    async def _poll(
        self, activation: str, request: Mapping[str, Any], seconds: float, deadline: float
    ) -> dict[str, Any]:
        url = self._base / "api/v1/namespaces/_/activations" / activation
        pause = _FIRST_PAUSE
        while time.monotonic() < deadline:
            status, text = await self._exchange("GET", url)
            record = _object(text)
            if status == 200 and "response" in record:
                return record
            if status in (401, 403):
                raise InvocationError(f"{describe(request)}: OpenWhisk answered {status}: {_message(text)}")
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(_LONGEST_PAUSE, 2 * pause)
        raise timed_out(request, seconds)

    def _of_action(self, name: str) -> URL:
        return self._base / "api/v1/namespaces/_/actions" / name

    async def _exchange(self, method: str, url: URL, body: str | None = None) -> tuple[int, str]:
        """Status and text of an answer. Raises InstanceLost if there is none."""
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), headers=self._headers, timeout=timeout
            )
        try:
            async with self._session.request(method, url, data=body) as response:
                return response.status, await response.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            why = str(error) or type(error).__name__
            raise InstanceLost(f"OpenWhisk at {self._base} gave no answer to {method}: {why}") from error


def reply_of(
    record: Mapping[str, Any], request: Mapping[str, Any], seconds: float, waited: float = 0.0
) -> Reply:
    """The reply in an activation's record. Raises the InvocationError that the record describes if it failed."""
    response = record.get("response")
    response = response if isinstance(response, dict) else {}
    result = response.get("result")
    if response.get("success") is True and isinstance(result, dict):
        try:
            return _success(record, frames.from_json(result), waited)
        except ValueError as error:
            raise InvocationError(f"{describe(request)}: {error}", reason="InvalidReply") from error
    raise _failure(response, result, request, seconds)


def _success(record: Mapping[str, Any], result: dict[str, Any], waited: float) -> Reply:
    """The reply of a successful activation. Records have milliseconds; `duration` includes the start, whose time is
    `initTime` if there was one."""
    annotations = {each.get("key"): each.get("value") for each in record.get("annotations", [])}
    start = _seconds(annotations.get("initTime"))
    queue = _seconds(annotations.get("waitTime"))
    took = max(0.0, _seconds(record.get("duration")) - start)
    if start:
        return Reply(result, took, cold_seconds=start + queue, queue_seconds=waited)
    return Reply(result, took, cold_seconds=0.0, queue_seconds=waited + queue)


def _failure(
    response: Mapping[str, Any], result: object, request: Mapping[str, Any], seconds: float
) -> InvocationError:
    said = error_in(result, request)
    if said is not None:
        return said
    text = str(result.get("error", "")) if isinstance(result, dict) else ""
    where = f"{describe(request)}: {text or response.get('status', 'no result')}"
    if _OUT_OF_MEMORY in text:
        return OutOfMemory(where)
    if _OUT_OF_TIME in text:
        return InvocationTimeout(where)
    return InstanceLost(where)


def _seconds(milliseconds: object) -> float:
    return milliseconds / 1000 if isinstance(milliseconds, int | float) else 0.0


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _message(text: str) -> str:
    """The `error` in an answer of the API, or else the beginning of the answer."""
    return str(_object(text).get("error", text[:200]))
