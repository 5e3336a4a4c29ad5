"""The facts that a search's report is made from: its log, read in order, and its outcome."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from sapflow.errors import DataError
from sapflow.monitoring.tuning_report.active_time import ActiveTime
from sapflow.objects import keys
from sapflow.objects.stores.protocol import Store
from sapflow.records.commits import Records
from sapflow.spec.tuning_job import TuningJob
from sapflow.tuning.actions import Failed, Finished, Report, Stopped
from sapflow.tuning.entries import Common, Entry, Warm
from sapflow.tuning.log import Log
from sapflow.tuning.result import front, ranked
from sapflow.tuning.settings import Settings
from sapflow.tuning.state import State
from sapflow.tuning.trial import Trial
from sapflow.tuning.usage import Usage


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A trial's objectives at one length, in the order in which they became known."""

    trial: int
    at: int
    """Units that the trial had done."""
    values: tuple[float, ...]
    seconds: float
    """Of the search's running time, when it was known."""
    dollars: float
    """What the search had used by then."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What the search had used after an answer of a trial, or after calls that are no trial's."""

    seconds: float
    dollars: float


@dataclass
class SearchFacts:
    """A search, as recorded in its store."""

    uid: str
    job: TuningJob
    settings: Settings
    state: State
    outcome: dict[str, Any] | None = None
    """Of a search that has ended with a result."""
    evaluated: list[Evaluated] = field(default_factory=list)
    spent: list[Spent] = field(default_factory=list)
    time: ActiveTime = field(default_factory=ActiveTime)

    @property
    def phase(self) -> Literal["Succeeded", "Failed", "Unfinished"]:
        if self.state.over is None:
            return "Unfinished"
        return "Failed" if self.outcome is None else "Succeeded"

    @property
    def dollars(self) -> float:
        """What the search has used: of one that has ended also what trials that were interrupted have, which only the
        budget knows."""
        state = self.state
        return state.used if state.over is None else max(state.used, state.granted)

    @property
    def trials(self) -> list[Trial]:
        return self.state.trials

    @property
    def ranked(self) -> list[Trial]:
        """The trials that have a value, the best first."""
        return ranked(self.settings, self.trials)

    @property
    def front(self) -> list[Trial]:
        """The trials that no other one beats in every objective."""
        return front(self.settings, self.trials)

    @property
    def unit(self) -> str:
        """The unit of lengths."""
        return "epoch" if self.job.spec.template.spec.algorithm.steps is None else "step"

    def take(self, entries: Iterable[Entry]) -> None:
        """Take in the next entries of the log."""
        for entry in entries:
            match entry:
                case Warm():
                    continue
                case Usage():
                    self.time.take(entry)
                    continue
            self.state.apply(entry)
            match entry:
                case Report() | Finished():
                    values = tuple(each.value(entry) for each in self.settings.objectives)
                    at, dollars = self.time.seconds, self.state.used
                    self.evaluated.append(Evaluated(entry.trial, entry.at, values, at, dollars))
                    self.spent.append(Spent(at, dollars))
                case Failed() | Stopped() | Common():
                    self.spent.append(Spent(self.time.seconds, self.state.used))


async def gather(uid: str, job: TuningJob, store: Store) -> SearchFacts:
    """Read everything that the report of a search shows. This only reads.

    Raises DataError if no trial has begun, CorruptObject, StoreError.
    """
    prefix = keys.job(uid)
    settings = Settings.of(job)
    facts = SearchFacts(uid, job, settings, State(settings))
    facts.take(await Log(store, prefix).read())
    if not facts.trials and facts.state.over is None:
        raise DataError(f"no trial of {uid} has begun yet: there is nothing to report")
    if facts.state.over is not None:
        facts.outcome = await Records(store, prefix).read(keys.result(prefix, "outcome.json"))
    return facts
