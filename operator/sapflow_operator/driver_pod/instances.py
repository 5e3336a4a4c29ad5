"""The addresses of a job's ready instances, from a watch of EndpointSlices.

Knative keeps two Services for each revision. The private one selects the revision's own pods; the public one may name
the activator instead. Its port 8012 is the queue proxy's, which counts the calls that the autoscaler goes by.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from sapflow import logs
from sapflow.kube.client import ApiClient
from sapflow.kube.errors import ClusterError
from sapflow.kube.paths import Kind

logger = logging.getLogger("sapflow.driver")

SLICES = Kind("discovery.k8s.io/v1", "endpointslices")
PRIVATE = "networking.internal.knative.dev/serviceType=Private"
PORT_NAME = "http"
_SERVICE, _SERVICE_UID = "serving.knative.dev/service", "serving.knative.dev/serviceUID"
_GENERATION = "serving.knative.dev/configurationGeneration"
_PAUSE = 10.0
"""Seconds until a watch that has failed begins anew. Meanwhile calls go through the activator."""

Slice = Mapping[str, Any]


class Instances:
    """Knows `host:port` of the instances that are ready, by Knative Service."""

    def __init__(self, client: ApiClient, namespace: str, selector: str) -> None:
        """`selector` is that of the labels of the job's functions. The client is closed with this."""
        self._client = client
        self._path = SLICES.path(namespace)
        self._query = {"labelSelector": f"{selector},{PRIVATE}"}
        self._addresses: dict[str, list[str]] = {}
        self._task: asyncio.Task[None] | None = None

    def of(self, service: str) -> list[str]:
        """The addresses of the ready instances of the revision that gets a service's new calls."""
        return self._addresses.get(service, [])

    def start(self) -> None:
        """Begin to watch, in the running event loop."""
        self._task = asyncio.create_task(self._watch())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self._client.close()

    async def _watch(self) -> None:
        while True:
            try:
                known: dict[str, Slice] = {}
                async for changes in self._client.changes(self._path, self._query):
                    for kind, found in changes:
                        take(known, kind, found)
                    self._addresses = ready(known.values())
            except ClusterError as error:
                # Without the right to watch, or without an API server, training goes on by the other way.
                self._addresses = {}
                logs.event(logger, logging.WARNING, "instances not watched", message=str(error))
            await asyncio.sleep(_PAUSE)


def take(known: dict[str, Slice], kind: str, found: Iterable[Slice]) -> None:
    """Apply a change of a watch to the slices that are known, by name."""
    if kind == "LISTED":
        known.clear()
    for each in found:
        name = each["metadata"]["name"]
        if kind == "DELETED":
            known.pop(name, None)
        else:
            known[name] = each


def ready(slices: Iterable[Slice]) -> dict[str, list[str]]:
    """`host:port` of the ready instances by service, of its newest revision only.

    A revision has a slice before it has instances, so its predecessor's instances are called no more from then on: they
    could not go to zero while calls reach them. Of two services of one name, the first is being deleted.
    """
    newest: dict[str, tuple[str, int]] = {}
    addresses: dict[str, list[str]] = {}
    for each in sorted(slices, key=lambda one: one["metadata"].get("creationTimestamp") or ""):
        labels = each["metadata"].get("labels") or {}
        service = labels.get(_SERVICE)
        if service is None:
            continue
        revision = labels.get(_SERVICE_UID, ""), int(labels.get(_GENERATION, "0"))
        before = newest.get(service)
        if before is None or before[0] != revision[0] or before[1] < revision[1]:
            newest[service], addresses[service] = revision, []
        if newest[service] == revision:
            addresses[service] += _addresses(each)
    return addresses


def _addresses(found: Slice) -> list[str]:
    port = next((port["port"] for port in found.get("ports") or [] if port.get("name") == PORT_NAME), None)
    if port is None:
        return []
    return [
        f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        for endpoint in found.get("endpoints") or []
        if (state := endpoint.get("conditions") or {}).get("ready") and not state.get("terminating")
        for address in endpoint["addresses"][:1]
    ]
