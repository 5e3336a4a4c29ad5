"""The live display of a running job in a terminal: progress, numbers, the merge tree, and the functions."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Self, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sapflow.monitoring.display import Display, Event, plain_line
from sapflow.quantities import structure
from sapflow.quantities.metric import in_order, in_words
from sapflow.quantities.roles import ALL_ROLES, TRAINING_ROLES
from sapflow.records.commits import Forecast, Plan
from sapflow.runtimes.embedded.runtime import EmbeddedRuntime
from sapflow.text import count, dollars, duration, percent

SECONDS_BETWEEN_FRAMES = 0.2
MOST_DOTS = 32
SHOWN_METRICS = 1
"""Of an evaluation, in the picture."""
STATES = {"busy": ("●", "green"), "warm": ("●", "yellow"), "starting": ("◌", "cyan"), "ending": ("×", "red")}


class LiveDisplay(Display):
    """Draws in the run's event loop a few times a second. Important lines stay above the display."""

    def __init__(self, stream: TextIO, title: str, platform: str, *, redirect_stdout: bool = True) -> None:
        """`redirect_stdout`: what others print meanwhile goes above the picture."""
        super().__init__()
        self._title, self._tree, self._platform = title, "", platform
        self._live = Live(
            console=Console(file=stream),
            auto_refresh=False,
            transient=True,
            redirect_stdout=redirect_stdout,
            redirect_stderr=False,
        )
        self._stage = "starting"
        self._runtime: EmbeddedRuntime | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._drawn = 0.0

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._live.stop()

    def watch(self, runtime: EmbeddedRuntime) -> None:
        self._runtime = runtime
        self._stage = "starting functions"
        self._tick()

    def emit(self, event: Event) -> None:
        match event["event"]:
            case "stage":
                self._stage = event["text"]
                self._draw()
            case "data":
                self._stage = plain_line(event)
                if time.monotonic() - self._drawn > SECONDS_BETWEEN_FRAMES:
                    self._draw()
            case "progress":
                pass
            case kind:
                style = "yellow" if kind in ("retry", "failed", "hedge") else "dim"
                self._say(Text(plain_line(event), style=style))

    def _say(self, text: Text) -> None:
        """Print an important line above the display."""
        self._live.console.print(text)

    def planned(self, plan: Plan, forecast: Forecast | None) -> None:
        self._tree = structure.draw(plan.structure)
        if plan.shards > 1:
            self._tree += f"\nin {plan.shards} such trees, one a shard"
        super().planned(plan, forecast)

    def _tick(self) -> None:
        self._draw()
        self._timer = asyncio.get_running_loop().call_later(SECONDS_BETWEEN_FRAMES, self._tick)

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        self._refresh()

    def _refresh(self) -> None:
        self._live.update(self.picture(), refresh=True)

    def picture(self) -> RenderableType:
        """The current display."""
        instances = [] if self._runtime is None else self._runtime.instances()
        below = grid(2, 4)
        below.add_row(Text(self._tree), functions([(one.role, one.state) for one in instances], STATES))
        return Group(Text(self._title, style="bold"), self._bar(), self._figures(), below)

    def _bar(self) -> RenderableType:
        progress = self.progress
        if progress is None or progress.commit is None:
            return Text(self._stage)
        extent = progress.extent
        speed = rate(progress.seconds_per_unit, progress.seconds_left)
        return bar(extent.unit, progress.done, extent.total, speed)

    def _figures(self) -> RenderableType:
        progress = self.progress
        if progress is None or progress.commit is None:
            return Text("")
        measured, parts = progress.commit.measured, []
        if measured.loss is not None:
            parts.append(f"loss {measured.loss:.4f}")
        if measured.accuracy is not None:
            parts.append(f"training accuracy {percent(measured.accuracy)}")
        if measured.metrics:
            parts.append(f"training {in_words(measured.metrics)}")
        if progress.evaluated is not None:
            version, metrics = progress.evaluated
            shown = {name: metrics[name] for name in in_order(metrics)[:SHOWN_METRICS]}
            parts.append(f"validation {in_words(shown)} at {version:,}")
        parts.append(f"{dollars(progress.commit.account.cost_usd)} at {self._platform} prices")
        return Text("   ".join(parts))


def grid(columns: int, gap: int) -> Table:
    """A table without lines, with `gap` characters between columns."""
    table = Table.grid(padding=(0, gap))
    for _ in range(columns):
        table.add_column(no_wrap=True)
    return table


def bar(unit: str, done: int, total: int, speed: str) -> RenderableType:
    """The progress as numbers and a bar, followed by `speed`."""
    line = grid(4, 2)
    line.add_row(
        Text(f"{unit} {done:,}/{total:,}"),
        ProgressBar(total=total, completed=done, width=32),
        Text(f"{100 * done // max(total, 1)} %"),
        Text(speed),
    )
    return line


def rate(each: float | None, left: float | None) -> str:
    """The seconds of one unit and of all remaining ones; empty if they are not known."""
    if each is None or left is None:
        return ""
    return f"{duration(each)} each   {duration(left)} left" if left else f"{duration(each)} each"


def functions(found: Sequence[tuple[str, str]], marks: Mapping[str, tuple[str, str]]) -> RenderableType:
    """A dot for each function, (role, state), with the mark and colour of its state, and the numbers as text."""
    table = grid(3, 2)
    for role in ALL_ROLES:
        states = [state for of, state in found if of == role]
        if not states and role not in TRAINING_ROLES:
            continue
        dots = Text()
        for state in states[:MOST_DOTS]:
            mark, style = marks[state]
            dots.append(mark, style=style)
        counts: Counter[str] = Counter(states)
        words = ", ".join(f"{counts[state]} {state}" for state in marks if counts[state])
        table.add_row(Text(count(len(states), role)), dots, Text(words, style="dim"))
    return table
