"""The page of a search's report: its sections, their order and their words. Pure, but for Plotly's library."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html import escape
from importlib import resources
from typing import Any

import yaml

from sapflow.monitoring.report.elements import table
from sapflow.monitoring.report.page import style as common_style
from sapflow.monitoring.tuning_display import short_names, value_text
from sapflow.monitoring.tuning_report import course, forecast, interactive, space, use
from sapflow.monitoring.tuning_report.axes import short_text, shown
from sapflow.monitoring.tuning_report.facts import SearchFacts
from sapflow.monitoring.tuning_report.figures import Columns, Figure, label, worst_shown
from sapflow.monitoring.tuning_report.importance import LEAST, importance
from sapflow.monitoring.tuning_report.selection import Selection, room, select
from sapflow.text import count, dollars, duration
from sapflow.tuning.trial import Trial

MOST_BYTES = 2_500_000
"""Of a page, whatever the number of trials."""
_BEST, _FAILURES, _MESSAGE = 20, 10, 300
_SPEC_CHARACTERS = 60_000
_ENDS = {
    "Completed": "all trials have ended or wait for nothing more",
    "GoalReached": "the goal is reached",
    "TooManyFailed": "more trials have failed than may",
    "SamplerFailed": "no further parameters could be suggested",
    "BudgetExceeded": "the budget is used up",
    "DeadlineExceeded": "its time is over",
}


@dataclass
class _Page:
    """The figures and the sections of a page in the making."""

    drawn: Selection
    columns: Columns = field(default_factory=Columns)
    figures: list[Figure] = field(default_factory=list)

    def place(self, figure: Figure | None, *, titled: bool = True) -> str:
        """The HTML of a figure's place; empty for None."""
        if figure is None:
            return ""
        self.figures.append(figure)
        return interactive.place(figure, len(self.figures) - 1, titled=titled)

    def grid(self, *figures: Figure | None) -> str:
        return f'<div class="grid">{"".join(map(self.place, figures))}</div>'


def render(facts: SearchFacts) -> str:
    """A self-contained HTML document of at most MOST_BYTES bytes. Raises DataError without Plotly or Optuna."""
    most = room(len(facts.settings.parameters))
    while True:
        page = _render(facts, select(facts, most))
        if len(page.encode()) <= MOST_BYTES or most <= 1:
            return page
        most //= 2


def _render(facts: SearchFacts, drawn: Selection) -> str:
    name, page = facts.job.metadata.name, _Page(drawn)
    sections = "".join(
        f"<section><h2>{escape(title)}</h2>{body}</section>" for title, body in _sections(facts, page) if body
    )
    packed = interactive.pack(page.figures, page.columns)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{packed.policy}">'
        f"<title>{escape(name)} · Sapflow</title><style>{_style()}</style></head><body><main>"
        f"{_header(facts)}<noscript><p>{interactive.NO_SCRIPT}</p></noscript>{sections}</main>"
        f"{packed.scripts}</body></html>\n"
    )


def _style() -> str:
    return common_style() + (resources.files(__package__) / "style.css").read_text(encoding="utf-8")


def _sections(facts: SearchFacts, page: _Page) -> Iterator[tuple[str, str]]:
    if facts.ranked:
        yield from _with_values(facts, page)
    else:
        yield "Trials", '<p class="empty">No trial has a value yet.</p>'
    yield "Failed trials", _failures(facts)
    yield "Forecast beside what was", forecast.section(facts.outcome)
    yield "Dollars", page.grid(*use.dollars(facts)) if facts.spent else ""
    yield "Calls in flight", page.place(use.in_flight(facts), titled=False) or _no_times()
    yield "Spec", _spec(facts)


def _with_values(facts: SearchFacts, page: _Page) -> Iterator[tuple[str, str]]:
    found = importance(facts)
    axes = space.axes_of(facts, found)
    drawn, columns = page.drawn, page.columns
    labels = [_label(facts, trial) for trial in drawn.trials]
    yield "Best trials", _best(facts)
    yield (
        "History",
        _left_out(drawn)
        + _beyond(facts)
        + page.place(course.history(facts, drawn, labels, columns))
        + page.grid(*course.best_so_far(facts)),
    )
    yield "Pareto front", page.place(space.front(facts, drawn, labels, columns), titled=False)
    yield "Values on the way", page.place(course.by_length(facts), titled=False) or _judged_once(facts)
    few = f'<p class="empty">The importance of parameters needs {LEAST} trials with values that can be compared.</p>'
    yield (
        "Parameters",
        page.place(space.parallel(facts, drawn, axes, columns))
        + (page.place(space.importances(found, axes)) or few)
        + page.grid(*space.slices(facts, drawn, labels, axes, columns)),
    )


def _label(facts: SearchFacts, trial: Trial) -> str:
    """What is shown of a trial at the pointer."""
    names = short_names([each.path for each in facts.settings.parameters])
    values = [f"{names.get(path, path)} {shown(value)}" for path, value in trial.parameters.items()]
    more = [f"and {len(values) - space.MOST_AXES} more"] if len(values) > space.MOST_AXES else []
    return "<br>".join([f"trial {trial.number}", *values[: space.MOST_AXES], *more])


def _left_out(drawn: Selection) -> str:
    if drawn.complete:
        return ""
    return (
        f'<p class="left-out">{len(drawn.trials):,} of {drawn.all:,} trials are drawn one by one: the best '
        f"{drawn.best:,}, and of the others those that lie evenly among them by number. The best so far, the "
        "importance of parameters, dollars and calls are those of all trials.</p>"
    )


def _beyond(facts: SearchFacts) -> str:
    """What the axes of the objective do not show at first."""
    objective = facts.settings.objectives[0]
    values = [trial.values[0] for trial in facts.trials if trial.values]
    worst = worst_shown(objective, values)
    if worst is None:
        return ""
    beyond = sum(objective.score(value) < objective.score(worst) for value in values)
    return (
        f"<p>{count(beyond, 'trial')} with far worse values, or with none that is finite, lie outside of what charts "
        "show at first; a double click on a chart shows all that are finite.</p>"
    )


def _judged_once(facts: SearchFacts) -> str:
    return (
        f'<p class="empty">No trial was judged more than once: {escape(facts.settings.prune.name)} prunes.</p>'
        if facts.settings.prune.name != "None"
        else '<p class="empty">Nothing is pruned, so each trial has a value at its end alone.</p>'
    )


def _no_times() -> str:
    return '<p class="empty">The log of this search has no times: an earlier release ran it.</p>'


def _header(facts: SearchFacts) -> str:
    job, state = facts.job, facts.state
    phases = [trial.phase for trial in facts.trials]
    best = facts.ranked[0] if facts.ranked else None
    limits = state.limits
    tiles = [
        *_best_tiles(facts, best),
        ("trials", f"{len(phases):,} of {limits.max_trials:,}"),
        *(
            (phase.lower(), f"{phases.count(phase):,}")
            for phase in ("Finished", "Running", "Paused", "Stopped", "Failed")
            if phase in phases
        ),
        ("cost", dollars(facts.dollars)),
        *([] if limits.budget_usd is None else [("budget", dollars(limits.budget_usd))]),
        *([("running time", duration(facts.time.seconds))] if facts.time.known else []),
        ("time of all trials", duration(sum(trial.seconds for trial in facts.trials))),
        *_use_tile(facts),
    ]
    boxes = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in tiles)
    sought = ", ".join(
        f"{label(each)} {'max' if each.maximize else 'min'}imised" for each in facts.settings.objectives
    )
    pruner = "nothing is pruned" if job.spec.prune.name == "None" else f"{job.spec.prune.name} prunes"
    about = (
        f"{facts.uid} · {sought} · {job.spec.search.sampler} · {pruner} · at most "
        f"{count(job.spec.max_workers, 'call')} at once"
    )
    return (
        f'<header><h1>{escape(job.metadata.name)} <span class="state {facts.phase.lower()}">{facts.phase}</span></h1>'
        f"<p>{escape(about)}</p><dl>{boxes}</dl>{_outcome(facts, best)}</header>"
    )


def _best_tiles(facts: SearchFacts, best: Trial | None) -> list[tuple[str, str]]:
    if best is None:
        return [("best", "–")]
    named = zip(facts.settings.objectives, best.values, strict=True)
    return [
        *((f"best {label(each)}" if index == 0 else label(each), value_text(each.metric, value))
          for index, (each, value) in enumerate(named)),
        ("best trial", f"{best.number:,}"),
    ]  # fmt: skip


def _use_tile(facts: SearchFacts) -> list[tuple[str, str]]:
    share = facts.time.share_in_use
    return [] if share is None else [("maxWorkers in use", f"{100 * share:.3g} %")]


def _outcome(facts: SearchFacts, best: Trial | None) -> str:
    over, outcome = facts.state.over, facts.outcome
    if over is None:
        return "<p>The search is at work, or was interrupted. This is what it has found so far.</p>"
    why = f"<b>{escape(over.reason)}</b>: {escape(_ENDS.get(over.reason, ''))} ({escape(over.message)})."
    if outcome is None:
        return f'<p class="failure">{why}</p>'
    model = ""
    if "uri" in outcome:
        model = (
            f" The model of trial {outcome['trial']:,} is {escape(str(outcome['uri']))}, SHA-256 "
            f"<code>{escape(str(outcome.get('sha256', '')))}</code>."
        )
    return f"<p>{why}{model}</p>"


def _best(facts: SearchFacts) -> str:
    objectives, parameters = facts.settings.objectives, facts.settings.parameters
    names = short_names([each.path for each in parameters])
    head = ["trial", *map(label, objectives), "state", f"{facts.unit}s", *names.values(), "time", "cost"]
    rows = [
        [
            f"{trial.number:,}",
            *(value_text(each.metric, value) for each, value in zip(objectives, trial.values, strict=True)),
            trial.phase.lower(),
            f"{trial.at:,}",
            *(_value(trial.parameters, path) for path in names),
            duration(trial.seconds),
            dollars(trial.dollars),
        ]
        for trial in facts.ranked[:_BEST]
    ]
    return table(head, rows)


def _value(parameters: Mapping[str, Any], path: str) -> str:
    return short_text(parameters[path]) if path in parameters else "–"


def _failures(facts: SearchFacts) -> str:
    failed = [trial for trial in facts.trials if trial.phase == "Failed"]
    if not failed:
        return ""
    rows = "".join(
        f"<tr><td>{trial.number:,}</td><td class='words'>{escape(trial.reason)}</td>"
        f"<td class='words'>{escape(trial.message.partition(chr(10))[0][:_MESSAGE])}</td></tr>"
        for trial in failed[-_FAILURES:]
    )
    more = f"<p>The last {_FAILURES} of {len(failed):,}.</p>" if len(failed) > _FAILURES else ""
    head = "<tr><th>trial</th><th class='words'>reason</th><th class='words'>message</th></tr>"
    return f'{more}<div class="scroll"><table><thead>{head}</thead><tbody>{rows}</tbody></table></div>'


def _spec(facts: SearchFacts) -> str:
    text = yaml.safe_dump(facts.job.to_json(), sort_keys=False, allow_unicode=True, width=100)
    if len(text) > _SPEC_CHARACTERS:
        text = f"{text[:_SPEC_CHARACTERS]}\n… {len(text) - _SPEC_CHARACTERS:,} more characters are left out"
    return f"<details><summary>TuningJob</summary><pre>{escape(text)}</pre></details>"
