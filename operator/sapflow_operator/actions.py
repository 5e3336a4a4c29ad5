"""What the reconciler asks for; the controller does it, in order."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sapflow_operator.wanted import Place, Wanted


@dataclass(frozen=True, slots=True)
class Apply:
    """Bring a child to what the manifest says."""

    manifest: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a child, and what it owns."""

    kind: str
    name: str
    at_once: bool = False
    """Without waiting for its node to end it: that one does not answer."""


@dataclass(frozen=True, slots=True)
class IssueCredentials:
    """Make credentials for the job, and put them into its pool's Secret."""

    wanted: Wanted


@dataclass(frozen=True, slots=True)
class RevokeCredentials:
    """End a job's credentials."""

    uid: str
    place: Place
    kind: str
    access_keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RemoveObjects:
    """Remove a job's objects from the store; `keep` leaves result and last checkpoint."""

    uid: str
    place: Place
    keep: bool


@dataclass(frozen=True, slots=True)
class DeleteJob:
    """Remove the TrainingJob itself: it has outlived its time."""


Action = Apply | Delete | IssueCredentials | RevokeCredentials | RemoveObjects | DeleteJob


@dataclass(frozen=True, slots=True)
class Event:
    """A line in `kubectl describe`; `reason` is a CamelCase word."""

    reason: str
    message: str
    type: Literal["Normal", "Warning"] = "Normal"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now, what to say, and when to look again (seconds; None: when something changes)."""

    actions: tuple[Action, ...] = ()
    status: Mapping[str, Any] | None = None
    events: tuple[Event, ...] = ()
    again: float | None = None


@dataclass(frozen=True, slots=True)
class Farewell:
    """What to do for a job that is being deleted; `done` when nothing is left afterwards."""

    actions: tuple[Action, ...] = ()
    done: bool = False
