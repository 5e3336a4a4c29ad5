"""What `sapflow plan` and `sapflow run` say of the forecast of a file of several documents."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from sapflow.cli.jobs import documents_in, make_importable
from sapflow.cli.output import print_json
from sapflow.client import pipeline_plan
from sapflow.errors import SpecError
from sapflow.monitoring.display import off
from sapflow.planning.pipeline import PipelineForecast
from sapflow.planning.spread import Spread
from sapflow.spec.tuning_job import TuningJob
from sapflow.text import count, dollars, duration

_OF_ONE_JOB = {"candidates": "--candidates", "by": "--by", "simulate": "--simulate"}


def plan(given: argparse.Namespace, documents: Sequence[Any], environ: Mapping[str, str]) -> int:
    """Returns exit code 0. Raises SapflowError."""
    for name, option in _OF_ONE_JOB.items():
        if getattr(given, name):
            raise SpecError(
                [(option, f"is for one TrainingJob, and {given.file} is a pipeline: leave it out")]
            )
    parsed = documents_in(documents, given.file, given.target)
    for each in parsed:
        template = each.template if isinstance(each, TuningJob) else each
        environ = make_importable(template, given.file, environ)

    def tell(text: str) -> None:
        if sys.stderr.isatty() and not given.json:
            print(f"{text} …", file=sys.stderr, flush=True)

    said = pipeline_plan.forecast(parsed, environ, runtime=given.target, instances=given.instances, tell=tell)
    if given.json:
        print_json({"target": given.target, **said.body()})
        return 0
    print(f"{given.file}: {count(len(parsed), 'document')}, {given.target}\n")
    for line in table(said):
        print(f"  {line}".rstrip())
    print(
        f"\nEight in ten draws are within; rehearsed on this machine in {duration(said.rehearsal_seconds)}."
    )
    if given.target == "kubernetes":
        print("Without the start of what serves, which a rehearsal on this machine says nothing of.")
    return 0


def table(said: PipelineForecast) -> list[str]:
    """A line for each stage, and one for all of them."""
    rows = [["", "", "time", "", "cost", ""]]
    rows += [_row(each.document, each.stage, each.seconds, each.cost_usd) for each in said.stages]
    rows.append(_row("in all", "", said.seconds, said.cost_usd))
    return _aligned(rows)


def grades(graded: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each stage: its forecast, and what it has taken."""
    rows = [["", "", "forecast", "", "took", ""]]
    for each in graded:
        said = Spread.model_validate(each["seconds"])
        row = [each["document"], each["stage"], duration(said.p50), _range(said, duration)]
        taken = each.get("taken")
        if taken is None:
            rows.append([*row, "nothing: it was there", ""])
            continue
        error = taken["secondsError"]
        within = "within" if taken["secondsWithin"] else off(error)
        rows.append([*row, duration(taken["seconds"]), within])
    return _aligned(rows)


def _row(document: str, stage: str, seconds: Spread, spent: Spread) -> list[str]:
    cost = [dollars(spent.p50), _range(spent, dollars)] if spent.p90 > 0 else ["", ""]
    return [document, stage, duration(seconds.p50), _range(seconds, duration), *cost]


def _range(spread: Spread, text: Any) -> str:
    return f"({text(spread.p10)} to {text(spread.p90)})"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
