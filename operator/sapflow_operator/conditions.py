"""A job's conditions, changed through named verbs only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sapflow_operator import times

SUCCEEDED, PLANNED, FUNCTIONS_READY, SUSPENDED = "Succeeded", "Planned", "FunctionsReady", "Suspended"
READY = "Ready"
Truth = Literal["True", "False", "Unknown"]
MAX_MESSAGE = 4096


@dataclass(frozen=True, slots=True)
class Condition:
    type: str
    status: Truth
    reason: str
    message: str
    since: str
    generation: int

    def to_json(self) -> dict[str, Any]:
        return {
            "type": self.type,
            "status": self.status,
            "reason": self.reason,
            "message": self.message,
            "lastTransitionTime": self.since,
            "observedGeneration": self.generation,
        }


class Conditions:
    """The conditions of a job, which only the methods below change."""

    def __init__(self, standing: Sequence[Mapping[str, Any]], generation: int, now: datetime) -> None:
        self._generation, self._now = generation, times.write(now)
        self._found = {
            each["type"]: Condition(
                each["type"],
                each["status"],
                each["reason"],
                each.get("message", ""),
                each.get("lastTransitionTime", self._now),
                each.get("observedGeneration", 0),
            )
            for each in standing
        }

    def __getitem__(self, type: str) -> Condition:
        """A condition; Unknown if it was never set."""
        return self._found.get(type, Condition(type, "Unknown", "", "", self._now, 0))

    @property
    def finished(self) -> bool:
        return self[SUCCEEDED].status != "Unknown"

    def to_json(self) -> list[dict[str, Any]]:
        return [self._found[type].to_json() for type in sorted(self._found)]

    def mark_queued(self, running: int) -> None:
        """The job waits until one of the running jobs has ended."""
        message = f"waits: {running} jobs run, and no more may at once; jobs start in order of creation"
        self._set(SUCCEEDED, "Unknown", "Queued", message)

    def mark_planned(self, message: str) -> None:
        """The spec is valid, and it is known what to run. The job is no longer suspended."""
        self._set(PLANNED, "True", "Planned", message)
        if self[SUSPENDED].status == "True":
            self._set(SUSPENDED, "False", "Resumed", "goes on from the last commit")

    def mark_not_planned(self, reason: str, message: str) -> None:
        """Something outside the job is missing; the operator tries again."""
        self._set(PLANNED, "False", reason, message)
        self._set(SUCCEEDED, "Unknown", reason, message)

    def mark_functions_ready(self) -> None:
        self._set(FUNCTIONS_READY, "True", "Ready", "functions can be called")

    def mark_functions_not_ready(self, reason: str, message: str) -> None:
        self._set(FUNCTIONS_READY, "False", reason, message)

    def mark_functions_waiting(self, message: str) -> None:
        self._set(FUNCTIONS_READY, "Unknown", "Deploying", message)

    def mark_starting(self, message: str) -> None:
        """No driver is running yet, or at the moment."""
        self._set(SUCCEEDED, "Unknown", "Starting", message)

    def mark_at_work_on_data(self, stage: str) -> None:
        """The driver has functions prepare the data; `stage` is what they do."""
        self._set(SUCCEEDED, "Unknown", "Preparing", f"the data is prepared: {stage}")

    def mark_running(self) -> None:
        self._set(SUCCEEDED, "Unknown", "Running", "the driver is at work")

    def mark_suspended(self, model: str) -> None:
        """Driver and functions are removed; the last commit stays. `model` says how to get its model, '' if there is
        none."""
        message = "spec.suspend is true; set it to false to go on from the last commit"
        message += f"; {model}" if model else ""
        self._set(SUSPENDED, "True", "Suspended", message)
        self._set(SUCCEEDED, "Unknown", "Suspended", message)
        if FUNCTIONS_READY in self._found:
            self._set(FUNCTIONS_READY, "False", "Suspended", "there are none while the job is suspended")

    def mark_succeeded(self, reason: str, message: str) -> None:
        self._finish("True", reason, message)

    def mark_failed(self, reason: str, message: str) -> None:
        self._finish("False", reason, message)

    def mark_serving(self, reason: str, message: str) -> None:
        """A ModelService answers requests with the version that it is to have, or one that takes over meanwhile."""
        self._set(READY, "True", reason, message)

    def mark_not_serving(self, reason: str, message: str) -> None:
        """A ModelService does not answer, or not with the version that it is to have."""
        self._set(READY, "False", reason, message)

    def mark_deploying(self, reason: str, message: str) -> None:
        """It is not known yet whether a ModelService answers."""
        self._set(READY, "Unknown", reason, message)

    def _finish(self, status: Truth, reason: str, message: str) -> None:
        self._set(SUCCEEDED, status, reason, message)
        if FUNCTIONS_READY in self._found:
            self._set(FUNCTIONS_READY, "False", "Finished", "a finished job has none")

    def _set(self, type: str, status: Truth, reason: str, message: str) -> None:
        old = self._found.get(type)
        since = old.since if old is not None and old.status == status else self._now
        self._found[type] = Condition(type, status, reason, message[:MAX_MESSAGE], since, self._generation)
