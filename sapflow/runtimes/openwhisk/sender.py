"""The sender whose functions are OpenWhisk actions. Activations that take longer than a minute are polled."""

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from sapflow.errors import InstanceLost, InvocationError, InvocationTimeout
from sapflow.messages import frames
from sapflow.quantities.roles import Role
from sapflow.runtimes import handover
from sapflow.runtimes.http.answer import describe
from sapflow.runtimes.http.repeated import pauses, repeated
from sapflow.runtimes.openwhisk.action import Action
from sapflow.runtimes.openwhisk.api import BUSY, FIRST_PAUSE, REFUSED, Answer, Api, away_or_busy
from sapflow.runtimes.openwhisk.records import Call, in_words, keeps_container, reply_of
from sapflow.runtimes.sender import Reply
from sapflow.runtimes.slots import Slots

START_SECONDS = 180.0
"""How long, beyond its time limit, an activation may wait for a container, or for an API that is away."""
CREATE_SECONDS, REMOVE_SECONDS = 30.0, 60.0
"""How long the sender tries to create and to remove the actions while the API is away."""
REQUEST_BYTES = 700 << 10
"""Bytes of attachments that an activation's parameters hold: base64 makes 933 KiB of them, and 1 MiB is the limit of
apache/openwhisk."""
log = logging.getLogger(__name__)


class OpenWhiskSender:
    """A Sender whose functions are actions of one namespace. Call `create` first; `close` removes the actions.

    OpenWhisk cancels nothing: the activation of a call that is given up runs to its end, and what it writes is removed
    later by whoever goes on with the job.
    """

    def __init__(
        self,
        api: Api,
        actions: Mapping[Role, Action],
        token: str,
        *,
        instances: int,
        start_seconds: float = START_SECONDS,
        remove_seconds: float = REMOVE_SECONDS,
    ) -> None:
        """`token` is the pool's. `instances` is the number of activations at once (`Limits.instances`).

        For `start_seconds` and `remove_seconds` see START_SECONDS and REMOVE_SECONDS.
        """
        self._api, self._actions, self._token = api, dict(actions), token
        self.instances = instances
        self._slots = Slots(instances)
        self._start_seconds, self._remove_seconds = start_seconds, remove_seconds
        self._made: list[str] = []
        self._served: set[Role] = set()
        self._free: Counter[Role] = Counter()
        """Containers that have answered and not been sent anything since."""

    async def create(self) -> None:
        """Create the actions, replacing those of the same names. Raises InvocationError."""
        for action in self._actions.values():
            # Named before the request, because an action may exist whose answer was lost.
            self._made.append(action.name)
            url = self._api.place("actions", action.name) % {"overwrite": "true"}
            answer = await self._api.insist("PUT", url, json.dumps(action.body()), seconds=CREATE_SECONDS)
            if answer.status != 200:
                raise InvocationError(
                    f"OpenWhisk at {self._api.url} refused the action {action.name} ({answer.status}): "
                    f"{answer.message}",
                    reason="StartFailed",
                )

    async def close(self) -> None:
        """Remove the actions, each of which holds credentials; what cannot be removed is named in a warning.

        Activations under way run to their end all the same.
        """
        left: dict[str, str] = {}
        deadline = time.monotonic() + self._remove_seconds
        try:
            for name in self._made:
                if why := await self._remove(name, deadline - time.monotonic()):
                    left[name] = why
        finally:
            self._made.clear()
            await self._api.close()
        for name, why in left.items():
            log.warning(
                "the action %s was not removed, and it holds the store's credentials: remove it by "
                "`wsk action delete %s` (%s)",
                name,
                name,
                why,
            )

    async def _remove(self, name: str, seconds: float) -> str:
        """Remove an action; why that failed, '' if it is gone."""
        try:
            answer = await self._api.insist("DELETE", self._api.place("actions", name), seconds=seconds)
        except InvocationError as error:
            return str(error)
        return "" if answer.status in (200, 204, 404) else f"status {answer.status}: {answer.message}"

    async def invoke(self, role: Role, request: Mapping[str, Any], *, seconds: float) -> Reply:
        """See Sender.invoke. The times of handler, start and queue are those that OpenWhisk measures.

        A call that is cancelled is given up, and its activation goes on.
        """
        asked = time.monotonic()
        await self._slots.acquire(urgent=role == "merger", job=str(request.get("job", "")))
        try:
            sent = time.monotonic()
            action = self._actions[role]
            seconds = action.seconds(seconds)
            warm = self._free[role] > 0
            self._free[role] -= warm
            call = Call(role, request, action.image, sent - asked, warm, role in self._served)
            record = await self._activate(call, action.name, seconds, sent + seconds + self._start_seconds)
        finally:
            self._slots.release()
        if keeps_container(record):
            self._served.add(role)
            self._free[role] += 1
        return reply_of(record, call)

    async def _activate(self, call: Call, name: str, seconds: float, deadline: float) -> dict[str, Any]:
        """The record of an activation once it has ended. It is requested again while the API is away or the namespace
        is at its limits, until `deadline`."""
        body = json.dumps(frames.to_json({**call.request, "secondsLeft": seconds, "token": self._token}))
        url = self._api.place("actions", name) % {"blocking": "true", "result": "false"}

        async def attempt() -> Answer:
            handover.begins()
            return await self._api.exchange("POST", url, body)

        answer = await repeated(attempt, seen=_taken, deadline=deadline, first_pause=FIRST_PAUSE)
        if answer.status == 202 and "activationId" in answer.body:
            return await self._poll(str(answer.body["activationId"]), call, seconds, deadline)
        if "response" in answer.body:
            return answer.body
        handover.not_had()
        raise _not_taken(call, answer)

    async def _poll(self, activation: str, call: Call, seconds: float, deadline: float) -> dict[str, Any]:
        url = self._api.place("activations", activation)
        where = in_words(call.request, activation)
        for pause in pauses(FIRST_PAUSE):
            if time.monotonic() >= deadline:
                break
            try:
                answer = await self._api.exchange("GET", url)
            except InstanceLost:
                pass  # the record stays where it is while the API is away
            else:
                if answer.status == 200 and "response" in answer.body:
                    return answer.body
                if answer.status in REFUSED:
                    raise InvocationError(f"{where}: OpenWhisk answered {answer.status}: {answer.message}")
            await asyncio.sleep(pause)
        raise InvocationTimeout(f"{where}: no answer within {seconds:g} s")


def _taken(answer: Answer) -> bool:
    """Whether it is of no use to send the activation again: there is one, or it is refused for good."""
    made = answer.status == 202 and "activationId" in answer.body
    return made or "response" in answer.body or not away_or_busy(answer)


def _not_taken(call: Call, answer: Answer) -> InvocationError:
    """The error for an answer without a record."""
    what = describe(call.request)
    if answer.status == BUSY:
        return InvocationError(
            f"{what}: OpenWhisk took no more activations ({answer.message}): lower --max-instances, or have the "
            "namespace's limits raised",
            reason="Unavailable",
            retryable=True,
        )
    return InvocationError(
        f"{what}: OpenWhisk answered {answer.status}: {answer.message}",
        reason="Unavailable" if answer.status >= 500 else "InvocationFailed",
        retryable=answer.status >= 500,
    )
