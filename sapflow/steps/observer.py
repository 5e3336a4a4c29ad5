"""Observers of a job, such as displays and metrics. They cannot change anything."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sapflow.quantities.roles import Role
from sapflow.runtimes.sender import Answered

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sapflow.errors import InvocationError
    from sapflow.records.commits import Account, Commit, Forecast, Plan


@dataclass(frozen=True, slots=True)
class PreparedSoFar:
    """How far the preparation of raw data is."""

    what: str
    """What is done to the partitions, in words."""
    done: int
    partitions: int
    rows: int
    """Rows that were parsed so far."""
    bad: int
    """Those among them that gave no sample because something is wrong with them."""
    account: "Account"
    """What the job has consumed so far."""


class Observer:
    """Is told about everything that a driver does. The base class ignores it."""

    def prepared(self, position: PreparedSoFar) -> None:
        """Raw data is prepared, and so far it has come."""

    def preparation_forecast(self, said: "Mapping[str, Any]") -> None:
        """What the preparation of raw data is forecast to take, and at its end how far off that was."""

    def resumed(self, commit: "Commit") -> None:
        """The driver continues from a commit of an earlier driver."""

    def planned(self, plan: "Plan", forecast: "Forecast | None") -> None:
        """Steps follow this plan from now on; a new plan has a `forecast`."""

    def committed(self, commit: "Commit") -> None:
        """A version was committed, by this driver or another."""

    def evaluated(self, version: int, metrics: "Mapping[str, float]") -> None:
        """A version was evaluated on the held-out samples; its metrics by name, the loss among them."""

    def answered(self, role: Role, op: str, answer: Answered[Any]) -> None:
        """An invocation was answered; the type of `answer.reply` depends on the operation."""

    def invocation_failed(self, role: Role, op: str, error: "InvocationError") -> None:
        """An invocation failed; it is repeated if that may help."""

    def hedged(self, role: Role, op: str, version: int) -> None:
        """A straggler got a second invocation, a hedge."""

    def checkpointed(self, version: int) -> None:
        """A checkpoint was written."""

    def finished(self, outcome: dict[str, Any]) -> None:
        """The job succeeded; `outcome` is its record."""


class Observers(Observer):
    """Passes everything on to several observers, in their order."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def prepared(self, position: PreparedSoFar) -> None:
        for each in self._observers:
            each.prepared(position)

    def preparation_forecast(self, said: "Mapping[str, Any]") -> None:
        for each in self._observers:
            each.preparation_forecast(said)

    def resumed(self, commit: "Commit") -> None:
        for each in self._observers:
            each.resumed(commit)

    def planned(self, plan: "Plan", forecast: "Forecast | None") -> None:
        for each in self._observers:
            each.planned(plan, forecast)

    def committed(self, commit: "Commit") -> None:
        for each in self._observers:
            each.committed(commit)

    def evaluated(self, version: int, metrics: "Mapping[str, float]") -> None:
        for each in self._observers:
            each.evaluated(version, metrics)

    def answered(self, role: Role, op: str, answer: Answered[Any]) -> None:
        for each in self._observers:
            each.answered(role, op, answer)

    def invocation_failed(self, role: Role, op: str, error: "InvocationError") -> None:
        for each in self._observers:
            each.invocation_failed(role, op, error)

    def hedged(self, role: Role, op: str, version: int) -> None:
        for each in self._observers:
            each.hedged(role, op, version)

    def checkpointed(self, version: int) -> None:
        for each in self._observers:
            each.checkpointed(version)

    def finished(self, outcome: dict[str, Any]) -> None:
        for each in self._observers:
            each.finished(outcome)
