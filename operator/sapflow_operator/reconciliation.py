"""One reconciliation of an unfinished resource: the observed state, and status and events to write."""

from datetime import datetime
from typing import Any, Literal

from sapflow_operator import times
from sapflow_operator.actions import Event
from sapflow_operator.conditions import Conditions
from sapflow_operator.observed import JobObject, Observed
from sapflow_operator.settings import Settings


class Reconciliation:
    """The parts are changed in place. `status` is our part of the new status, and `events` are in addition to those of
    conditions."""

    def __init__(
        self, job: JobObject, observed: Observed, now: datetime, settings: Settings, status: dict[str, Any]
    ) -> None:
        self.job, self.observed, self.now, self.settings = job, observed, now, settings
        self.conditions = Conditions(job.status.get("conditions", ()), job.generation, now)
        self.status = status
        self.events: list[Event] = []

    @property
    def failed(self) -> bool:
        """Whether the resource has been found to be unable to continue."""
        return self.conditions.finished

    def say(self, reason: str, message: str, type: Literal["Normal", "Warning"] = "Normal") -> None:
        """Add an event."""
        self.events.append(Event(reason, message, type))

    def fail(self, reason: str, message: str) -> None:
        """Mark the resource as failed."""
        self.status["completionTime"] = times.write(self.now)
        self.conditions.mark_failed(reason, message)
