"""`status.progress` of a TuningJob: counts, the best trials, the last failures; small whatever the number of trials."""

import json
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from sapflow.monitoring.tuning_progress import TrialState, TuningProgress
from sapflow.quantities.memory import MIB, format_quantity
from sapflow.records.memory_search import SizeTrial
from sapflow.spec.tuning_job import TuningJob
from sapflow.tuning.actions import Action, Event, Failed, Stop, Stopped
from sapflow.tuning.calls import Calls
from sapflow.tuning.forecast.record import SearchForecast, summary
from sapflow.tuning.pool_sizes import PoolSizes
from sapflow.tuning.runner import TuningObserver
from sapflow.tuning.settings import Limits
from sapflow.tuning.trial import Trial
from sapflow_operator.driver_pod.reports import (
    PreparationReport,
    Reporter,
    StatusApi,
    can_be_said,
    forecast_fields,
    rounded,
    shown,
)
from sapflow_operator.kinds.tuning_status import FAILURES, MESSAGE_CHARACTERS, TOP, parameter_texts

MOST_BYTES = 48 * 1024
"""Of the JSON of the driver's part of a status; the operator's part needs the rest of 64 KiB at most."""
PRUNED = ("Pruned", "Replaced")


class SearchProgress(TuningProgress):
    """Takes in what a search does, and what only its status tells: how many trials were pruned, why some failed."""

    def __init__(self, job: TuningJob) -> None:
        super().__init__(job)
        self.most = Limits.of(job).max_trials
        self.pruned = 0
        self.failures: deque[Failed] = deque(maxlen=FAILURES)
        """The last ones, the newest first."""
        self._reasons: dict[int, str] = {}

    def opened(self, trials: Sequence[Trial]) -> None:
        super().opened(trials)
        for trial in trials:
            self.pruned += trial.phase == "Stopped" and trial.reason in PRUNED
            if trial.phase == "Failed":
                self.failures.appendleft(Failed(trial.number, trial.reason, trial.message))

    def began(self, action: Action) -> None:
        super().began(action)
        if isinstance(action, Stop):
            self._reasons[action.trial] = action.reason

    def told(self, event: Event) -> None:
        super().told(event)
        match event:
            case Stopped(trial):
                self.pruned += self._reasons.pop(trial, "") in PRUNED
            case Failed():
                self.failures.appendleft(event)
            case _:
                pass


class SearchReporter(Reporter, TuningObserver):
    """Reports how far a search is, at most once a second and once at the end. Use as an async context manager."""

    def __init__(self, job: TuningJob, api: StatusApi) -> None:
        super().__init__(api)
        self.progress = SearchProgress(job)
        self.preparation = PreparationReport(self._changed)
        self._calls: Calls | None = None
        self._common: Callable[[], float] = lambda: 0.0
        self._job, self._sizes = job, PoolSizes(size=0, least=0)
        self._opened = False
        self._said: dict[str, Any] = {}
        """What was forecast, in the words of an outcome."""
        self.seen: dict[str, Any] = {}
        """The last report, for whoever asks from another thread."""
        self._seconds: Callable[[], float] = lambda: 0.0

    def attach(
        self,
        calls: Calls,
        common: Callable[[], float] = lambda: 0.0,
        seconds: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """Take in the calls, which know what is in flight, and what they have cost and may cost; `common` says the
        dollars of those that are no trial's, `seconds` how long the search has run, earlier drivers' time included."""
        self._calls, self._common, self._seconds = calls, common, seconds
        self._changed.set()

    def resized(self, sizes: PoolSizes) -> None:
        """Workers are to have another size of memory: the operator gives what is reported."""
        self._sizes = sizes
        self._changed.set()

    @property
    def knows(self) -> bool:
        """Whether the log was read: before, all counts would be 0."""
        return self._opened

    def opened(self, trials: Sequence[Trial]) -> None:
        self.progress.opened(trials)
        self._opened = True
        self._changed.set()

    def began(self, action: Action) -> None:
        self.progress.began(action)
        self._changed.set()

    def told(self, event: Event) -> None:
        self.progress.told(event)
        self._changed.set()

    def forecast(self, said: SearchForecast) -> None:
        self._said = summary(said)
        self._changed.set()

    def finished(self, outcome: dict[str, Any]) -> None:
        self._said = outcome.get("forecast", self._said)
        self._changed.set()

    def fields(self) -> dict[str, Any]:
        self.progress.common = self._common()
        progress, top = self.progress, [_standing(each) for each in self.progress.top[:TOP]]
        counts = progress.counts
        found: dict[str, Any] = {
            "trials": str(progress.done) if progress.most is None else f"{progress.done}/{progress.most}",
            "begun": progress.begun,
            "done": progress.done,
            "maxTrials": progress.most,
            "running": len(progress.under_way),
            "paused": len(progress.paused),
            "finished": counts["Finished"],
            "failed": counts["Failed"],
            "pruned": progress.pruned,
            "percent": None if not progress.most else round(100 * progress.done / progress.most, 1),
            "best": top[0] if top else None,
            "top": top,
            "failures": [_failure(each) for each in progress.failures],
            "costUSD": progress.dollars,
            "memory": self._memory(),
            "preparation": self.preparation.fields(),
            "secondsActive": round(self._seconds(), 1),
            "updated": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        if self._calls is not None:
            budget = self._calls.budget
            found |= {
                # Trials tell what they have used when they pause or end; calls are counted as they end.
                "costUSD": max(progress.dollars, budget.used),
                "callsInFlight": self._calls.in_flight,
                "maxWorkers": self._calls.most,
                "reservedUSD": None if budget.limit is None else budget.reserved,
                "budgetUSD": budget.limit,
            }
        found |= forecast_fields(self._said)
        self.seen = _within(shown({name: value for name, value in found.items() if can_be_said(value)}))
        return self.seen

    def _memory(self) -> dict[str, Any] | None:
        """The size that workers are to have, and those tried; None where there is no search for it."""
        sizes = self._sizes
        if not sizes.size:
            return None
        found = dict[str, Any](self._job.template.memory_sizes.items())
        found["worker"] = format_quantity(sizes.size * MIB)
        return {**found, "searching": not sizes.done, "trials": [_size(each) for each in sizes.trials]}


def _size(tried: SizeTrial) -> dict[str, Any]:
    return {
        "worker": format_quantity(tried.size * MIB),
        "secondsPerStep": rounded(tried.seconds, 6),
        "costUSD": rounded(tried.cost_usd, 12),
    }


def _standing(trial: TrialState) -> dict[str, Any]:
    found = {
        "trial": trial.number,
        "state": trial.state,
        "step": trial.at,
        "objective": trial.value,
        "costUSD": trial.dollars,
        "parameters": parameter_texts(trial.parameters),
    }
    return shown({name: value for name, value in found.items() if can_be_said(value)})


def _failure(failed: Failed) -> dict[str, Any]:
    # A traceback of the user's code is behind the first line.
    message = failed.message.partition("\n")[0][:MESSAGE_CHARACTERS]
    return {"trial": failed.trial, "reason": failed.reason, "message": message}


def _within(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields without the parameters of the last of the top trials, as many as are too large together."""
    for each in [*reversed(fields["top"]), fields.get("best", {})]:
        if len(json.dumps(fields, ensure_ascii=False).encode()) <= MOST_BYTES:
            break
        each.pop("parameters", None)
    return fields
