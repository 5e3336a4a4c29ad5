"""The driver's log: one line an event, and a line now and then of how far it is."""

import logging
import time
from collections.abc import Mapping
from typing import Any

from sapflow import logs
from sapflow.errors import InvocationError
from sapflow.quantities.roles import Role
from sapflow.records.commits import Commit, Forecast, Plan
from sapflow.runtimes.sender import Answered
from sapflow.steps.observer import Observer

logger = logging.getLogger("sapflow.driver")

SECONDS_BETWEEN_STEPS = 10.0
"""Steps may be milliseconds: between two lines of progress this long passes."""


class DriverLog(Observer):
    """Writes what a driver sees to the log."""

    def __init__(self, job: str) -> None:
        self._job = job
        self._next_step = 0.0
        self._size: int | None = None

    def resumed(self, commit: Commit) -> None:
        self._event(logging.INFO, "resumed", step=commit.version)

    def planned(self, plan: Plan, forecast: Forecast | None) -> None:
        said = {} if forecast is None else forecast.body()
        self._event(logging.INFO, "planned", structure=list(plan.structure), shards=plan.shards, **said)

    def committed(self, commit: Commit) -> None:
        now = time.monotonic()
        # The first step is told whenever it comes: it ends the wait that everybody asks about.
        level = logging.INFO if now >= self._next_step or commit.version == 1 else logging.DEBUG
        if level == logging.INFO:
            self._next_step = now + SECONDS_BETWEEN_STEPS
        self._event(
            level,
            "step",
            step=commit.version,
            epoch=commit.cursor.epoch,
            loss=commit.measured.loss,
            seconds=round(commit.measured.seconds, 6),
        )

        search = commit.measured.search
        if search is not None and search.size != self._size:
            self._size = search.size
            self._event(
                logging.INFO,
                "memory wanted",
                role="worker",
                size=search.quantity,
                step=commit.version,
                trials=len(search.trials),
                done=search.done,
            )

    def evaluated(self, version: int, metrics: Mapping[str, float]) -> None:
        self._event(logging.INFO, "evaluated", step=version, **metrics)

    def answered(self, role: Role, op: str, answer: Answered[Any]) -> None:
        if answer.cold_seconds:
            self._event(
                logging.INFO, "instance started", role=role, op=op, seconds=round(answer.cold_seconds, 3)
            )

    def invocation_failed(self, role: Role, op: str, error: InvocationError) -> None:
        self._event(
            logging.WARNING, "invocation failed", role=role, op=op, reason=error.reason, message=str(error)
        )

    def hedged(self, role: Role, op: str, version: int) -> None:
        self._event(logging.INFO, "hedged", role=role, op=op, step=version)

    def checkpointed(self, version: int) -> None:
        self._event(logging.INFO, "checkpoint", step=version)

    def finished(self, outcome: dict[str, Any]) -> None:
        self._event(logging.INFO, "succeeded", step=outcome["version"], sha256=outcome["sha256"])

    def _event(self, level: int, name: str, **fields: Any) -> None:
        known = {key: value for key, value in fields.items() if value is not None}
        logs.event(logger, level, name, job=self._job, **known)
