"""The observed state of a job in the cluster, read from the API server's objects."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from sapflow.quantities.memory import parse_quantity
from sapflow.quantities.roles import Role
from sapflow_operator import names, times
from sapflow_operator.names import Resource
from sapflow_operator.nodes import Inventory, amount
from sapflow_operator.origin import Origin

Object = Mapping[str, Any]
FUNCTION_CONTAINER = "user-container"
"""Knative's name for the function's container."""
_STARTING = {"ContainerCreating", "PodInitializing"}


@dataclass(frozen=True, slots=True)
class JobObject:
    """A resource of one of our kinds in the cluster; its spec is not checked yet."""

    name: str
    namespace: str
    uid: str
    generation: int
    created: datetime
    deleting: bool
    spec: Mapping[str, Any]
    status: Mapping[str, Any]
    resource: Resource = names.TRAINING_JOB
    labels: Mapping[str, str] = field(default_factory=dict)
    deleted: datetime | None = None
    """When its deletion was asked for."""

    @classmethod
    def read(cls, body: Object, resource: Resource = names.TRAINING_JOB) -> "JobObject":
        metadata = body["metadata"]
        return cls(
            metadata["name"],
            metadata["namespace"],
            metadata["uid"],
            metadata.get("generation", 0),
            times.read(metadata["creationTimestamp"]),
            "deletionTimestamp" in metadata,
            body.get("spec", {}),
            body.get("status", {}),
            resource,
            metadata.get("labels", {}),
            times.read(metadata["deletionTimestamp"]) if "deletionTimestamp" in metadata else None,
        )

    @property
    def pool(self) -> str:
        """What the names of its children begin with."""
        return self.resource.pool(self.name)

    @property
    def document(self) -> dict[str, Any]:
        """The document for `sapflow.spec.document.parse`."""
        metadata = {"name": self.name, "namespace": self.namespace, "uid": self.uid}
        return {
            "apiVersion": names.API_VERSION,
            "kind": self.resource.kind,
            "metadata": metadata,
            "spec": self.spec,
        }

    @property
    def queue(self) -> dict[str, str]:
        """The labels by which Kueue knows it; empty if it is in no queue of Kueue."""
        if names.QUEUE_LABEL not in self.labels:
            return {}
        return {name: value for name, value in self.labels.items() if name.startswith(names.KUEUE)}

    @property
    def suspended(self) -> bool:
        return bool(self.spec.get("suspend", False))


class Verdict(BaseModel):
    """The driver's termination message."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    reason: str = ""
    message: str = ""
    version: int = -1
    model: str = ""
    """The URI of the model of a job that was stopped, if its driver has written it."""


@dataclass(frozen=True, slots=True)
class Driver:
    state: Literal["absent", "going", "pending", "running", "succeeded", "failed"]
    digest: str = ""
    verdict: Verdict = field(default_factory=Verdict)
    trouble: str = ""
    """Why no pod of the driver runs."""
    held: bool = False
    """Whether somebody, such as Kueue, does not let it run yet."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """A pod of a role that cannot start or was killed."""

    role: Role
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Pool:
    """The credentials in the pool's Secret."""

    kind: str
    access_keys: tuple[str, ...]
    renew: datetime | None
    expires: datetime | None = None


@dataclass(frozen=True)
class Observed:
    """The children of a job: objects by kind and name, and pods."""

    objects: Mapping[tuple[str, str], Object] = field(default_factory=dict)
    pods: Sequence[Object] = ()
    outcome: Object | None = None
    """The outcome record, if the driver has succeeded."""
    inventory: Inventory = field(default_factory=Inventory)
    """Nodes, for placed jobs and those whose driver is about to start; volumes for placed jobs."""
    strangers: Sequence[Object] = ()
    """Objects that are not the job's and have the names of children that it needs."""
    origin: Origin | None = None
    """The version that a fork begins with, if the fork is about to be planned for the first time."""

    @classmethod
    def of(cls, objects: Iterable[Object], pods: Sequence[Object]) -> "Observed":
        return cls({(each["kind"], each["metadata"]["name"]): each for each in objects}, pods)

    def get(self, kind: str, name: str) -> Object | None:
        return self.objects.get((kind, name))

    def uid(self, kind: str, name: str) -> str | None:
        """The uid of a child, None if there is none."""
        found = self.get(kind, name)
        return None if found is None else found["metadata"].get("uid")

    def known(self, services: Iterable[str]) -> bool:
        """Whether Knative has made revisions of functions; they have DNS names by the time that a driver runs."""
        found = [self.get("Service", name) for name in services]
        return all(each and each.get("status", {}).get("latestReadyRevisionName") for each in found)

    def pool(self, job: str) -> Pool | None:
        secret = self.get("Secret", names.pool_secret(job))
        if secret is None:
            return None
        notes = secret["metadata"].get("annotations", {})
        keys = tuple(key for key in notes.get(names.CREDENTIALS_KEYS, "").split(",") if key)
        renew, expires = _time(notes, names.CREDENTIALS_RENEW), _time(notes, names.CREDENTIALS_EXPIRE)
        return Pool(notes.get(names.CREDENTIALS_KIND, "shared"), keys, renew, expires)

    def pods_of(self, *roles: str) -> list[Object]:
        """The pods of these roles that have not ended."""
        return [pod for pod in self.pods if _role(pod) in roles and not has_ended(pod)]

    def names_of(self, kind: str) -> list[str]:
        """The names of all children of a kind."""
        return [name for each, name in self.objects if each == kind]

    def pods_in(self, cell: int) -> list[Object]:
        """The pods of a cell."""
        return [pod for pod in self.pods if names.cell_of(pod["metadata"].get("labels", {})) == cell]

    def driver(self, job: str) -> Driver:
        """The state of the driver, from its Job and pods."""
        found = self.get("Job", names.driver(job))
        if found is None:
            return Driver("absent")
        digest = found["metadata"].get("annotations", {}).get(names.SPEC_DIGEST, "")
        if "deletionTimestamp" in found["metadata"]:
            return Driver("going", digest)
        conditions = {
            each["type"]: each
            for each in found.get("status", {}).get("conditions", ())
            if each["status"] == "True"
        }
        if "Complete" in conditions:
            return Driver("succeeded", digest, self._verdict(names.EXIT_SUCCEEDED))
        if "Failed" in conditions:
            verdict = self._verdict(names.EXIT_FAILED)
            if not verdict.reason:
                given = conditions["Failed"]
                message = f"the driver was given up: {given.get('message', given.get('reason', ''))}"
                verdict = Verdict(reason="DriverFailed", message=message)
            return Driver("failed", digest, verdict)
        if "Suspended" in conditions or found.get("spec", {}).get("suspend"):
            queue = found["metadata"].get("labels", {}).get(names.QUEUE_LABEL)
            who = f"its queue of Kueue, {queue}, has" if queue else "somebody has"
            return Driver("pending", digest, trouble=f"{who} suspended the driver's Job", held=True)
        if any(_at_work(pod) for pod in self.pods if _role(pod) == names.DRIVER):
            return Driver("running", digest)
        pods = self.pods_of(names.DRIVER)
        troubles = [trouble for pod in pods if (trouble := _trouble(pod, names.DRIVER))]
        return Driver("pending", digest, trouble=troubles[0][1] if troubles else "")

    def _verdict(self, code: int) -> Verdict:
        for pod in self.pods:
            if _role(pod) != names.DRIVER:
                continue
            for container in pod.get("status", {}).get("containerStatuses", ()):
                ended = container.get("state", {}).get("terminated")
                if ended and ended.get("exitCode") == code:
                    return _parse_verdict(ended.get("message", ""))
        return Verdict()

    def troubles(self, roles: Iterable[Role]) -> list[Trouble]:
        """The function pods of these roles that cannot start."""
        return [
            Trouble(role, *trouble)
            for role in roles
            for pod in self.pods_of(role)
            if (trouble := _trouble(pod, FUNCTION_CONTAINER))
        ]

    def killed_for_memory(self, role: Role, limit: str) -> bool:
        """Whether a function with this limit was killed for memory. Pods with other limits do not count."""
        return any(
            _oom_killed(pod) and _limit(pod) == parse_quantity(limit)
            for pod in self.pods
            if _role(pod) == role
        )

    def largest_killed(self, role: Role) -> int:
        """The largest memory limit in bytes with which a function was killed; 0 if none was."""
        limits = (_limit(pod) for pod in self.pods if _role(pod) == role and _oom_killed(pod))
        return max(limits, default=0)


def pods_of(job: JobObject, pods: Iterable[Object], children: Iterable[Object]) -> list[Object]:
    """The pods that belong to this very job, not to an earlier one of its name. `children` are its other objects.

    Pods that were made before there was a label with the job's uid are known by the Service or Job that made them or,
    after that is gone, by their age.
    """
    makers = {each["metadata"].get("uid") for each in children} - {None}
    return [
        pod
        for pod in pods
        if names.kind_of(pod["metadata"].get("labels", {})) == job.resource.kind
        and _belongs(job, pod["metadata"], makers)
    ]


def has_ended(pod: Object) -> bool:
    """Whether a pod holds nothing any more."""
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def _belongs(job: JobObject, metadata: Mapping[str, Any], makers: set[str]) -> bool:
    labels = metadata.get("labels", {})
    if names.UID_LABEL in labels:
        return bool(labels[names.UID_LABEL] == job.uid)
    made_by = {each["uid"] for each in metadata.get("ownerReferences", ())}
    if makers & {labels.get(names.KNATIVE_SERVICE_UID), *made_by}:
        return True
    return times.read(metadata["creationTimestamp"]) > job.created


def _time(notes: Mapping[str, str], name: str) -> datetime | None:
    """The time in an annotation; one that cannot be read is long ago."""
    try:
        return times.read(notes[name]) if name in notes else None
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)


def _role(pod: Object) -> str:
    return names.role_of(pod["metadata"].get("labels", {}))


def _at_work(pod: Object) -> bool:
    """Whether a driver runs in the pod, or has just succeeded, which its Job shows a moment later."""
    return pod.get("status", {}).get("phase") in ("Running", "Succeeded")


def _parse_verdict(text: str) -> Verdict:
    try:
        return Verdict.model_validate(json.loads(text))
    except (ValueError, ValidationError):
        return Verdict(message=text.strip()[-1024:])


def _container(pod: Object, name: str) -> Object:
    statuses = pod.get("status", {}).get("containerStatuses", ())
    return next((each for each in statuses if each["name"] == name), {})


def _oom_killed(pod: Object) -> bool:
    container = _container(pod, FUNCTION_CONTAINER)
    states = (container.get("state", {}), container.get("lastState", {}))
    return any(state.get("terminated", {}).get("reason") == "OOMKilled" for state in states)


def _limit(pod: Object) -> int:
    for container in pod.get("spec", {}).get("containers", ()):
        if container["name"] == FUNCTION_CONTAINER:
            return int(amount(container.get("resources", {}).get("limits", {}).get("memory", "0")))
    return 0


def _trouble(pod: Object, container: str) -> tuple[str, str] | None:
    """(reason, message) if a pod waits for something that will not happen by itself."""
    for condition in pod.get("status", {}).get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable":
            return "Unschedulable", condition.get("message", "no node has room for it")
    waiting = _container(pod, container).get("state", {}).get("waiting", {})
    reason = waiting.get("reason")
    if reason and reason not in _STARTING:
        return str(reason), waiting.get("message", "")
    return None
