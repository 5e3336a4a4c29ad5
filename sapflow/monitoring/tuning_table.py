"""The live table of a running search in a terminal: trials at work, the best ones, and what all have used."""

import asyncio
import time
from typing import Self, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sapflow.monitoring.display import Event
from sapflow.monitoring.live import SECONDS_BETWEEN_FRAMES, grid
from sapflow.monitoring.tuning_display import TuningDisplay, plain_line, row_of, value_text
from sapflow.monitoring.tuning_progress import State, TrialState
from sapflow.spec.tuning_job import TuningJob
from sapflow.text import dollars

MOST_AT_WORK, MOST_BEST = 12, 5
"""Rows of trials that are at work, and of the best ones."""


class TuningTable(TuningDisplay):
    """Draws at most a few times a second; failures and new best trials stay as lines above the table."""

    def __init__(self, job: TuningJob, stream: TextIO, title: str) -> None:
        super().__init__(job)
        self._title, self._stage = title, "starting"
        self._live = Live(
            console=Console(file=stream), auto_refresh=False, transient=True, redirect_stderr=False
        )
        self._timer: asyncio.TimerHandle | None = None
        self._drawn = 0.0

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._live.stop()

    def emit(self, event: Event) -> None:
        match event["event"]:
            case "stage" | "data":
                self._stage = plain_line(event)
            case "failed":
                self._live.console.print(Text(plain_line(event), style="yellow"))
            case "best" | "forecast" | "notForecast" | "preparationForecast":
                self._live.console.print(Text(plain_line(event), style="dim"))
        self._draw_soon()

    def _draw_soon(self) -> None:
        """Draw now, or as soon as a frame's time has passed since the last."""
        if self._timer is not None:
            return
        left = self._drawn + SECONDS_BETWEEN_FRAMES - time.monotonic()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            # Before the search's loop runs, stages come one by one.
            left = 0.0
        if left <= 0:
            self._draw()
        else:
            self._timer = loop.call_later(left, self._draw)

    def _draw(self) -> None:
        self._timer, self._drawn = None, time.monotonic()
        self._live.update(self.picture(), refresh=True)

    def picture(self) -> RenderableType:
        """The current table."""
        progress = self.progress
        if not progress.begun:
            return Group(Text(self._title, style="bold"), Text(self._stage))
        at_work = sorted(progress.under_way.values(), key=lambda each: each.number)
        more = len(at_work) - MOST_AT_WORK
        parts: list[RenderableType] = [Text(self._title, style="bold"), self._bar()]
        parts.append(self._rows("at work", at_work[:MOST_AT_WORK]))
        if more > 0:
            parts.append(Text(f"and {more:,} more", style="dim"))
        if progress.top:
            parts.append(self._rows("best", progress.top[:MOST_BEST]))
        return Group(*parts)

    def _bar(self) -> RenderableType:
        progress, line = self.progress, grid(4, 2)
        most = progress.most or progress.begun
        counts = progress.counts
        others = f"{len(progress.under_way):,} at work, {len(progress.paused):,} paused"
        ended: tuple[State, State] = ("Stopped", "Failed")
        others += "".join(f", {counts[state]:,} {state.lower()}" for state in ended if counts[state])
        best = "" if progress.best is None else f"best {value_text(progress.metric, progress.best.value)}"
        line.add_row(
            Text(f"trial {progress.done:,}/{most:,}"),
            ProgressBar(total=most, completed=progress.done, width=32),
            Text(f"{others}   {best}"),
            Text(dollars(progress.dollars)),
        )
        return line

    def _rows(self, title: str, trials: list[TrialState]) -> RenderableType:
        table = Table(box=None, padding=(0, 2), title=title, title_justify="left", title_style="dim")
        for name in ("trial", "state", "done", self.progress.metric, "cost", "parameters"):
            table.add_column(name, no_wrap=True, header_style="dim")
        for each in trials:
            table.add_row(*map(Text, row_of(each, self.progress.metric, self.unit)))
        return table
