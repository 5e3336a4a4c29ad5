"""The one place of the operator that talks to the API server."""

import asyncio
import logging
import os
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

import kopf

from sapflow import logs
from sapflow.kube.access import Access, AccessSource, ServiceAccount
from sapflow.kube.client import ApiClient, Patience
from sapflow.kube.errors import ClusterError
from sapflow.kube.paths import Kind
from sapflow_operator import names, times
from sapflow_operator.actions import Event
from sapflow_operator.observed import JobObject

logger = logging.getLogger("sapflow.operator")

PATIENCE = Patience(seconds=15.0, tries=4, pause=0.2, again=frozenset({401, 429, 500, 502, 503, 504}))
"""A token that has ended is renewed at once, so that 401 is worth another try."""
_KUBECONFIG_SECONDS = 300.0
"""After which a kubeconfig is read anew."""
_CONNECTIONS = 8
"""To the API server at once. Each encrypted one takes 0.3 MiB, most of it asyncio's buffer for what it receives."""

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
    **{each.kind: Kind(names.API_VERSION, each.plural) for each in names.RESOURCES},
}
"""The kinds that the operator touches; `Service` is Knative's."""

RULES: tuple[dict[str, list[str]], ...] = (
    {
        "apiGroups": [names.GROUP],
        "resources": [each.plural for each in names.RESOURCES],
        "verbs": ["get", "list", "watch", "patch", "delete"],
    },
    {
        "apiGroups": [names.GROUP],
        "resources": [f"{each.plural}/status" for each in names.RESOURCES],
        "verbs": ["patch"],
    },
    # Owner references that block deletion need this where that is enforced.
    {
        "apiGroups": [names.GROUP],
        "resources": [f"{each.plural}/finalizers" for each in names.RESOURCES],
        "verbs": ["update"],
    },
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
    """The pod's service account, else the user's kubeconfig, else None: for kopf's own requests."""
    return kopf.login_with_service_account(settings=settings) or kopf.login_with_kubeconfig(settings=settings)


class Login:
    """The pod's service account, else the user's kubeconfig as kopf reads it; looked for at the first request."""

    def __init__(self) -> None:
        self._account: ServiceAccount | None = None
        self._kubeconfig: Access | None = None
        self._until = 0.0

    @property
    def server(self) -> str:
        known = self._account or self._kubeconfig
        return known.server if known else ""

    async def current(self) -> Access:
        """Raises ClusterError where there is nothing to log in with."""
        if self._account is None and self._kubeconfig is None:
            self._account = ServiceAccount.in_pod(os.environ)
        if self._account is not None:
            return await self._account.current()
        now = asyncio.get_running_loop().time()
        if self._kubeconfig is None or now >= self._until:
            info = kopf.login_with_kubeconfig(settings=kopf.OperatorSettings())
            if info is None:
                raise ClusterError("there is neither a service account nor a kubeconfig to log in with", 401)
            self._kubeconfig = Access(info.server.rstrip("/"), info.as_http_headers(), info.as_ssl_context())
            self._until = now + _KUBECONFIG_SECONDS
        return self._kubeconfig

    def refused(self) -> None:
        self._until = 0.0
        if self._account is not None:
            self._account.refused()


class Cluster:
    """The operator's requests. To be used within one event loop, and closed there."""

    def __init__(
        self, access: AccessSource | None = None, *, failed: Callable[[str, int], None] | None = None
    ) -> None:
        """`access` left out is `Login`'s. `failed` hears of each try that fails: its method and HTTP status."""
        self._api = ApiClient(access or Login(), PATIENCE, connections=_CONNECTIONS, failed=failed)

    async def get(self, kind: str, namespace: str | None, name: str) -> dict[str, Any] | None:
        """An object, None where there is none. Raises ClusterError."""
        try:
            found = await self._api.read(KINDS[kind].path(namespace, name))
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
        query = {"labelSelector": selector} if selector else {}
        async with aclosing(self._api.each(KINDS[kind].path(namespace), query)) as found:
            async for each in found:
                yield {**each, "kind": kind}

    async def apply(self, manifest: Mapping[str, Any], *, dry_run: bool = False) -> None:
        """Make our fields of an object what the manifest says, by server-side apply. Raises ClusterError.

        With `dry_run` it is only asked whether that would do.
        """
        metadata = manifest["metadata"]
        path = KINDS[manifest["kind"]].path(metadata["namespace"], metadata["name"])
        await self._api.apply(path, manifest, names.OPERATOR_MANAGER, dry_run=dry_run)

    async def apply_status(self, job: JobObject, status: Mapping[str, Any]) -> None:
        """Make our part of a job's status what is given. Raises ClusterError; a job that is gone is passed over."""
        manifest = {
            "apiVersion": names.API_VERSION,
            "kind": job.resource.kind,
            "metadata": {"name": job.name, "namespace": job.namespace, "uid": job.uid},
            "status": status,
        }
        path = KINDS[job.resource.kind].path(job.namespace, job.name, "status")
        try:
            await self._api.apply(path, manifest, names.OPERATOR_MANAGER)
        except ClusterError as error:
            if error.status not in (404, 409):
                raise

    async def delete(
        self, kind: str, namespace: str, name: str, uid: str | None = None, *, at_once: bool = False
    ) -> None:
        """Remove an object and what it owns; one that is gone, or is another by now, is passed over.

        With `at_once` no node is waited for.
        """
        try:
            await self._api.delete(KINDS[kind].path(namespace, name), uid, at_once=at_once)
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
                "kind": job.resource.kind,
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
            await self._api.create(KINDS["Event"].path(job.namespace), manifest)
        except ClusterError as error:
            logs.event(
                logger, logging.WARNING, "event lost", job=job.name, reason=event.reason, why=str(error)
            )

    async def close(self) -> None:
        await self._api.close()
