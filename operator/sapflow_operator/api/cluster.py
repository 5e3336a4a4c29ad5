"""The one place of the operator that talks to the API server."""

import asyncio
import json
import logging
import random
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aiohttp
import kopf

from sapflow import logs
from sapflow_operator import names, times
from sapflow_operator.actions import Event
from sapflow_operator.errors import ClusterError, ClusterUnavailable
from sapflow_operator.observed import JobObject

logger = logging.getLogger("sapflow.operator")

_SECONDS = 15.0
_TRIES = 4
_PAUSE = 0.2
PAGE = 200
"""Objects of a list that are read at once."""
_LOGIN_SECONDS = 300.0
"""A service account's token is replaced about once an hour, and the old one soon ends."""
_CONNECTIONS = 8
"""To the API server at once. Each encrypted one takes 0.3 MiB, most of it asyncio's buffer for what it receives."""
_AGAIN = {401, 429, 500, 502, 503, 504}


@dataclass(frozen=True, slots=True)
class Kind:
    """Where the API server keeps a kind."""

    api_version: str
    plural: str

    def path(self, namespace: str | None, name: str = "", subresource: str = "") -> str:
        root = "/api/v1" if self.api_version == "v1" else f"/apis/{self.api_version}"
        place = f"/namespaces/{namespace}" if namespace else ""
        return "/".join(part for part in (f"{root}{place}/{self.plural}", name, subresource) if part)


KINDS = {
    "ConfigMap": Kind("v1", "configmaps"),
    "Event": Kind("v1", "events"),
    "Job": Kind("batch/v1", "jobs"),
    "NetworkPolicy": Kind("networking.k8s.io/v1", "networkpolicies"),
    "Node": Kind("v1", "nodes"),
    "PersistentVolume": Kind("v1", "persistentvolumes"),
    "PersistentVolumeClaim": Kind("v1", "persistentvolumeclaims"),
    "Pod": Kind("v1", "pods"),
    "Role": Kind("rbac.authorization.k8s.io/v1", "roles"),
    "RoleBinding": Kind("rbac.authorization.k8s.io/v1", "rolebindings"),
    "Secret": Kind("v1", "secrets"),
    "Service": Kind("serving.knative.dev/v1", "services"),
    "ServiceAccount": Kind("v1", "serviceaccounts"),
    names.KIND: Kind(names.API_VERSION, names.PLURAL),
}
"""The kinds that the operator touches; `Service` is Knative's."""

RULES: tuple[dict[str, list[str]], ...] = (
    {
        "apiGroups": [names.GROUP],
        "resources": [names.PLURAL],
        "verbs": ["get", "list", "watch", "patch", "delete"],
    },
    {"apiGroups": [names.GROUP], "resources": [f"{names.PLURAL}/status"], "verbs": ["patch"]},
    # Owner references that block deletion need this where that is enforced.
    {"apiGroups": [names.GROUP], "resources": [f"{names.PLURAL}/finalizers"], "verbs": ["update"]},
    {
        "apiGroups": ["serving.knative.dev"],
        "resources": ["services"],
        "verbs": ["get", "list", "watch", "create", "patch", "delete"],
    },
    {
        "apiGroups": ["batch"],
        "resources": ["jobs"],
        "verbs": ["get", "list", "watch", "create", "patch", "delete"],
    },
    # A cell that moves takes its pods along.
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch", "delete"]},
    {
        "apiGroups": [""],
        "resources": ["persistentvolumeclaims"],
        "verbs": ["get", "list", "create", "patch", "delete"],
    },
    {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "create", "patch", "delete"]},
    {
        "apiGroups": [""],
        "resources": ["configmaps", "serviceaccounts"],
        "verbs": ["get", "create", "patch"],
    },
    {
        "apiGroups": ["rbac.authorization.k8s.io"],
        "resources": ["roles", "rolebindings"],
        "verbs": ["get", "create", "patch"],
    },
    {
        "apiGroups": ["networking.k8s.io"],
        "resources": ["networkpolicies"],
        "verbs": ["get", "create", "patch"],
    },
    {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]},
)
"""All that the operator may do: the chart's ClusterRole."""

NODE_RULES: tuple[dict[str, list[str]], ...] = (
    {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]},
    {"apiGroups": [""], "resources": ["persistentvolumes"], "verbs": ["get"]},
)
"""What it may read of no namespace, where the chart's rbac.nodes says so."""


def log_in(settings: kopf.OperatorSettings) -> kopf.ConnectionInfo | None:
    """The pod's service account, else the user's kubeconfig, else None."""
    return kopf.login_with_service_account(settings=settings) or kopf.login_with_kubeconfig(settings=settings)


def _loads(text: str) -> Any:
    """JSON without `managedFields`, which are half of most objects, and of which nothing here is asked."""
    return json.loads(text, object_pairs_hook=_without_managed_fields)


def _without_managed_fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in pairs if name != "managedFields"}


class Cluster:
    """An API client. To be used within one event loop, and closed there."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._earlier: aiohttp.ClientSession | None = None
        self._server = ""
        self._until = 0.0

    async def get(self, kind: str, namespace: str | None, name: str) -> dict[str, Any] | None:
        """An object, None where there is none. Raises ClusterError."""
        try:
            found = await self._ask("GET", KINDS[kind].path(namespace, name))
        except ClusterError as error:
            if error.status == 404:
                return None
            raise
        return {"kind": kind, **found}

    async def list(self, kind: str, namespace: str | None, selector: str = "") -> list[dict[str, Any]]:
        """The objects of a namespace (None: of all) that a label selector takes. Raises ClusterError."""
        return [each async for each in self.each(kind, namespace, selector)]

    async def each(
        self, kind: str, namespace: str | None, selector: str = ""
    ) -> AsyncIterator[dict[str, Any]]:
        """As `list`, one after the other: no more than a page of them is held. Raises ClusterError."""
        query = {"limit": str(PAGE)} | ({"labelSelector": selector} if selector else {})
        while True:
            page = await self._ask("GET", KINDS[kind].path(namespace), query=query)
            for each in page["items"]:
                yield {**each, "kind": kind}
            if not (more := page.get("metadata", {}).get("continue")):
                return
            query |= {"continue": more}

    async def apply(self, manifest: Mapping[str, Any], *, dry_run: bool = False) -> None:
        """Make our fields of an object what the manifest says, by server-side apply. Raises ClusterError.

        With `dry_run` it is only asked whether that would do.
        """
        metadata = manifest["metadata"]
        path = KINDS[manifest["kind"]].path(metadata["namespace"], metadata["name"])
        await self._apply(path, manifest, {"dryRun": "All"} if dry_run else {})

    async def apply_status(self, job: JobObject, status: Mapping[str, Any]) -> None:
        """Make our part of a job's status what is given. Raises ClusterError; a job that is gone is passed over."""
        manifest = {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {"name": job.name, "namespace": job.namespace, "uid": job.uid},
            "status": status,
        }
        try:
            await self._apply(KINDS[names.KIND].path(job.namespace, job.name, "status"), manifest)
        except ClusterError as error:
            if error.status not in (404, 409):
                raise

    async def delete(
        self, kind: str, namespace: str, name: str, uid: str | None = None, *, at_once: bool = False
    ) -> None:
        """Remove an object and what it owns; one that is gone, or is another by now, is passed over.

        With `at_once` no node is waited for.
        """
        body: dict[str, Any] = {"propagationPolicy": "Background"}
        if at_once:
            body["gracePeriodSeconds"] = 0
        if uid is not None:
            body["preconditions"] = {"uid": uid}
        try:
            await self._ask("DELETE", KINDS[kind].path(namespace, name), body=body)
        except ClusterError as error:
            if error.status not in (404, 409):
                raise

    async def record(self, job: JobObject, event: Event) -> None:
        """Leave an event at a job. One that cannot be left is logged: no job depends on it."""
        now = times.write(datetime.now(UTC))
        manifest = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{job.name}.{secrets.token_hex(8)}", "namespace": job.namespace},
            "involvedObject": {
                "apiVersion": names.API_VERSION,
                "kind": names.KIND,
                "name": job.name,
                "namespace": job.namespace,
                "uid": job.uid,
            },
            "reason": event.reason,
            "message": event.message[:1024],
            "type": event.type,
            "source": {"component": names.OPERATOR_MANAGER},
            "reportingComponent": names.OPERATOR_MANAGER,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        try:
            await self._ask("POST", KINDS["Event"].path(job.namespace), body=manifest)
        except ClusterError as error:
            logs.event(
                logger, logging.WARNING, "event lost", job=job.name, reason=event.reason, why=str(error)
            )

    async def close(self) -> None:
        for session in (self._session, self._earlier):
            if session is not None:
                await session.close()
        self._session = self._earlier = None

    async def _apply(
        self, path: str, manifest: Mapping[str, Any], options: Mapping[str, str] | None = None
    ) -> None:
        query = {"fieldManager": names.OPERATOR_MANAGER, "force": "true", **(options or {})}
        await self._ask("PATCH", path, query=query, body=manifest, media="application/apply-patch+yaml")

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        media: str = "application/json",
    ) -> dict[str, Any]:
        """One request, tried again a few times where that may help. All of them may be made twice."""
        for attempt in range(_TRIES):
            try:
                return await self._try(method, path, query, body, media)
            except ClusterUnavailable:
                if attempt == _TRIES - 1:
                    raise
                await asyncio.sleep(_PAUSE * 2**attempt * random.uniform(0.5, 1.0))
        raise AssertionError("unreachable")

    async def _try(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Mapping[str, Any] | None,
        media: str,
    ) -> dict[str, Any]:
        session = await self._login()
        try:
            async with session.request(
                method, f"{self._server}{path}", params=query, json=body, headers={"Content-Type": media}
            ) as response:
                answer = await response.json(content_type=None, loads=_loads)
        except asyncio.CancelledError as error:
            # A session that is closed cancels all that wait for one of its connections, which nobody has given up.
            task = asyncio.current_task()
            if session.closed and task is not None and not task.cancelling():
                raise ClusterUnavailable(f"{method} {path}: its session was closed", 0) from error
            raise
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise ClusterUnavailable(
                f"{method} {path}: the API server does not answer: {str(error) or type(error).__name__}", 0
            ) from error
        if response.status < 400:
            return dict(answer)
        if response.status == 401:
            self._until = 0.0
        message = answer.get("message", "") if isinstance(answer, dict) else ""
        refusal = ClusterUnavailable if response.status in _AGAIN else ClusterError
        raise refusal(f"{method} {path}: {response.status}: {message}", response.status)

    async def _login(self) -> aiohttp.ClientSession:
        """A session with the service account's present token, else with the kubeconfig's credentials."""
        now = asyncio.get_running_loop().time()
        if self._session is not None and now < self._until:
            return self._session
        info = log_in(kopf.OperatorSettings())
        if info is None:
            raise ClusterError("there is neither a service account nor a kubeconfig to log in with", 401)
        self._server = info.server.rstrip("/")
        self._until = now + _LOGIN_SECONDS
        # Requests are under way on the session before; the one before that has none left.
        unused, self._earlier = self._earlier, self._session
        session = self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=_CONNECTIONS, ssl=info.as_ssl_context()),
            headers=info.as_http_headers(),
            timeout=aiohttp.ClientTimeout(total=_SECONDS),
        )
        if unused is not None:
            await unused.close()
        return session
