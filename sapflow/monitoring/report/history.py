"""What a report shows of a job's versions, taken in one after the other; memory does not grow with them. Pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sapflow.monitoring.report.homes import Homes
from sapflow.monitoring.report.reduction import Bars, Extremes, Sample
from sapflow.monitoring.report.timeline import Timeline
from sapflow.records.commits import Commit, Measured

WARM_UP_STEPS = 3
"""Predictions are not compared with this many steps at the beginning, unless there are no others."""
PHASES = ("compute", "read", "data", "merge", "update", "write", "queue", "cold")
"""Phases of invocations that charts tell apart, lowest first. All other phases are `OTHER`."""
OTHER = "other"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A version's metrics on the held-out samples, and what the job had consumed by then."""

    version: int
    metrics: Mapping[str, float]
    """By name, the loss among them; NaN where one is not finite."""
    seconds: float
    dollars: float


@dataclass(frozen=True, slots=True)
class Step:
    """What one step took."""

    version: int
    seconds: float
    dollars: float
    measured: Measured


class History:
    """The versions of a job. Events, means and sums are of all of them; of the versions themselves those stay that a
    chart has room for, with the extremes of what it draws."""

    def __init__(
        self,
        length: int,
        plan: str,
        *,
        evaluated: int,
        chosen: int | None = None,
    ) -> None:
        """`length` is the number of versions, version 0 included, and `evaluated` how many of them may have been
        evaluated; `plan` is the last version's, and `chosen` the version that is the result, if that is known."""
        self._plan, self._chosen = plan, chosen
        self._kept = Extremes[Commit](max(length - 1, 0))
        self._evaluations = Extremes[Evaluation](evaluated)
        self._warm, self._all = Sample[Step](), Sample[Step]()
        self._old: Commit | None = None
        self._start: Commit | None = None
        self._result: Commit | None = None
        self.timeline = Timeline()
        self.homes = Homes()
        self.phases = Bars(max(length - 1, 0))
        """Seconds of all functions in a step, by phase."""
        self.forecasts: list[Commit] = []
        """The versions that begin a plan with a forecast."""
        self.metrics: set[str] = set()
        """The names of all metrics, of steps and of evaluations."""
        self.data_bytes = 0
        """Bytes of the data that all steps read."""

    def take(
        self, commit: Commit, metrics: Mapping[str, float] | None = None, *, is_checkpoint: bool = False
    ) -> None:
        """Take in the next version; `metrics` are those of its evaluation."""
        account, old = commit.account, self._old
        self.timeline.take(old, commit, is_checkpoint=is_checkpoint)
        for moved in self.homes.take(commit):
            self.timeline.add("cell moved", account.seconds, commit.version, moved)
        if metrics is not None:
            found = Evaluation(commit.version, metrics, account.seconds, account.cost_usd)
            self._evaluations.add(found, _finite(metrics))
            self.metrics |= metrics.keys()
        if commit.forecast is not None:
            self.forecasts.append(_slim(commit))
        if old is None:
            self._start = commit
        else:
            self._take_step(old, commit)
        if commit.version == self._chosen:
            self._result = commit
        self._old = commit

    def _take_step(self, old: Commit, commit: Commit) -> None:
        measured = commit.measured
        self._kept.add(_slim(commit), _figures(measured))
        self.phases.add(float(commit.version), _by_phase(measured.phases))
        self.metrics |= {*(measured.metrics or {})}
        if measured.accuracy is not None:
            self.metrics.add("accuracy")
        self.data_bytes += measured.data_bytes or 0
        step = Step(
            commit.version,
            commit.account.seconds - old.account.seconds,
            commit.account.cost_usd - old.account.cost_usd,
            measured,
        )
        warm = commit.account.cold_starts == old.account.cold_starts and old.plan == self._plan
        if warm and commit.version > WARM_UP_STEPS:
            self._warm.add(step)
            self._all.items.clear()
        elif not self._warm.items:
            self._all.add(step)

    @property
    def start(self) -> Commit:
        """Version 0."""
        assert self._start is not None
        return self._start

    @property
    def last(self) -> Commit:
        assert self._old is not None
        return self._old

    @property
    def result(self) -> Commit:
        """The version that was chosen as the result, or the last one if none is chosen yet."""
        return self._result or self.last

    @property
    def commits(self) -> list[Commit]:
        """The versions 1, 2, … that charts draw, in order, without the objects that they stand on."""
        return self._kept.items

    @property
    def evaluations(self) -> list[Evaluation]:
        """The evaluations that charts draw, in order."""
        return self._evaluations.items

    @property
    def warm(self) -> list[Step]:
        """Steps of the last plan in which no function had to be started, without the warm-up if there are enough."""
        return self._warm.items or self._all.items


def _slim(commit: Commit) -> Commit:
    """The version without what no chart draws."""
    measured = commit.measured.model_copy(update={"levels": [], "search": None})
    lists = ("params", "optimizer", "counters", "applied", "layout", "kept")
    left_out: dict[str, Any] = {**{name: [] for name in lists}, "states": None, "judged": None}
    return commit.model_copy(update={**left_out, "measured": measured})


def _figures(measured: Measured) -> dict[str, float]:
    """What charts draw of a step."""
    found = {"loss": measured.loss, "accuracy": measured.accuracy, "seconds": measured.seconds}
    found |= {f"metric {name}": value for name, value in (measured.metrics or {}).items()}
    found |= {f"peak {role}": float(peak) for role, peak in measured.peak_memory_bytes.items()}
    found |= {f"limit {role}": float(max(some)) for role, some in measured.memory_limits.items() if some}
    if measured.store_read is not None and measured.store_written is not None:
        found["store"] = float(measured.store_read + measured.store_written)
    return _finite(found)


def _finite(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None and math.isfinite(value)}


def _by_phase(phases: Mapping[str, float]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, seconds in phases.items():
        known = name if name in PHASES else OTHER
        found[known] = found.get(known, 0.0) + seconds
    return found
