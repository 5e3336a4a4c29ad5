"""Reads the counts of serving pods from their metrics, and keeps a tally of each service."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import aiohttp

from sapflow_operator import names, times
from sapflow_operator.observed import JobObject
from sapflow_operator.serving.counts import Counts, Tally, parse
from sapflow_operator.serving.pods_seen import answering
from sapflow_operator.serving.reconcile import Counted

Object = Mapping[str, Any]
SECONDS = 2.0
"""Seconds for the metrics of a pod."""
MOST_BYTES = 1 << 20
AT_ONCE = 16


class CountReader:
    """Asks the pods of services. It must be used and closed in one event loop."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._tallies: dict[str, _Standing] = {}
        self._asking = asyncio.Semaphore(AT_ONCE)

    async def read(self, service: JobObject, pods: Sequence[Object], now: datetime) -> Counted:
        """What the pods of a service have counted by now. One that does not answer is asked next time."""
        tally = self._tallies.get(service.uid)
        if tally is None:
            before = Counts(service.status.get("requests", 0), service.status.get("errors", 0))
            tally = self._tallies[service.uid] = _Standing(before, now)
        asked = answering(pods)
        for pod, counts in zip(asked, await asyncio.gather(*map(self._ask, asked)), strict=True):
            if counts is not None:
                tally.take(pod, counts)
        tally.tally.keep({pod["metadata"]["uid"] for pod in pods})
        canary = service.status.get("canary") or {}
        step = tally.tally.in_step(canary.get("revision", ""), canary.get("since", ""))
        return Counted(tally.before + tally.tally.total, step)

    def forget(self, uid: str) -> None:
        """Drop the tally of a service that is gone."""
        self._tallies.pop(uid, None)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _ask(self, pod: Object) -> Counts | None:
        """The counts of a pod's process; None if it does not answer with any."""
        address = pod["status"]["podIP"]
        host = f"[{address}]" if ":" in address else address
        try:
            async with (
                self._asking,
                self._client().get(f"http://{host}:{_port(pod)}/metrics") as answer,
            ):
                if answer.status != 200:
                    return None
                body = bytearray()
                async for part in answer.content.iter_any():
                    body += part
                    if len(body) > MOST_BYTES:
                        return None
                return parse(body.decode())
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError):
            return None

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SECONDS))
        return self._session


def _port(pod: Object) -> str:
    """Where its metrics are; that of a pod of requests by gRPC is another than theirs."""
    annotations: Mapping[str, str] = pod["metadata"].get("annotations") or {}
    return annotations.get("prometheus.io/port", str(names.FUNCTION_PORT))


class _Standing:
    """The tally of a service since this operator has seen it first, and what its status said then."""

    def __init__(self, before: Counts, began: datetime) -> None:
        self.tally, self.before, self._began = Tally(), before, began

    def take(self, pod: Object, counts: Counts) -> None:
        metadata = pod["metadata"]
        created = times.read(metadata["creationTimestamp"]).astimezone(UTC)
        self.tally.take(
            metadata["uid"],
            metadata["labels"].get(names.KNATIVE_REVISION, ""),
            counts,
            new=created >= self._began.replace(microsecond=0),
        )
