"""The live display of a cluster's job: that of a local run, fed from the API server."""

from collections.abc import Sequence
from typing import TextIO

from rich.console import Group, RenderableType
from rich.text import Text

from sapflow.cli.cluster_lines import line
from sapflow.client import cluster_job
from sapflow.client.cluster import Object
from sapflow.monitoring import live
from sapflow.monitoring.display import Event
from sapflow.quantities import structure
from sapflow.quantities.metric import in_order, in_words
from sapflow.quantities.prices import AWS_LAMBDA
from sapflow.records.evaluations import of_held_out
from sapflow.text import dollars, percent

MARKS = {
    "running": ("●", "green"),
    "pending": ("◌", "cyan"),
    "ending": ("×", "yellow"),
    "failing": ("×", "red"),
}


class JobDisplay(live.LiveDisplay):
    """Redraws only after a change."""

    def __init__(self, stream: TextIO, title: str, job: Object) -> None:
        platform = job["spec"].get("prices", {}).get("platform")
        super().__init__(stream, title, platform or AWS_LAMBDA.platform)
        self._plant(cluster_job.levels(job))
        self._event: Event = {}
        self._functions: list[tuple[str, str]] = []

    def emit(self, event: Event) -> None:
        match event["event"]:
            case "progress":
                self._event = event
                self._plant(event.get("structure"))
            case "functions":
                self._functions = [(role, _mark(state)) for role, state in event["functions"]]
            case kind:
                self._stage = line(event)
                style = "yellow" if kind == "warning" else "dim"
                self._live.console.print(Text(self._stage, style=style))
        self._draw()

    def _plant(self, levels: Sequence[int] | None) -> None:
        """Set the merge tree, which the driver reports if the job does not name it."""
        self._tree = structure.draw(tuple(levels)) if levels else ""

    def picture(self) -> RenderableType:
        below = live.grid(2, 4)
        below.add_row(Text(self._tree), live.functions(self._functions, MARKS))
        return Group(Text(self._title, style="bold"), self._bar(), self._figures(), below)

    def _bar(self) -> RenderableType:
        event = self._event
        if not event:
            return Text(self._stage)
        speed = live.rate(event.get("secondsPerStep"), event.get("secondsLeft"))
        return live.bar(event["unit"], event["done"], event["total"], speed)

    def _figures(self) -> RenderableType:
        event, parts = self._event, []
        if "loss" in event:
            parts.append(f"loss {event['loss']:.4f}")
        if "accuracy" in event:
            parts.append(f"training accuracy {percent(event['accuracy'])}")
        if held_out := of_held_out(event):
            shown = {name: held_out[name] for name in in_order(held_out)[: live.SHOWN_METRICS]}
            parts.append(f"validation {in_words(shown)}")
        if "costUSD" in event:
            parts.append(f"{dollars(event['costUSD'])} at {self._platform} prices")
        return Text("   ".join(parts))


def _mark(state: str) -> str:
    return state if state in MARKS else "failing"
