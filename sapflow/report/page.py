"""The page: what of a job is shown, in which order, in which words. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from html import escape
from importlib import resources
from itertools import pairwise

import yaml

from sapflow.driver.commits import Account, Commit
from sapflow.memory import format_bytes, format_quantity, parse_quantity
from sapflow.pricing import MIB
from sapflow.report import cells, charts
from sapflow.report.charts import Line, Mark
from sapflow.report.facts import Facts
from sapflow.text import dollars, duration, percent

PHASES = {
    "compute": "s1",
    "read": "s2",
    "merge": "s3",
    "update": "s4",
    "write": "s5",
    "queue": "s6",
    "cold": "s7",
}
"""Phases of invocations, from below, and their colours' classes. A phase that is not named here is `other`."""
_OTHER = "other"
_EVENTS = (
    ("cold start", "s7"),
    ("retry", "s6"),
    ("hedge", "s4"),
    ("skipped step", "bad"),
    ("new plan", "s5"),
    ("checkpoint", "s3"),
)


def render(facts: Facts) -> str:
    """One HTML document: no script, no font, no picture from anywhere else."""
    name = facts.job.metadata.name
    sections = "".join(
        f"<section><h2>{escape(title)}</h2>{''.join(body)}</section>" for title, body in _sections(facts)
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{escape(name)} · Sapflow</title><style>{_style()}</style></head><body><main>"
        f"{_header(facts)}{sections}</main></body></html>\n"
    )


def _style() -> str:
    return (resources.files(__package__) / "style.css").read_text(encoding="utf-8")


def _sections(facts: Facts) -> Iterator[tuple[str, list[str]]]:
    yield "Learning", _learning(facts)
    yield "Where the time of a step goes", _anatomy(facts)
    yield "Merge tree", [_tree(facts), _levels(facts)]
    if where := cells.section(facts):
        yield "Placement by node", where
    yield "Prediction beside measurement", [_prediction(facts)]
    yield "Memory and cost", _memory_and_cost(facts)
    yield "Faults and starts", [_events(facts)]
    yield "Spec", [_spec(facts)]


def _header(facts: Facts) -> str:
    last, outcome = facts.last, facts.outcome
    accuracies = [each.accuracy for each in facts.evaluations if each.accuracy is not None]
    shown = (outcome or {}).get("validationAccuracy", accuracies[-1] if accuracies else None)
    # The outcome's account has what came after the last commit: evaluations, the export.
    account = last.account if outcome is None else Account.model_validate(outcome["account"])
    unit = "contributions" if facts.job.spec.algorithm.mode == "Async" else "steps"
    tiles = [
        ("validation accuracy", percent(shown) if shown is not None else "–"),
        ("training loss", _number(last.measured.loss) if last.measured.loss is not None else "–"),
        (unit, f"{sum(last.counters) if last.counters else last.version:,}"),
        ("time", duration(account.seconds)),
        ("cost", dollars(account.cost_usd)),
        ("invocations", f"{account.invocations:,}"),
        ("cold starts", f"{account.cold_starts:,}"),
        ("retries", f"{account.retries:,}"),
        ("hedges", f"{account.hedges:,}"),
    ]
    boxes = "".join(f"<div><dt>{escape(label)}</dt><dd>{escape(value)}</dd></div>" for label, value in tiles)
    said = ""
    if facts.failure is not None:
        reason, message = (escape(str(facts.failure.get(name, ""))) for name in ("reason", "message"))
        said = f'<p class="failure"><b>{reason}</b> {message}</p>'
    elif outcome is not None:
        reached = ", the first that reached the target" if outcome.get("targetReached") else ""
        said = (
            f"<p>Result: version {outcome['version']:,}{reached}, {escape(outcome['uri'])}, "
            f"SHA-256 <code>{escape(outcome['sha256'])}</code></p>"
        )
    return (
        f'<header><h1>{escape(facts.job.metadata.name)} <span class="state {facts.state.lower()}">{facts.state}</span>'
        f"</h1><p>{escape(facts.uid)} · {facts.job.spec.workers:,} workers, structure "
        f"{list(facts.structure)}, {facts.plan.shards:,} shard{'' if facts.plan.shards == 1 else 's'}</p>"
        f"<dl>{boxes}</dl>{said}</header>"
    )


def _learning(facts: Facts) -> list[str]:
    everything = (facts.start, *facts.commits)
    target = facts.job.spec.algorithm.target_accuracy
    wanted = [] if target is None else [("target", "s3", target)]
    losses = {each.version: each.measured.loss for each in facts.commits}
    held_out_losses = {each.version: each.loss for each in facts.evaluations}
    hits = {each.version: each.measured.accuracy for each in facts.commits}
    held_out_hits = {each.version: each.accuracy for each in facts.evaluations}
    classifies = any(value is not None for value in (*hits.values(), *held_out_hits.values()))
    found = []
    for label, place, form in (
        ("time", {each.version: each.account.seconds for each in everything}, _time),
        ("dollars", {each.version: each.account.cost_usd for each in everything}, _money),
    ):
        curves = [
            _line("training", "s1", losses, place),
            _line("validation", "s2", held_out_losses, place, marks=True),
        ]
        found.append(charts.lines(curves, x=label, y="loss", x_format=form, y_format=_number))
        if classifies:
            curves = [
                _line("training", "s1", hits, place),
                _line("validation", "s2", held_out_hits, place, marks=True),
            ]
            found.append(
                charts.lines(curves, x=label, y="accuracy", x_format=form, y_format=_share, limits=wanted)
            )
    return ['<div class="grid">', *found, "</div>"]


def _line(
    name: str,
    kind: str,
    values: Mapping[int, float | None],
    place: Mapping[int, float],
    *,
    marks: bool = False,
) -> Line:
    points = [(place[version], value) for version, value in values.items() if value is not None]
    return Line(name, kind, points, marks)


def _anatomy(facts: Facts) -> list[str]:
    columns = [(float(each.version), _phases(each)) for each in facts.commits]
    kinds = {**PHASES, _OTHER: "s8"}
    walls = [(float(each.version), each.measured.seconds) for each in facts.commits]
    return [
        "<p>Seconds of all functions together, by phase, beside the seconds that the step took: the more functions "
        "work at once, the further the two are apart.</p>",
        '<div class="grid">',
        charts.stacked(columns, kinds, x="step", y="function seconds", x_format=_whole, y_format=_time),
        charts.lines(
            [Line("a step", "s1", walls)],
            x="step",
            y="seconds",
            x_format=_whole,
            y_format=_time,
            from_zero=True,
            few_cut=True,
        ),
        "</div>",
        *_sizes_tried(facts),
    ]


def _limits(facts: Facts, role: str) -> list[tuple[float, float]]:
    """(step, MiB) that the functions of each step said they had, where they did."""
    return [
        (float(each.version), max(each.measured.memory_limits[role]) / MIB)
        for each in facts.commits
        if each.measured.memory_limits.get(role)
    ]


def _sizes_tried(facts: Facts) -> list[str]:
    """What a search for the workers' size has come to."""
    search = facts.last.measured.search
    if search is None:
        return []
    state = "It has ended" if search.done else "It goes on"
    rows = [
        (
            format_quantity(each.size * MIB),
            f"{each.step:,}",
            duration(each.seconds),
            _money(each.cost_usd),
            _share(each.error),
        )
        for each in search.trials
    ]
    return [
        f"<p>The search for the workers' memory wants {search.quantity}. {state}.</p>",
        _table(["size tried", "to step", "a step", "cost of a step", "error"], rows),
    ]


def _phases(commit: Commit) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, seconds in commit.measured.phases.items():
        known = name if name in PHASES else _OTHER
        found[known] = found.get(known, 0.0) + seconds
    return found


def _tree(facts: Facts) -> str:
    levels = facts.levels
    notes, edges = [], []
    for level in range(len(facts.structure) - 1, -1, -1):
        if level < len(levels) and levels[level].calls:
            leg = levels[level]
            notes.append(f"{duration(leg.seconds / leg.calls)} a call")
        else:
            notes.append("")
        if 0 < level < len(levels) and levels[level - 1].calls:
            below = levels[level - 1]
            each = below.bytes_written / below.calls
            edges.append(f"{format_bytes(each)} each, {format_bytes(below.bytes_written)} in all")
        else:
            edges.append("")
    return f'<div class="tree">{charts.tree(facts.structure, notes, edges)}</div>'


def _levels(facts: Facts) -> str:
    levels = facts.levels
    if not levels:
        return '<p class="empty">Calls were not counted by level when this job ran.</p>'
    rows = []
    for level, leg in reversed(list(enumerate(levels))):
        calls = max(leg.calls, 1)
        rows.append(
            [
                _level_name(facts, level),
                f"{leg.calls:,}",
                duration(leg.seconds / calls),
                duration(leg.slowest),
                format_bytes(leg.bytes_read),
                format_bytes(leg.bytes_written),
            ]
        )
    head = ["a typical step", "calls", "mean call", "slowest call", "read", "written"]
    return _table(head, rows)


def _level_name(facts: Facts, level: int) -> str:
    if level == 0:
        return "workers"
    return "root" if level == len(facts.structure) - 1 else f"mergers, level {level}"


def _prediction(facts: Facts) -> str:
    if facts.predicted is None:
        return f'<p class="empty">No prediction: {escape(facts.not_predicted or "none was made")}.</p>'
    predicted, rows = facts.predicted, []
    for label, said, seen, form in (
        ("seconds a step", predicted.seconds, facts.seconds_per_step, duration),
        ("dollars a step", predicted.dollars, facts.dollars_per_step, dollars),
    ):
        rows.append([label, form(said), "–" if seen is None else form(seen), _off(said, seen)])
    levels = facts.levels
    if len(levels) == len(predicted.levels):
        for level in range(len(levels) - 1, -1, -1):
            seen = levels[level].slowest
            said = predicted.levels[level]
            rows.append(
                [
                    f"slowest call: {_level_name(facts, level)}",
                    duration(said),
                    duration(seen),
                    _off(said, seen),
                ]
            )
    note = (
        "<p>Of warm steps: the planner's law with its stored constants beside the median of this job's steps in "
        "which no function had to be started.</p>"
    )
    return note + _table(["", "predicted", "measured", "measured / predicted"], rows)


def _off(said: float, seen: float | None) -> str:
    return "–" if seen is None or not said > 0 else f"{seen / said:.2f} ×"


def _memory_and_cost(facts: Facts) -> list[str]:
    spec = facts.job.spec.memory
    limits = {"worker": parse_quantity(spec.worker), "merger": parse_quantity(spec.merger)}
    series, bounds = [], []
    for role, kind in (("worker", "s1"), ("merger", "s2")):
        points = [
            (float(each.version), each.measured.peak_memory_bytes[role] / MIB)
            for each in facts.commits
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
    money = [(float(each.version), each.account.cost_usd) for each in (facts.start, *facts.commits)]
    return [
        f"<p>Cost by {escape(price.name)}: workers' and mergers' calls. Peak memory is all that the system counts of "
        "a process, pages of libraries that it shares with others included, which a local run's limit leaves out.</p>",
        '<div class="grid">',
        charts.lines(
            series,
            x="step",
            y="peak memory, MiB",
            x_format=_whole,
            y_format=_whole,
            from_zero=True,
            limits=bounds,
        ),
        charts.lines(
            [Line("cost so far", "s1", money)],
            x="step",
            y="dollars",
            x_format=_whole,
            y_format=_money,
            from_zero=True,
        ),
        "</div>",
    ]


def _events(facts: Facts) -> str:
    marks = list(_marks(facts))
    if not marks:
        return '<p class="empty">No function had to be started, none failed, none was late.</p>'
    return f'<div class="tree">{charts.time_line(marks, facts.last.account.seconds, _EVENTS, _time)}</div>'


def _marks(facts: Facts) -> Iterator[Mark]:
    for old, new in pairwise([None, facts.start, *facts.commits]):
        assert new is not None
        at = new.account.seconds
        for row, name in (("cold start", "cold_starts"), ("retry", "retries"), ("hedge", "hedges")):
            more = getattr(new.account, name) - (getattr(old.account, name) if old is not None else 0)
            if more > 0:
                yield Mark(at, row, f"{more:,} × {row} before version {new.version:,}, {duration(at)}")
        if old is not None and new.plan != old.plan:
            yield Mark(at, "new plan", f"planned anew after version {new.version:,}, {duration(at)}")
        if new.skipped:
            yield Mark(at, "skipped step", f"step {new.version:,} was not finite and left out")
        if new.version in facts.checkpoints:
            yield Mark(at, "checkpoint", f"checkpoint of version {new.version:,}, {duration(at)}")


def _spec(facts: Facts) -> str:
    text = yaml.safe_dump(facts.job.to_json(), sort_keys=False, allow_unicode=True, width=100)
    return f"<details><summary>TrainingJob</summary><pre>{escape(text)}</pre></details>"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    top = "".join(f"<th>{escape(each)}</th>" for each in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(each)}</td>" for each in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _number(value: float) -> str:
    return f"{value:.3g}"


def _share(value: float) -> str:
    return f"{100 * value:.3g} %"


def _time(value: float) -> str:
    return "0" if value == 0 else duration(value)


def _money(value: float) -> str:
    """Short enough for an axis: $2.5, 15 µ$."""
    return f"${value:.3g}" if value == 0 or abs(value) >= 0.01 else f"{value * 1e6:,.3g} µ$"


def _whole(value: float) -> str:
    return f"{value:,.0f}"
