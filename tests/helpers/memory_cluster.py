"""The operator's cluster in memory: it has the semantics of names, uids and owners, and no controllers."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

from sapflow.kube.errors import ClusterError
from sapflow_operator import names, times
from sapflow_operator.actions import Event
from sapflow_operator.api.cluster import Cluster
from sapflow_operator.observed import JobObject

Object = dict[str, Any]
KNOWN = {"latestReadyRevisionName": "a-00001"}


class MemoryCluster(Cluster):
    """Objects by kind and name; all are in the namespace `team`."""

    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[tuple[str, str], Object] = {}
        self.events: list[tuple[str, str]] = []
        self.refused: dict[str, ClusterError] = {}
        """What is answered to every read of objects of a kind."""
        self._made = 0

    def add(self, kind: str, name: str, owner: str | None = None, **fields: Any) -> Object:
        """Place an object; `owner` is a uid."""
        self._made += 1
        metadata: Object = {"name": name, "namespace": "team", "uid": f"uid-{self._made}"}
        metadata |= {"ownerReferences": [{"uid": owner}]} if owner else {}
        metadata |= fields.pop("metadata", {})
        self.objects[kind, name] = {"kind": kind, "metadata": metadata, **fields}
        return self.objects[kind, name]

    def add_job(self, name: str, spec: Mapping[str, Any], uid: str | None = None, **metadata: Any) -> Object:
        created = times.write(datetime(2026, 1, 1, tzinfo=UTC))
        known = {"uid": uid or f"uid-{name}", "generation": 1, "creationTimestamp": created, **metadata}
        return self.add(names.KIND, name, spec=deepcopy(dict(spec)), status={}, metadata=known)

    def kinds(self) -> set[str]:
        """The kinds of the objects that there are, without the jobs."""
        return {kind for kind, _ in self.objects} - {names.KIND}

    async def get(self, kind: str, namespace: str | None, name: str) -> Object | None:
        await asyncio.sleep(0)
        if kind in self.refused:
            raise self.refused[kind]
        return deepcopy(self.objects.get((kind, name)))

    async def each(self, kind: str, namespace: str | None, selector: str = "") -> AsyncIterator[Object]:
        if kind in self.refused:
            raise self.refused[kind]
        wanted = dict(part.split("=") for part in selector.split(",") if "=" in part)
        for (found, _), each in list(self.objects.items()):
            labels = each["metadata"].get("labels", {})
            if found == kind and wanted.items() <= labels.items():
                yield deepcopy(each)

    async def create(self, manifest: Mapping[str, Any], *, dry_run: bool = False) -> None:
        key = manifest["kind"], manifest["metadata"]["name"]
        if key in self.objects:
            raise ClusterError(f"{key[1]} already exists", 409)
        if not dry_run:
            self._made += 1
            self._write(manifest, f"uid-{self._made}")

    async def change(self, manifest: Mapping[str, Any], uid: str, *, dry_run: bool = False) -> None:
        standing = self.objects.get((manifest["kind"], manifest["metadata"]["name"]))
        if standing is None or standing["metadata"]["uid"] != uid:
            raise ClusterError(f"the uid is not {uid}", 404 if standing is None else 409)
        if not dry_run:
            self._write(manifest, uid)

    def _write(self, manifest: Mapping[str, Any], uid: str) -> None:
        found = deepcopy(dict(manifest))
        found["metadata"]["uid"] = uid
        if manifest["kind"] == "Service":
            found["status"] = dict(KNOWN)
        self.objects[manifest["kind"], manifest["metadata"]["name"]] = found

    async def delete(
        self, kind: str, namespace: str, name: str, uid: str | None = None, *, at_once: bool = False
    ) -> None:
        standing = self.objects.get((kind, name))
        if standing is not None and uid in (None, standing["metadata"].get("uid")):
            del self.objects[kind, name]

    async def apply_status(self, job: JobObject, status: Mapping[str, Any]) -> None:
        self.objects[job.resource.kind, job.name]["status"] = deepcopy(dict(status))

    async def record(self, job: JobObject, event: Event) -> None:
        self.events.append((event.reason, event.message))

    def condition(self, job: str, type: str = "Succeeded") -> tuple[str, str, str]:
        """Status, reason and message of a job's condition."""
        for each in self.objects[names.KIND, job]["status"].get("conditions", ()):
            if each["type"] == type:
                return each["status"], each["reason"], each["message"]
        return "", "", ""
