"""The live display of a cluster's search: trials, the best ones, and the functions, fed from the API server."""

from typing import Any, Self, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sapflow.cli.cluster_lines import line
from sapflow.cli.cluster_live import MARKS
from sapflow.client import cluster_search
from sapflow.monitoring import live
from sapflow.monitoring.display import Display, Event
from sapflow.monitoring.tuning_display import in_short, value_text
from sapflow.text import dollars

MOST_BEST = 5
"""Rows of the best trials."""


class SearchDisplay(Display):
    """Redraws only after a change."""

    def __init__(self, stream: TextIO, title: str) -> None:
        super().__init__()
        self._title, self._stage = title, "starting"
        self._live = Live(
            console=Console(file=stream), auto_refresh=False, transient=True, redirect_stderr=False
        )
        self._event: Event = {}
        self._functions: list[tuple[str, str]] = []

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._live.stop()

    def emit(self, event: Event) -> None:
        match event["event"]:
            case "trials":
                self._event = event
            case "functions":
                self._functions = [
                    (role, state if state in MARKS else "failing") for role, state in event["functions"]
                ]
            case kind:
                self._stage = line(event)
                style = "yellow" if kind == "warning" else "dim"
                self._live.console.print(Text(self._stage, style=style))
        self._live.update(self.picture(), refresh=True)

    def picture(self) -> RenderableType:
        """The current display."""
        parts: list[RenderableType] = [Text(self._title, style="bold"), self._bar()]
        if top := self._event.get("top"):
            parts.append(self._best(top[:MOST_BEST]))
        parts.append(live.functions(self._functions, MARKS))
        return Group(*parts)

    def _bar(self) -> RenderableType:
        event = self._event
        if not event:
            return Text(self._stage)
        shown = live.grid(4, 2)
        most = event.get("most") or max(1, event["ended"])
        shown.add_row(
            Text(cluster_search.trials_in_words(event)),
            ProgressBar(total=most, completed=event["ended"], width=32),
            Text(dollars(event["costUSD"]) if "costUSD" in event else ""),
        )
        return shown

    def _best(self, trials: list[dict[str, Any]]) -> RenderableType:
        metric = self._event["metric"]
        table = Table(box=None, padding=(0, 2), title="best", title_justify="left", title_style="dim")
        for name in ("trial", "state", metric, "cost", "parameters"):
            table.add_column(name, no_wrap=True, header_style="dim")
        for each in trials:
            cells = (
                f"{each['trial']:,}", each.get("state", ""), value_text(metric, each.get("objective")),
                dollars(each.get("costUSD", 0.0)), in_short(each.get("parameters", {})),
            )  # fmt: skip
            table.add_row(*map(Text, cells))
        return table
