"""The operator's client of the API server. All its requests are made here."""

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
"""Repetitions of requests. An expired token is renewed at once, so 401 is worth another try."""
_KUBECONFIG_SECONDS = 300.0
"""Seconds after which a kubeconfig is read again."""
_CONNECTIONS = 8
"""Concurrent connections to the API server. An encrypted one takes 0.3 MiB, mostly asyncio's receive buffer."""

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
    **{each.kind: Kind(names.API_VERSION, each.plural) for each in (*names.RESOURCES, names.TRIAL)},
}
"""The kinds that the operator uses; `Service` is Knative's."""

RULES: tuple[dict[str, list[str]], ...] = (
    {
        "apiGroups": [names.GROUP],
        "resources": [each.plural for each in names.RESOURCES],
        "verbs": ["get", "list", "watch", "patch", "delete"],
    },
    {
        "apiGroups": [names.GROUP],
        "resources": [f"{each.plural}/status" for each in names.RESOURCES],
        "verbs": ["get", "patch"],
    },
    # Of spec.serve of a job or a search.
    {"apiGroups": [names.GROUP], "resources": [names.MODEL_SERVICE.plural], "verbs": ["create"]},
    # Owner references that block deletion need this if the cluster enforces it.
    {
        "apiGroups": [names.GROUP],
        "resources": [f"{each.plural}/finalizers" for each in names.RESOURCES],
        "verbs": ["update"],
    },
    # The drivers of searches write these, and the operator may give no right that it does not have.
    {
        "apiGroups": [names.GROUP],
        "resources": [names.TRIAL.plural],
        "verbs": [*names.TRIAL_VERBS],
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
    # When a cell moves, its pods are deleted.
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch", "delete"]},
    # A function that is ready gets the CPU limit that comes with its memory.
    {"apiGroups": [""], "resources": ["pods/resize"], "verbs": ["patch"]},
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
"""All rights of the operator, for the chart's ClusterRole."""

NODE_RULES: tuple[dict[str, list[str]], ...] = (
    {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]},
    {"apiGroups": [""], "resources": ["persistentvolumes"], "verbs": ["get"]},
)
"""Cluster-wide objects that it may read if the chart's rbac.nodes allows it."""


def log_in(settings: kopf.OperatorSettings) -> kopf.ConnectionInfo | None:
    """Credentials for kopf's own requests: the pod's service account, else the user's kubeconfig, else None."""
    return kopf.login_with_service_account(settings=settings) or kopf.login_with_kubeconfig(settings=settings)


class Login:
    """The credentials of the pod's service account, or else of the user's kubeconfig; found at the first request."""

    def __init__(self) -> None:
        self._account: ServiceAccount | None = None
        self._kubeconfig: Access | None = None
        self._until = 0.0

    @property
    def server(self) -> str:
        known = self._account or self._kubeconfig
        return known.server if known else ""

    async def current(self) -> Access:
        """The current credentials. Raises ClusterError if there are none."""
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
    """The operator's requests. It must be used and closed in one event loop."""

    def __init__(
        self, access: AccessSource | None = None, *, failed: Callable[[str, int], None] | None = None
    ) -> None:
        """`access` defaults to a `Login`. `failed` is called with method and HTTP status of each failed try."""
        self._api = ApiClient(access or Login(), PATIENCE, connections=_CONNECTIONS, failed=failed)

    async def get(self, kind: str, namespace: str | None, name: str) -> dict[str, Any] | None:
        """An object, or None if there is none. Raises ClusterError."""
        try:
            found = await self._api.read(KINDS[kind].path(namespace, name))
        except ClusterError as error:
            if error.status == 404:
                return None
            raise
        return {"kind": kind, **found}

    async def list(self, kind: str, namespace: str | None, selector: str = "") -> list[dict[str, Any]]:
        """The objects of a namespace (None means all) that match a label selector. Raises ClusterError."""
        return [each async for each in self.each(kind, namespace, selector)]

    async def each(
        self, kind: str, namespace: str | None, selector: str = ""
    ) -> AsyncIterator[dict[str, Any]]:
        """Like `list`, but yields one object after the other, and holds only a page of them. Raises ClusterError."""
        query = {"labelSelector": selector} if selector else {}
        async with aclosing(self._api.each(KINDS[kind].path(namespace), query)) as found:
            async for each in found:
                yield {**each, "kind": kind}

    async def create(self, manifest: Mapping[str, Any], *, dry_run: bool = False) -> None:
        """Create an object. Raises ClusterError, with 409 if there is one of its name, which is left as it is.

        With `dry_run` the server only checks whether it would accept it.
        """
        path = KINDS[manifest["kind"]].path(manifest["metadata"]["namespace"])
        await self._api.create(path, manifest, names.OPERATOR_MANAGER, dry_run=dry_run)

    async def change(self, manifest: Mapping[str, Any], uid: str, *, dry_run: bool = False) -> None:
        """Apply a manifest server-side to the object that has this uid, and to no other of its name.

        Raises ClusterError, with 404, 409 or 422 if the object is gone or was replaced. For `dry_run` see `create`.
        """
        metadata = {**manifest["metadata"], "uid": uid}
        path = KINDS[manifest["kind"]].path(metadata["namespace"], metadata["name"])
        if not dry_run:
            await self._own_what_was_created(path)
        await self._api.apply(
            path, {**manifest, "metadata": metadata}, names.OPERATOR_MANAGER, dry_run=dry_run
        )

    async def _own_what_was_created(self, path: str) -> None:
        """Make the fields with which an object was created fields that we applied.

        Otherwise a field that the next manifest leaves out would stay, because it would still be the creator's.
        """
        standing = (await self._api.read(path, with_managers=True))["metadata"]
        managers = standing.get("managedFields", [])
        mine = [each for each in managers if _is_ours(each)]
        if [each["operation"] for each in mine] != ["Update"]:
            return
        changed = [{**each, "operation": "Apply"} if each in mine else each for each in managers]
        # With the resource version, so that what another manager changes meanwhile stays that manager's.
        change = {"resourceVersion": standing["resourceVersion"], "managedFields": changed}
        await self._api.patch(path, {"metadata": change})

    async def apply_status(self, job: JobObject, status: Mapping[str, Any]) -> None:
        """Apply our part of a resource's status. A deleted resource is ignored. Raises ClusterError."""
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
        """Remove an object and everything that it owns. One that is gone or was replaced is ignored.

        With `at_once` the node need not confirm it.
        """
        try:
            await self._api.delete(KINDS[kind].path(namespace, name), uid, at_once=at_once)
        except ClusterError as error:
            if error.status not in (404, 409):
                raise

    async def release(self, kind: str, found: Mapping[str, Any], finalizer: str) -> None:
        """Take a finalizer from an object. One that is gone is ignored. Raises ClusterError."""
        metadata = found["metadata"]
        kept = [each for each in metadata.get("finalizers", ()) if each != finalizer]
        # With the resource version, so that a finalizer that another adds meanwhile stays.
        change = {"finalizers": kept, "resourceVersion": metadata["resourceVersion"]}
        try:
            await self._api.patch(
                KINDS[kind].path(metadata["namespace"], metadata["name"]), {"metadata": change}
            )
        except ClusterError as error:
            if error.status != 404:
                raise

    async def resizes(self) -> bool:
        """Whether this cluster changes resources of running pods in place. Raises ClusterError."""
        found = await self._api.read("/api/v1")
        return any(each["name"] == "pods/resize" for each in found.get("resources", ()))

    async def limit_cpu(self, namespace: str, pod: str, container: str, limit: str) -> None:
        """Give a container of a pod another CPU limit in place. A pod that is gone is ignored. Raises ClusterError."""
        changed = {"name": container, "resources": {"limits": {"cpu": limit}}}
        manifest = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": pod, "namespace": namespace},
            "spec": {"containers": [changed]},
        }
        try:
            path = KINDS["Pod"].path(namespace, pod, "resize")
            await self._api.apply(path, manifest, names.OPERATOR_MANAGER)
        except ClusterError as error:
            if error.status != 404:
                raise

    async def record(self, job: JobObject, event: Event) -> None:
        """Create an event for a resource. If that fails it is only logged, because no job depends on events."""
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


def _is_ours(entry: Mapping[str, Any]) -> bool:
    """Whether an entry of `managedFields` is about fields of the object itself that the operator has written."""
    return entry.get("manager") == names.OPERATOR_MANAGER and not entry.get("subresource")
