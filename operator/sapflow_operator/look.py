"""One look at a resource that has not finished: what is seen, and what is to be said of it. The kinds write into it."""

from datetime import datetime
from typing import Any, Literal

from sapflow_operator import times
from sapflow_operator.actions import Event
from sapflow_operator.conditions import Conditions
from sapflow_operator.observed import JobObject, Observed
from sapflow_operator.settings import Settings


class Look:
    """Its parts are read and changed in place: `status` is our part of the status to be, `events` come beside those
    that the conditions bring."""

    def __init__(
        self, job: JobObject, observed: Observed, now: datetime, settings: Settings, status: dict[str, Any]
    ) -> None:
        self.job, self.observed, self.now, self.settings = job, observed, now, settings
        self.conditions = Conditions(job.status.get("conditions", ()), job.generation, now)
        self.status = status
        self.events: list[Event] = []

    @property
    def failed(self) -> bool:
        """Whether this look has found that the resource cannot go on."""
        return self.conditions.finished

    def say(self, reason: str, message: str, type: Literal["Normal", "Warning"] = "Normal") -> None:
        """Leave an event."""
        self.events.append(Event(reason, message, type))

    def fail(self, reason: str, message: str) -> None:
        """The resource cannot go on."""
        self.status["completionTime"] = times.write(self.now)
        self.conditions.mark_failed(reason, message)
