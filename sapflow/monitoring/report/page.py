"""The report's page: its sections, their order and their words. Pure."""

import math
import statistics
from collections.abc import Iterator, Mapping
from html import escape
from importlib import resources
from typing import Any, Literal

import yaml

from sapflow.monitoring.report import cells, charts, events, prediction
from sapflow.monitoring.report.charts import Line
from sapflow.monitoring.report.elements import integer, money, number, share, table, time
from sapflow.monitoring.report.facts import Facts
from sapflow.monitoring.report.history import OTHER, PHASES
from sapflow.quantities.memory import format_bytes, format_quantity
from sapflow.quantities.metric import in_order, metric
from sapflow.quantities.prices import MIB
from sapflow.records.commits import Account, LevelUsage
from sapflow.records.evaluations import chosen_in_words, of_held_out
from sapflow.text import count, dollars, duration

_KINDS = dict(zip((*PHASES, OTHER), ("s1", "s2", "s9", "s3", "s4", "s5", "s6", "s7", "s8"), strict=True))
"""The CSS classes of the phases' colours."""


def render(facts: Facts) -> str:
    """A self-contained HTML document, without scripts and without fonts or pictures from elsewhere."""
    name = facts.job.metadata.name
    sections = "".join(
        f"<section><h2>{escape(title)}</h2>{''.join(body)}</section>" for title, body in _sections(facts)
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{escape(name)} · Sapflow</title><style>{style()}</style></head><body><main>"
        f"{_header(facts)}{sections}</main></body></html>\n"
    )


def style() -> str:
    """The style sheet."""
    return (resources.files(__package__) / "style.css").read_text(encoding="utf-8")


def _sections(facts: Facts) -> Iterator[tuple[str, list[str]]]:
    yield "Learning", _learning(facts)
    yield "Where the time of a step goes", _anatomy(facts)
    yield "Merge tree", [_tree(facts), _levels(facts)]
    if where := cells.section(facts):
        yield "Placement by node", where
    yield "Prediction beside measurement", prediction.section(facts)
    yield "Memory and cost", _memory_and_cost(facts)
    yield "Faults and starts", [events.section(facts)]
    yield "Spec", [_spec(facts)]


def _model(outcome: Mapping[str, Any]) -> str:
    """Where the model of a result is; '' for a trial, which exports none."""
    if "uri" not in outcome:
        return ""
    return f", {escape(outcome['uri'])}, SHA-256 <code>{escape(outcome['sha256'])}</code>"


def _header(facts: Facts) -> str:
    last, outcome = facts.last, facts.outcome
    evaluations = facts.history.evaluations
    held_out = evaluations[-1].metrics if evaluations else {}
    if outcome is not None:
        held_out = of_held_out(outcome) or held_out
    # The outcome's account also includes evaluations and the export after the last commit.
    account = last.account if outcome is None else Account.model_validate(outcome["account"])
    unit = f"{facts.job.spec.algorithm.facts.unit}s"
    tiles = [
        *_held_out_tiles(held_out),
        ("training loss", number(last.measured.loss) if last.measured.loss is not None else "–"),
        (unit, f"{sum(last.counters) if last.counters else last.version:,}"),
        ("time", duration(account.seconds)),
        ("cost", dollars(account.cost_usd)),
        ("invocations", f"{account.invocations:,}"),
        ("cold starts", f"{account.cold_starts:,}"),
        ("retries", f"{account.retries:,}"),
        ("hedges", f"{account.hedges:,}"),
        *([("skipped, not finite", f"{last.skips:,}")] if last.skips else []),
    ]
    boxes = "".join(f"<div><dt>{escape(label)}</dt><dd>{escape(value)}</dd></div>" for label, value in tiles)
    said = ""
    if facts.failure is not None:
        reason, message = (escape(str(facts.failure.get(name, ""))) for name in ("reason", "message"))
        said = f'<p class="failure"><b>{reason}</b> {message}</p>'
    elif outcome is not None:
        reached = f", {why}" if (why := chosen_in_words(outcome)) else ""
        said = f"<p>Result: version {outcome['version']:,}{reached}{_model(outcome)}</p>"
    return (
        f'<header><h1>{escape(facts.job.metadata.name)} <span class="state {facts.state.lower()}">{facts.state}</span>'
        f"</h1><p>{escape(facts.uid)} · {facts.job.spec.workers:,} workers, structure "
        f"{list(facts.structure)}, {facts.plan.shards:,} shard{'' if facts.plan.shards == 1 else 's'}</p>"
        f"<dl>{boxes}</dl>{said}</header>"
    )


_TILES = 2


def _held_out_tiles(values: Mapping[str, float]) -> list[tuple[str, str]]:
    """The first metrics of the task, or its loss."""
    names = [name for name in in_order(values) if math.isfinite(values[name])]
    found = [(f"validation {metric(name).label}", metric(name).text(values[name])) for name in names[:_TILES]]
    return found or [("validation", "–")]


def _training(facts: Facts, name: str) -> dict[int, float | None]:
    """A metric of each step's own samples, by version."""
    of = {each.version: each.measured for each in facts.history.commits}
    if name in ("loss", "accuracy"):
        return {version: getattr(measured, name) for version, measured in of.items()}
    return {version: (measured.metrics or {}).get(name) for version, measured in of.items()}


def _learning(facts: Facts) -> list[str]:
    """A row for each metric: against time and against dollars."""
    target = facts.job.spec.algorithm.wanted
    history = facts.history
    seen = history.metrics | {"loss"}
    # The loss comes first: it is what training makes small.
    names = ["loss", *(name for name in in_order(dict.fromkeys(seen, 0.0)) if name != "loss")]
    found = []
    for name in names:
        held_out = {each.version: each.metrics.get(name) for each in history.evaluations}
        wanted = [("target", "s3", target.value)] if target and target.metric == name else []
        for label, place, form in (
            ("time", _consumed(facts, "seconds"), time),
            ("dollars", _consumed(facts, "dollars"), money),
        ):
            curves = [
                _line("training", "s1", _training(facts, name), place),
                _line("validation", "s2", held_out, place, marks=True),
            ]
            found.append(
                charts.lines(
                    [curve for curve in curves if curve.points or name == "loss"],
                    x=label,
                    y=metric(name).label,
                    x_format=form,
                    y_format=share if metric(name).share else number,
                    limits=wanted,
                )
            )
    return ['<div class="grid">', *found, "</div>"]


def _consumed(facts: Facts, what: Literal["seconds", "dollars"]) -> dict[int, float]:
    """What the job had consumed, by version, of those that are drawn."""
    field = {"seconds": "seconds", "dollars": "cost_usd"}[what]
    found = {each.version: float(getattr(each.account, field)) for each in facts.history.commits}
    return found | {each.version: float(getattr(each, what)) for each in facts.history.evaluations}


def _line(
    name: str,
    kind: str,
    values: Mapping[int, float | None],
    place: Mapping[int, float],
    *,
    marks: bool = False,
) -> Line:
    points = [
        (place[version], value)
        for version, value in values.items()
        if value is not None and math.isfinite(value)
    ]
    return Line(name, kind, points, marks)


def _anatomy(facts: Facts) -> list[str]:
    history = facts.history
    walls = [(float(each.version), each.measured.seconds) for each in history.commits]
    return [
        "<p>Seconds of all functions together, by phase, beside the seconds that the step took: the more functions "
        "work at once, the further the two are apart.</p>",
        '<div class="grid">',
        charts.stacked(
            history.phases, _KINDS, x="step", y="function seconds", x_format=integer, y_format=time
        ),
        charts.lines(
            [Line("a step", "s1", walls)],
            x="step",
            y="seconds",
            x_format=integer,
            y_format=time,
            from_zero=True,
            few_cut=True,
        ),
        "</div>",
        *_raw_rows(facts),
        *_data(facts),
        *_sizes_tried(facts),
    ]


def _raw_rows(facts: Facts) -> list[str]:
    """What came of the rows of a job whose data was prepared."""
    found = facts.manifest
    if found is None or not found.preparation:
        return []
    kept = " They are kept beside the data, under rejected/." if found.rejected_rows else ""
    return [
        f"<p>Preparation: {count(found.raw_rows, 'row')} read, {found.rejected_rows:,} rejected, "
        f"{count(found.train_samples, 'sample')} to train on, {found.validation_samples:,} held out.{kept}</p>"
    ]


def _data(facts: Facts) -> list[str]:
    """What steps read of the data, if the workers counted it."""
    counted = [each.measured for each in facts.warm if each.measured.data_bytes is not None]
    if not counted:
        return []
    typical = statistics.median(each.data_bytes or 0 for each in counted)
    waited = statistics.median(each.phases.get("data", 0.0) for each in counted)
    reading = statistics.median(each.data_seconds or 0.0 for each in counted)
    return [
        f"<p>Data: the workers of a typical step read {format_bytes(round(typical))} of blocks from the store in "
        f"{duration(reading)}, and waited {duration(waited)} for their samples, all together; the steps so far read "
        f"{format_bytes(facts.history.data_bytes)}. What instances had kept is not read.</p>"
    ]


def _limits(facts: Facts, role: str) -> list[tuple[float, float]]:
    """Pairs (step, MiB) of the memory limits that the functions of each step reported."""
    return [
        (float(each.version), max(each.measured.memory_limits[role]) / MIB)
        for each in facts.history.commits
        if each.measured.memory_limits.get(role)
    ]


def _sizes_tried(facts: Facts) -> list[str]:
    """The trials of a search for the workers' memory size."""
    search = facts.last.measured.search
    if search is None:
        return []
    state = "It has ended" if search.done else "It goes on"
    rows = [
        (
            format_quantity(each.size * MIB),
            f"{each.step:,}",
            duration(each.seconds),
            money(each.cost_usd),
            share(each.error),
        )
        for each in search.trials
    ]
    return [
        f"<p>The search for the workers' memory wants {search.quantity}. {state}.</p>",
        table(["size tried", "to step", "a step", "cost of a step", "error"], rows),
    ]


def _tree(facts: Facts) -> str:
    levels = facts.levels
    notes: list[list[str]] = []
    edges: list[list[str]] = []
    timed = False
    for level in range(len(facts.structure) - 1, -1, -1):
        usage = levels[level] if level < len(levels) else LevelUsage()
        notes.append([f"{duration(usage.seconds / usage.calls)} a call"] if usage.calls else [])
        below = levels[level - 1] if 0 < level < len(levels) else LevelUsage()
        if not below.calls:
            edges.append([])
            continue
        # With shards and cursors a child has several calls; the last step of an epoch may have fewer children.
        children = min(below.calls, facts.structure[-level])
        each = [format_bytes(below.bytes_written / children)]
        if merging := usage.phases.get("merge"):
            each.append(duration(merging / children))
            timed = True
        edges.append([f"{', '.join(each)} each", f"{format_bytes(below.bytes_written)} in all"])
    caption = (
        "<p>An edge is what one child wrote, and the seconds in which the functions above it read and added that: "
        "the merge phase of their calls, all together, by the number of children.</p>"
    )
    drawn = f'<div class="tree">{charts.tree(facts.structure, notes, edges)}</div>'
    return (caption if timed else "") + drawn


def _levels(facts: Facts) -> str:
    levels = facts.levels
    if not levels:
        return '<p class="empty">Calls were not counted by level when this job ran.</p>'
    rows = []
    for level, usage in reversed(list(enumerate(levels))):
        calls = max(usage.calls, 1)
        rows.append(
            [
                facts.level_name(level),
                f"{usage.calls:,}",
                duration(usage.seconds / calls),
                duration(usage.slowest),
                format_bytes(usage.bytes_read),
                format_bytes(usage.bytes_written),
            ]
        )
    head = ["a typical step", "calls", "mean call", "slowest call", "read", "written"]
    return table(head, rows)


def _memory_and_cost(facts: Facts) -> list[str]:
    limits = dict[str, int](facts.job.memory_bytes.items())
    series, bounds = [], []
    for role, kind in (("worker", "s1"), ("merger", "s2")):
        points = [
            (float(each.version), each.measured.peak_memory_bytes[role] / MIB)
            for each in facts.history.commits
            if each.measured.peak_memory_bytes.get(role)
        ]
        if points:
            series.append(Line(role, kind, points))
            changing = _limits(facts, role)
            if len({size for _, size in changing}) > 1:
                series.append(Line(f"limit of a {role}", "s3", changing))
            else:
                bounds.append(
                    (f"limit of a {role}", kind, changing[0][1] if changing else limits[role] / MIB)
                )
    price = facts.job.price
    start = facts.history.start
    spent = [(float(each.version), each.account.cost_usd) for each in (start, *facts.history.commits)]
    return [
        f"<p>Cost by {escape(price.name)}: workers' and mergers' calls. Peak memory is all that the system counts of "
        "a process, pages of libraries that it shares with others included, which a local run's limit leaves out.</p>",
        '<div class="grid">',
        charts.lines(
            series,
            x="step",
            y="peak memory, MiB",
            x_format=integer,
            y_format=integer,
            from_zero=True,
            limits=bounds,
        ),
        charts.lines(
            [Line("cost so far", "s1", spent)],
            x="step",
            y="dollars",
            x_format=integer,
            y_format=money,
            from_zero=True,
        ),
        "</div>",
    ]


def _spec(facts: Facts) -> str:
    text = yaml.safe_dump(facts.job.to_json(), sort_keys=False, allow_unicode=True, width=100)
    return f"<details><summary>TrainingJob</summary><pre>{escape(text)}</pre></details>"
