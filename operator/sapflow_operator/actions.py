"""Actions that the reconciler decides on and the controller carries out, in order."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sapflow_operator.wanted import Place, Wanted


@dataclass(frozen=True, slots=True)
class Apply:
    """Create or change a child so that it matches the manifest."""

    manifest: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a child and everything that it owns."""

    kind: str
    name: str
    at_once: bool = False
    """Whether to remove a pod without waiting for its node, which does not answer."""


@dataclass(frozen=True, slots=True)
class LimitCpu:
    """Give a function's pod, in place, another CPU limit."""

    pod: str
    limit: str


@dataclass(frozen=True, slots=True)
class IssueCredentials:
    """Make credentials for the job and write them to its pool's Secret."""

    wanted: Wanted


@dataclass(frozen=True, slots=True)
class RevokeCredentials:
    """Revoke a job's credentials."""

    uid: str
    place: Place
    kind: str
    access_keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RemoveObjects:
    """Remove a job's objects from the store; with `keep` result and last checkpoint stay."""

    uid: str
    place: Place
    keep: bool


@dataclass(frozen=True, slots=True)
class DeleteJob:
    """Remove the resource itself, because its `ttlSecondsAfterFinished` is over."""


Action = Apply | Delete | LimitCpu | IssueCredentials | RevokeCredentials | RemoveObjects | DeleteJob


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
