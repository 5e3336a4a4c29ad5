"""`sapflow plan` of a search: what all of its trials will take, from real steps of the cheapest and the dearest."""

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from sapflow.cli import plan_preparation
from sapflow.cli.jobs import make_importable
from sapflow.cli.output import print_json
from sapflow.client import search_plan
from sapflow.errors import SpecError
from sapflow.monitoring.tuning_display import in_short, short_names
from sapflow.spec import tuning_document
from sapflow.spec.tuning_job import TuningJob
from sapflow.text import count, dollars, duration, to_json
from sapflow.tuning.forecast.record import RehearsedCorner, SearchForecast, Spread

_OF_JOBS_ALONE = {"candidates": "--candidates", "by": "--by", "simulate": "--simulate"}
_SHOWN = 8
"""Parameters that are shown by how they change the cost, at most."""


def plan(given: argparse.Namespace, document: object, environ: Mapping[str, str]) -> int:
    """Returns exit code 0. Raises SapflowError."""
    for name, option in _OF_JOBS_ALONE.items():
        if getattr(given, name):
            raise SpecError([(option, "is for a TrainingJob, and this is a TuningJob: leave it out")])
    try:
        job = tuning_document.parse(document, given.target)
    except SpecError as error:
        error.add_note(f"(in {given.file})")
        raise
    environ = make_importable(job.template, given.file, environ)
    said = search_plan.forecast(
        job, environ, runtime=given.target, instances=given.instances, tell=_told(given.json)
    )
    if given.json:
        print_json({"search": job.metadata.name, "target": given.target, **said.body()})
    else:
        _print(job, said, given.target)
    return 0


def _told(as_json: bool) -> Any:
    """Shows stages on standard error where that is a terminal."""
    shown = sys.stderr.isatty() and not as_json
    return lambda text: print(f"{text} …", file=sys.stderr, flush=True) if shown else None


def _print(job: TuningJob, said: SearchForecast, target: str) -> None:
    spec = job.spec
    trials = count(said.limits.max_trials, "trial")
    print(f"{job.metadata.name}: {trials}, {spec.search.sampler}, {spec.prune.name} prunes, {target}\n")
    lines: list[tuple[str, str]] = [("cheapest", _corner(said.cheapest)), ("dearest", _corner(said.dearest))]
    lines += [("parameters", in_short(said.dearest.parameters))]
    lines[1:1] = [("parameters", in_short(said.cheapest.parameters))]
    lines += [("grows" if not place else "", text) for place, text in enumerate(_growth(said))]
    at_once = count(said.limits.parallel_trials, "trial")
    lines.append(("at once", f"{at_once}, {count(said.calls, 'call')} at work"))
    lines.append(("rehearsed", f"on this machine, in {duration(said.rehearsal_seconds)}"))
    if said.constants is not None:
        lines.append(("constants", said.constants))
    lines.append(("prices", job.template.price.name))
    if said.refused:
        share = f"{100 * said.refused:.0f} % of what was drawn cannot be trained, and is left out"
        lines.append(("refused", f"{share}: {(said.refusal or '').strip()}"))
    lines[:0] = plan_preparation.lines(said.preparation)
    for name, text in lines:
        print(f"  {name:<10}  {text}".rstrip())
    print()
    for line in _table(said):
        print(f"  {line}".rstrip())
    print(f"\n{_ends(said)}")
    if said.preparation is not None:
        print("Time and cost of the table are without the preparation, which is off the limits before.")


def _corner(corner: RehearsedCorner) -> str:
    step = f"{count(corner.steps, 'step')} of {duration(corner.seconds_per_step)}"
    return (
        f"{step}; alone a trial takes {duration(corner.trial_seconds)} and {dollars(corner.trial_dollars)}, of which "
        f"{duration(corner.begin_seconds)} to begin"
    )


def _growth(said: SearchForecast) -> list[str]:
    if not said.growth:
        return ["no parameter changes what a trial costs"]
    names = short_names([each.path for each in said.growth])
    found = [
        f"{each.factor:.3g} × from {names[each.path]} {to_json(each.cheapest)} to {to_json(each.dearest)}"
        for each in said.growth[:_SHOWN]
    ]
    more = len(said.growth) - _SHOWN
    return [*found, f"and by {count(more, 'parameter')} more"] if more > 0 else found


def _table(said: SearchForecast) -> list[str]:
    def row(name: str, spread: Spread, text: Any) -> list[str]:
        return [name, text(spread.p10), text(spread.p50), text(spread.p90)]

    rows = [["", "10 %", "50 %", "90 %"]]
    rows += [row("time", said.seconds, duration), row("cost", said.cost_usd, dollars)]
    rows += [
        row(name, spread, lambda value: f"{value:,.0f}")
        for name, spread in said.trials.items()
        if spread.p90 > 0
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if not place else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in rows
    ]


_ENDS = {
    "Completed": "when its trials are done",
    "BudgetExceeded": "by spec.budgetUSD",
    "DeadlineExceeded": "by spec.deadlineSeconds",
}


def _ends(said: SearchForecast) -> str:
    ends = [
        f"{_ENDS.get(reason, reason)}" + ("" if share >= 1 else f" ({100 * share:.0f} %)")
        for reason, share in said.ended_by.items()
    ]
    text = f"It ends {', or '.join(ends)}, in {count(said.draws, 'draw')}"
    if said.played < said.limits.max_trials:
        text += f" of {count(said.played, 'trial')}, which the others are taken to go on like"
    return f"{text}."
