"""Displays of a running job: lines of text or JSON, at most one a second, or a live display.

Each display is an Observer of the driver, and is also told about the stages before training. It cannot change anything.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, Self, TextIO

from sapflow.errors import InvocationError
from sapflow.monitoring.progress import Progress
from sapflow.quantities.metric import in_words
from sapflow.quantities.roles import Role
from sapflow.records.commits import Commit, Forecast, Plan
from sapflow.records.evaluations import held_out, of_held_out
from sapflow.runtimes.embedded.runtime import EmbeddedRuntime
from sapflow.steps.observer import Observer, Observers, PreparedSoFar
from sapflow.text import count, dollars, duration, percent, printable, to_json

Event = dict[str, Any]
SECONDS_BETWEEN_LINES = 1.0


class Emitter:
    """Passes events to `emit`, which shows nothing in this class: the stages of a run that come before any training.

    Use it as a context manager for the whole run.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        """Restore the terminal."""

    def emit(self, event: Event) -> None:
        """Show an event, which is a dict with the field `event` and unformatted numbers."""

    def stage(self, text: str) -> None:
        """A stage before training has begun."""
        self.emit({"event": "stage", "text": text})

    def cut(self, samples: int) -> None:
        """This number of samples is cut into blocks so far."""
        self.emit({"event": "data", "samples": samples})

    def prepared(self, position: PreparedSoFar) -> None:
        """Raw data is prepared, and so far it has come."""
        self.emit(
            {
                "event": "data",
                "pass": position.what,
                "done": position.done,
                "total": position.partitions,
                "rows": position.rows,
                "badRows": position.bad,
                "costUSD": position.account.cost_usd,
            }
        )

    def preparation_forecast(self, said: Mapping[str, Any]) -> None:
        self.emit({"event": "preparationForecast", **said})


class Display(Emitter, Observer):
    """Turns everything that it is told into events."""

    def __init__(self) -> None:
        self.progress: Progress | None = None

    def begin(self, progress: Progress) -> None:
        """Training begins. The display keeps `progress` up to date."""
        self.progress = progress

    def watch(self, runtime: EmbeddedRuntime) -> None:
        """Functions will run in `runtime`. This is called in its event loop."""

    def resumed(self, commit: Commit) -> None:
        self._take(commit)
        self.emit({"event": "resumed", **self._position()})

    def planned(self, plan: Plan, forecast: Forecast | None) -> None:
        event = {"event": "planned", "structure": list(plan.structure), "shards": plan.shards}
        if forecast is not None:
            event |= {
                "secondsPerStep": forecast.seconds_per_step,
                "dollarsPerStep": forecast.dollars_per_step,
                "steps": forecast.steps,
                "constants": forecast.constants,
            }
        self.emit(event)

    def committed(self, commit: Commit) -> None:
        self._take(commit)
        self.emit({"event": "progress", **self._position(), **self._numbers()})

    def evaluated(self, version: int, metrics: Mapping[str, float]) -> None:
        if self.progress is not None:
            self.progress.take_evaluation(version, metrics)
        self.emit({"event": "evaluated", "version": version, **held_out(metrics)})

    def invocation_failed(self, role: Role, op: str, error: InvocationError) -> None:
        kind = "retry" if error.retryable else "failed"
        self.emit({"event": kind, "role": role, "op": op, "reason": error.reason, "message": str(error)})

    def hedged(self, role: Role, op: str, version: int) -> None:
        self.emit({"event": "hedge", "role": role, "op": op, "version": version})

    def checkpointed(self, version: int) -> None:
        self.emit({"event": "checkpoint", "version": version})

    def _take(self, commit: Commit) -> None:
        if self.progress is not None:
            self.progress.committed(commit, time.monotonic())

    def _position(self) -> Event:
        progress = self.progress
        if progress is None or progress.commit is None:
            return {}
        return {
            "version": progress.commit.version,
            "done": progress.done,
            "total": progress.extent.total,
            "unit": progress.extent.unit,
            "epoch": progress.commit.cursor.epoch,
        }

    def _numbers(self) -> Event:
        progress = self.progress
        if progress is None or progress.commit is None:
            return {}
        commit = progress.commit
        return _present(
            {
                "loss": commit.measured.loss,
                "accuracy": commit.measured.accuracy,
                "metrics": commit.measured.metrics,
                "secondsPerStep": progress.seconds_per_unit,
                "secondsLeft": progress.seconds_left,
                "costUSD": commit.account.cost_usd,
                "skipped": commit.skipped or None,
            }
        )


class Displays(Observers, Display):
    """Several displays as one; each keeps its own progress."""

    def __init__(self, *displays: Display) -> None:
        Observers.__init__(self, *displays)
        self._displays = displays
        self.progress = None

    def __enter__(self) -> Self:
        for each in self._displays:
            each.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        for each in reversed(self._displays):
            each.__exit__(*exc)

    def emit(self, event: Event) -> None:
        for each in self._displays:
            each.emit(event)

    def stage(self, text: str) -> None:
        for each in self._displays:
            each.stage(text)

    def cut(self, samples: int) -> None:
        for each in self._displays:
            each.cut(samples)

    def prepared(self, position: PreparedSoFar) -> None:
        for each in self._displays:
            each.prepared(position)

    def begin(self, progress: Progress) -> None:
        self.progress = progress
        for each in self._displays:
            each.begin(Progress(progress.extent))

    def watch(self, runtime: EmbeddedRuntime) -> None:
        for each in self._displays:
            each.watch(runtime)


def _present(values: Mapping[str, Any]) -> Event:
    return {name: value for name, value in values.items() if value is not None}


class LineDisplay(Display):
    """A line for each event. Lines of progress are at least a second apart, except for the first and the last."""

    def __init__(
        self,
        stream: TextIO,
        render: Callable[[Event], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._stream, self._render, self._clock = stream, render, clock
        self._next: dict[str, float] = {}

    def emit(self, event: Event) -> None:
        kind = event["event"]
        if kind in ("progress", "data"):
            now = self._clock()
            last = event.get("done") is not None and event["done"] == event.get("total")
            if now < self._next.get(kind, 0.0) and not last:
                return
            self._next[kind] = now + SECONDS_BETWEEN_LINES
        print(self._render(event), file=self._stream, flush=True)


def plain_line(event: Event) -> str:
    """An event as text without control characters."""
    match event["event"]:
        case "stage":
            text = event["text"]
        case "metrics":
            text = f"metrics at {event['url']}"
        case "data":
            text = data_line(event)
        case "preparationForecast":
            text = f"preparing: forecast {spread_line(event)}"
        case "planned":
            text = planned_line(event)
        case "resumed":
            text = f"going on from {event.get('unit', 'step')} {event.get('done', 0):,}"
        case "progress":
            text = progress_line(event)
        case "evaluated":
            numbers = in_words(of_held_out(event))
            text = f"evaluated version {event['version']:,} on held-out samples: {numbers}"
        case "retry" | "failed":
            again = "; trying again" if event["event"] == "retry" else ""
            text = f"{event['role']} {event['op']} failed ({event['reason']}): {event['message']}{again}"
        case "hedge":
            text = f"{event['role']} {event['op']} of version {event['version']:,} is late: sent a second one"
        case "checkpoint":
            text = f"checkpoint of version {event['version']:,}"
        case other:
            text = str(other)
    return " ".join(printable(text).split("\n"))


def data_line(event: Event) -> str:
    """The line about data that is cut or prepared."""
    if "samples" in event:
        return f"cut {count(event['samples'], 'sample')} into blocks"
    bad = f", {event['badRows']:,} bad" if event["badRows"] else ""
    rows = f", {count(event['rows'], 'row')}{bad}" if event["rows"] else ""
    spent = f", {dollars(event['costUSD'])}" if event["costUSD"] else ""
    return (
        f"preparing: {event['pass']}: {event['done']:,} of {count(event['total'], 'partition')}{rows}{spent}"
    )


def planned_line(event: Event) -> str:
    """The line about the merge tree and its forecast."""
    tree = "-".join(map(str, event["structure"]))
    text = f"merging by {tree}" + (f" in {event['shards']} shards" if event["shards"] > 1 else "")
    if "secondsPerStep" in event:
        seconds, spent = event["secondsPerStep"], event["dollarsPerStep"]
        total = f"{duration(event['steps'] * seconds)} and {dollars(event['steps'] * spent)}"
        text += (
            f": forecast {duration(seconds)} a step, {total} for {count(event['steps'], 'step')}, "
            f"from {event['constants']}"
        )
    return text


def spread_line(forecast: Mapping[str, Any]) -> str:
    """What was forecast with its spread and, once that has ended, how far it was off."""
    (least, most), (cheapest, dearest) = forecast["secondsRange"], forecast["costRange"]
    said = (
        f"{duration(forecast['seconds'])} ({duration(least)} to {duration(most)}) and "
        f"{dollars(forecast['costUSD'])} ({dollars(cheapest)} to {dollars(dearest)})"
    )
    graded = [
        f"{off(forecast[error])} of {what}, {'within' if forecast[within] else 'outside'}"
        for error, within, what in (
            ("secondsError", "secondsWithin", "time"),
            ("costError", "costWithin", "cost"),
        )
        if error in forecast
    ]
    return f"{said}: {'; '.join(graded)}" if graded else said


def forecast_line(forecast: Mapping[str, float]) -> str:
    """The forecast before the first step and, for a finished job, its error."""
    said = f"{duration(forecast['seconds'])} and {dollars(forecast['costUSD'])}"
    if "secondsError" not in forecast:
        return said
    return (
        f"{said}: {off(forecast['secondsError'])} of time, cold starts included, "
        f"{off(forecast['costError'])} of cost"
    )


def off(error: float) -> str:
    """An error relative to the measured value, as text."""
    return f"{abs(100 * error):.0f} % too {'much' if error > 0 else 'little'}"


def progress_line(event: Event) -> str:
    """A line with step, loss, accuracy, time and cost."""
    done, total = event.get("done", 0), event.get("total", 0)
    parts = [f"{event.get('unit', 'step')} {done:,}/{total:,} ({100 * done // max(total, 1)} %)"]
    if "loss" in event:
        parts.append(f"loss {event['loss']:.4f}")
    if "accuracy" in event:
        parts.append(f"accuracy {percent(event['accuracy'])}")
    if "metrics" in event:
        parts.append(in_words(event["metrics"]))
    if "skipped" in event:
        parts.append("not finite, left out")
    if "secondsPerStep" in event:
        parts.append(f"{duration(event['secondsPerStep'])} each")
    if event.get("secondsLeft"):
        parts.append(f"{duration(event['secondsLeft'])} left")
    if "costUSD" in event:
        parts.append(dollars(event["costUSD"]))
    return "  ".join(parts)


def json_line(event: Event) -> str:
    """An event as a line of JSON."""
    return to_json(event)
