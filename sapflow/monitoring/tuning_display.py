"""Displays of a running search: a line for each trial that begins or ends, as text or JSON, or a live table."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO

from sapflow.monitoring.display import SECONDS_BETWEEN_LINES, Emitter, Event, data_line, spread_line
from sapflow.monitoring.tuning_progress import TrialState, TuningProgress
from sapflow.quantities.metric import METRICS
from sapflow.spec.tuning_job import TuningJob
from sapflow.text import count, dollars, duration, printable, to_json
from sapflow.tuning.actions import Action, Advance, Report
from sapflow.tuning.actions import Event as Answer
from sapflow.tuning.forecast.record import SearchForecast, summary
from sapflow.tuning.runner import TuningObserver
from sapflow.tuning.trial import Trial


class TuningDisplay(Emitter, TuningObserver):
    """Turns what a search does into events."""

    def __init__(self, job: TuningJob) -> None:
        self.progress = TuningProgress(job)
        self.unit = "epoch" if job.spec.template.spec.algorithm.steps is None else "step"

    def opened(self, trials: Sequence[Trial]) -> None:
        self.progress.opened(trials)
        if trials:
            self.emit({"event": "resumed", **self._counts(), "begun": self.progress.begun})

    def began(self, action: Action) -> None:
        known = action.trial in self.progress.paused
        self.progress.began(action)
        if isinstance(action, Advance):
            parameters = dict(action.parameters)
            body = {"trial": action.trial, "to": action.to, "unit": self.unit, "parameters": parameters}
            self.emit({"event": "promoted" if known else "began", **body})

    def forecast(self, said: SearchForecast) -> None:
        self.emit({"event": "forecast", **summary(said), "trials": said.limits.max_trials})

    def not_forecast(self, why: str) -> None:
        self.emit({"event": "notForecast", "why": why})

    def told(self, event: Answer) -> None:
        before = self.progress.best
        self.progress.told(event)
        progress, best = self.progress, self.progress.best
        trial = progress.paused.get(event.trial) if isinstance(event, Report) else progress.last
        if trial is not None and trial.number == event.trial:
            self.emit(
                {"event": trial.state.lower(), "metric": progress.metric, **trial.to_json(), **self._counts()}
            )
        if best is not None and (before is None or best.value != before.value):
            self.emit({"event": "best", "metric": progress.metric, **best.to_json()})

    def _counts(self) -> Event:
        progress = self.progress
        return {"ended": progress.ended, "most": progress.most, "totalUSD": progress.dollars}


class TuningLines(TuningDisplay):
    """A line for each event; those of the data are at least a second apart."""

    def __init__(
        self,
        job: TuningJob,
        stream: TextIO,
        render: Callable[[Event], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(job)
        self._stream, self._render, self._clock = stream, render, clock
        self._next = 0.0

    def emit(self, event: Event) -> None:
        if event["event"] == "data":
            now = self._clock()
            if now < self._next:
                return
            self._next = now + SECONDS_BETWEEN_LINES
        print(self._render(event), file=self._stream, flush=True)


def plain_line(event: Event) -> str:
    """An event as text without control characters."""
    match event["event"]:
        case "stage":
            text = event["text"]
        case "data":
            text = data_line(event)
        case "resumed":
            text = f"going on with {count(event['begun'], 'trial')}, {event['ended']:,} of which have ended"
        case "preparationForecast":
            text = f"preparing: forecast {spread_line(event)}"
        case "forecast":
            text = f"forecast: {spread_line(event)}"
        case "notForecast":
            text = f"no forecast: {event['why']}"
        case "began":
            text = f"trial {event['trial']:,} began: {in_short(event['parameters'])}"
        case "promoted":
            text = f"trial {event['trial']:,} goes on to {event['unit']} {event['to']:,}"
        case "best":
            said = value_text(event["metric"], event["objective"])
            text = f"best so far: trial {event['trial']:,}, {event['metric']} {said}"
        case "paused" | "finished" | "stopped" | "failed":
            text = _trial_line(event)
        case other:
            text = str(other)
    return " ".join(printable(text).split("\n"))


def json_line(event: Event) -> str:
    """An event as a line of JSON."""
    return to_json({name: value for name, value in event.items() if value is not None})


def in_short(parameters: Mapping[str, Any], most: int | None = None) -> str:
    """Parameters by the last part of their paths, or by more of it where two have the same; cut after `most`
    characters."""
    names = list(parameters)
    shown = short_names(names)
    text = ", ".join(f"{shown[name]}={_number(parameters[name])}" for name in names)
    return text if most is None or len(text) <= most else f"{text[: most - 1]}…"


def short_names(paths: Sequence[str]) -> dict[str, str]:
    """The shortest endings of paths that differ from one another."""
    parts = {path: path.split(".") for path in paths}
    found = {}
    for path, own in parts.items():
        length = 1
        while length < len(own) and any(
            other[-length:] == own[-length:] for each, other in parts.items() if each != path
        ):
            length += 1
        found[path] = ".".join(own[-length:])
    return found


def value_text(metric: str, value: float | None) -> str:
    """The value of an objective as text."""
    if value is None:
        return "—"
    if metric == "dollars":
        return dollars(value)
    if metric == "seconds":
        return duration(value)
    known = METRICS.get(metric)
    return f"{value:.4g}" if known is None else known.text(value)


def _trial_line(event: Event) -> str:
    ended = f"{event['ended']:,}" + (f" of {event['most']:,}" if event.get("most") else "")
    parts = [f"trial {event['trial']:,} {event['event']}"]
    if event["event"] == "failed":
        parts[0] += f" ({event.get('reason', 'Error')})"
    elif event["event"] == "paused":
        parts[0] += f" at {event['at']:,}"
    if "objective" in event:
        parts.append(f"{event['metric']} {value_text(event['metric'], event['objective'])}")
    return "  ".join(
        [*parts, dollars(event["costUSD"]), f"{ended} ended, {dollars(event['totalUSD'])} in all"]
    )


def _number(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else to_json(value)


def row_of(trial: TrialState, metric: str, unit: str) -> tuple[str, str, str, str, str, str]:
    """The cells of a trial: number, state, units, objective, dollars, parameters."""
    state = f"{trial.state} ({trial.reason})" if trial.reason else trial.state
    return (
        f"{trial.number:,}", state, f"{unit} {trial.at:,}/{trial.to:,}", value_text(metric, trial.value),
        dollars(trial.dollars), in_short(trial.parameters),
    )  # fmt: skip
