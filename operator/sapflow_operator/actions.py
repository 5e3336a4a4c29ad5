"""Actions that the reconciler decides on and the controller carries out, in order."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sapflow_operator.names import Resource
from sapflow_operator.wanted import Place, Wanted


@dataclass(frozen=True, slots=True)
class Apply:
    """Create or change a child so that it matches the manifest."""

    manifest: Mapping[str, Any]
    uid: str | None = None
    """The uid of the child that is to be changed; None if there is none yet."""


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a child and everything that it owns."""

    kind: str
    name: str
    at_once: bool = False
    """Whether to remove a pod without waiting for its node, which does not answer."""
    uid: str | None = None
    """The uid of the object as it was seen; another one of this name is left alone."""


@dataclass(frozen=True, slots=True)
class LimitCpu:
    """Give a function's pod, in place, another CPU limit."""

    pod: str
    limit: str


@dataclass(frozen=True, slots=True)
class IssueCredentials:
    """Make credentials for the job and write them to its pool's Secret."""

    wanted: Wanted
    until: datetime | None = None
    """When the credentials end that the job has; None if it has none. Until then the job needs no others."""


@dataclass(frozen=True, slots=True)
class RevokeCredentials:
    """Revoke a job's credentials."""

    uid: str
    place: Place
    kind: str
    access_keys: tuple[str, ...]
    expires: datetime | None = None


@dataclass(frozen=True, slots=True)
class RemoveObjects:
    """Remove a job's objects from the store; with `keep` result and last checkpoint stay."""

    uid: str
    place: Place
    keep: bool


@dataclass(frozen=True, slots=True)
class LeaveSharedData:
    """End a job's use of a shared area, which is removed after its last user."""

    uid: str
    place: Place
    digest: str


@dataclass(frozen=True, slots=True)
class KeepLastVersion:
    """Record the last committed version as a checkpoint, because no driver is there to do it."""

    uid: str
    place: Place


@dataclass(frozen=True, slots=True)
class ReleaseParts:
    """Take our finalizers from the objects that the resource's driver has made, because no driver will do it."""

    resource: Resource


@dataclass(frozen=True, slots=True)
class Serve:
    """Make the ModelService that a job with a model asks for, or update it."""

    manifest: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DeleteJob:
    """Remove the resource itself, because its `ttlSecondsAfterFinished` is over."""


Action = (
    Apply
    | Delete
    | LimitCpu
    | IssueCredentials
    | RevokeCredentials
    | RemoveObjects
    | LeaveSharedData
    | KeepLastVersion
    | ReleaseParts
    | Serve
    | DeleteJob
)


@dataclass(frozen=True, slots=True)
class Event:
    """An event, which `kubectl describe` shows; `reason` is a CamelCase word."""

    reason: str
    message: str
    type: Literal["Normal", "Warning"] = "Normal"


@dataclass(frozen=True, slots=True)
class Plan:
    """The actions to take now, the status to write, and the seconds until the next reconciliation (None: after a
    change)."""

    actions: tuple[Action, ...] = ()
    status: Mapping[str, Any] | None = None
    events: tuple[Event, ...] = ()
    again: float | None = None


@dataclass(frozen=True, slots=True)
class Deletion:
    """The actions for a resource that is being deleted; `done` if nothing of it is left after them."""

    actions: tuple[Action, ...] = ()
    done: bool = False
    late: bool = False
    """Whether it has waited long enough: what cannot be done now is told and left."""
