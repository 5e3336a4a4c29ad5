"""The report of a pipeline: a page from raw rows to decisions, with the reports of its searches and jobs. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import yaml

from sapflow.monitoring.display import off
from sapflow.monitoring.report.elements import table
from sapflow.monitoring.report.page import style
from sapflow.planning.spread import Spread
from sapflow.text import count, dollars, duration

_POLICY = "default-src 'unsafe-inline' 'unsafe-eval' data: blob:"
"""Nothing comes from elsewhere; the pages inside have policies of their own, which are narrower."""


@dataclass(frozen=True, slots=True)
class RawColumn:
    """What a raw column held in the first rows of its partitions."""

    name: str
    held: str


@dataclass(frozen=True, slots=True)
class RawRows:
    """What came of raw data."""

    source: str
    rows: int
    rejected: int
    train: int
    validation: int
    features: int
    task: str
    columns: tuple[RawColumn, ...]
    rejected_at: str
    """Where rejected rows lie in the store."""


@dataclass(frozen=True, slots=True)
class Part:
    """A search or a job."""

    kind: str
    name: str
    state: str
    said: str
    """What it has come to, in a line."""
    page: str | None
    """Its own report; None where there is nothing of it yet."""


@dataclass(frozen=True, slots=True)
class ServedFacts:
    """How the last model is served."""

    golden_rows: int
    """Those that a process answers before it listens."""
    decision: Mapping[str, Any]
    """Its part of the spec."""
    url: str | None = None
    requests: Mapping[str, float] | None = None
    """What a process at `url` has counted so far, by metric and labels."""


@dataclass(frozen=True, slots=True)
class PipelineFacts:
    """All that the page is about."""

    name: str
    stages: Sequence[Mapping[str, Any]]
    """Forecasts with their grades; none where nothing was forecast."""
    raw: Sequence[RawRows]
    parts: Sequence[Part]
    served: ServedFacts | None


def render(facts: PipelineFacts) -> str:
    """A self-contained HTML document."""
    sections = "".join(
        f"<section><h2>{escape(title)}</h2>{body}</section>" for title, body in _sections(facts)
    )
    states = " · ".join(f"{escape(each.name)}: {escape(each.state)}" for each in facts.parts)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>{escape(facts.name)} · Sapflow</title><style>{style()}{_STYLE}</style></head><body><main>"
        f"<header><h1>{escape(facts.name)}</h1><p>{states}</p></header>{sections}</main></body></html>\n"
    )


_STYLE = "iframe { width: 100%; height: 80vh; border: 1px solid var(--rule); border-radius: 8px; }"


def _sections(facts: PipelineFacts) -> Iterator[tuple[str, str]]:
    if facts.stages:
        yield "Stages: the forecast and what they took", _stages(facts.stages)
    for raw in facts.raw:
        yield f"Raw rows of {raw.source}", _raw(raw)
    for part in facts.parts:
        yield f"{part.kind} {part.name}", _part(part)
    if facts.served is not None:
        yield "Served", _served(facts.served)


def _stages(stages: Sequence[Mapping[str, Any]]) -> str:
    head = ("stage", "of", "forecast", "eight in ten within", "took", "", "cost forecast", "cost")
    return table(head, [_stage(each) for each in stages])


def _stage(stage: Mapping[str, Any]) -> list[str]:
    seconds, spent = Spread.model_validate(stage["seconds"]), Spread.model_validate(stage["costUSD"])
    taken = stage.get("taken", {})
    within = f"{duration(seconds.p10)} to {duration(seconds.p90)}"
    row = [stage["stage"], stage["document"], duration(seconds.p50), within]
    if "seconds" not in taken:
        return [*row, "–", "", dollars(spent.p50), ""]
    grade = "within" if taken["secondsWithin"] else off(taken["secondsError"])
    cost = dollars(taken["costUSD"]) if "costUSD" in taken else ""
    return [*row, duration(taken["seconds"]), grade, dollars(spent.p50) if spent.p90 > 0 else "", cost]


def _raw(raw: RawRows) -> str:
    kept = (
        f"; they are in {escape(raw.rejected_at)} of the store, with the reason of each"
        if raw.rejected
        else ""
    )
    samples = f"{raw.train:,} samples to train on and {raw.validation:,} held out"
    text = (
        f"<p>{count(raw.rows, 'row')} were read, {raw.rejected:,} rejected{kept}. They are {samples}, of "
        f"{count(raw.features, 'feature')}; {escape(raw.task)} to predict.</p>"
    )
    columns = table(("column", "held"), [(each.name, each.held) for each in raw.columns])
    return text + (columns if raw.columns else "")


def _part(part: Part) -> str:
    text = f"<p>{escape(part.said)}</p>"
    if part.page is None:
        return text
    about = f'title="{escape(part.name)}" srcdoc="{escape(part.page)}"'
    frame = f'<iframe sandbox="allow-scripts allow-same-origin" {about}></iframe>'
    return f"{text}<details open><summary>its own report</summary>{frame}</details>"


def _served(served: ServedFacts) -> str:
    golden = "its model's SHA-256 is checked before it listens"
    if served.golden_rows:
        golden = f"{count(served.golden_rows, 'golden row')} are answered as in training before it listens"
    text = f"<p>{golden}.</p>"
    if served.decision:
        text += f"<pre>{escape(yaml.safe_dump(dict(served.decision), sort_keys=False))}</pre>"
    if served.requests is not None:
        counted = [(name, f"{value:,.6g}") for name, value in served.requests.items()]
        text += f"<p>What the process at {escape(served.url or '')} has counted so far:</p>"
        text += table(("metric", "value"), counted)
    return text
