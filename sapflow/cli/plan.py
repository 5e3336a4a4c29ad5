"""`sapflow plan`: predicts a job's time and cost, and finds the best merge trees, before anything starts."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sapflow.cli import plan_pipeline, plan_preparation, plan_search
from sapflow.cli.jobs import job_in, make_importable, read_documents
from sapflow.cli.output import print_json
from sapflow.client import preparation_plan, session, survey
from sapflow.data.blocks import Manifest
from sapflow.errors import SpecError
from sapflow.planning import choice, data_load, placement, search, simulation, workload
from sapflow.planning.constants import Constants
from sapflow.planning.cost_model import Work
from sapflow.planning.data_load import DataLoad
from sapflow.planning.extent import Extent
from sapflow.planning.placement import Placement
from sapflow.planning.preparation import PreparationForecast
from sapflow.planning.search import Candidate
from sapflow.quantities import structure
from sapflow.quantities.memory import format_bytes
from sapflow.quantities.prices import Price
from sapflow.quantities.structure import Structure
from sapflow.runtimes.embedded.runtime import available_cores
from sapflow.spec.training_job import Runtime, TrainingJob
from sapflow.spec.tuning_document import is_tuning
from sapflow.text import count, dollars, duration
from sapflow.training import estimate

_DESCRIPTION = """\
Predict the time and the cost of a job before anything starts, with the best merge trees and shard counts. The tree
that the job itself would run is marked. The data is examined as in `sapflow validate`. Nothing is written.

Raw data (spec.data.prepare) is prepared at its beginning, two partitions of it by real functions into a folder that is
removed, and the preparation of the whole is forecast with its spread.

Of a search (a TuningJob), the time and the cost of all trials are forecast with their spread: two real steps of the
cheapest and of the dearest trial are made on this machine, in a folder that is removed, and the search's decisions are
played many times over (docs/tuning.md).

Of a file of several documents every stage is forecast so, a job as a search of one trial, and the sum of all."""

_EPILOG = """\
Predictions are for warm steps, from constants that were measured on other jobs (docs/planner.md). Cold starts, cutting
the data, evaluations and checkpoints come on top.

examples:
  sapflow plan job.yaml
  sapflow plan job.yaml --simulate              each candidate as a simulation of all its calls, too
  sapflow plan job.yaml --target kubernetes --instances 40
  sapflow plan job.yaml --by dollars --candidates 20 --json
  sapflow plan tune.yaml                        the time and cost of a search
  sapflow plan tune.yaml --target kubernetes --instances 40
  sapflow plan pipeline.yaml                    each stage of a file of several documents"""

_ROWS = 8
_DRAWN = 17
"""The most nodes of a level that are drawn."""


def add_to(commands: Any) -> None:
    parser = commands.add_parser(
        "plan",
        help="predict seconds and dollars of a job's merge trees, or of a search",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "file", metavar="FILE", help="the TrainingJob or TuningJob, as YAML or JSON (- for standard input)"
    )
    parser.add_argument(
        "--target",
        choices=("local", "kubernetes"),
        default="local",
        help="where it is to run (default: local)",
    )
    parser.add_argument(
        "--instances",
        type=_positive,
        metavar="N",
        help="functions that can be at work at once (default: this machine's cores; kubernetes: any number)",
    )
    parser.add_argument(
        "--candidates", type=_positive, metavar="N", help=f"rows of the table (default: {_ROWS})"
    )
    parser.add_argument(
        "--by",
        choices=("seconds", "dollars"),
        help="what is best (default: as limits.goal asks, else seconds)",
    )
    parser.add_argument("--simulate", action="store_true", help="simulate each candidate, call by call")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(command=plan)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is below 1")
    return number


@dataclass(frozen=True, slots=True)
class _Row:
    """A candidate as it is shown; `own` marks the one that the job runs."""

    candidate: Candidate
    own: bool
    simulated: float | None = None


@dataclass(frozen=True, slots=True)
class _Plan:
    job: TrainingJob
    size: workload.Size
    work: Work
    constants: Constants
    steps: int | None
    """None if the number is not known without reading all of the data."""
    rows: list[_Row]
    best: Candidate
    own: Candidate
    """The candidate that the job runs at first."""
    within: bool
    """Whether it is predicted to keep within the limit that belongs to the goal."""
    own_shortage: str | None
    """Why the job's mergers have too little memory for their sum, or None."""

    preparation: PreparationForecast | None
    """Of raw data, before the first step."""
    estimated: bool
    """Whether the number of steps is by that of the samples in the first partitions of raw data."""

    placed: Placement | None
    """The cells of the job's tree; None also if the cluster's nodes determine their number."""

    @property
    def through_the_store(self) -> tuple[int, int]:
        """Bytes through the store in a warm step of a placed job: with its cells, and without cells."""
        assert self.placed is not None
        tree, vector = self.placed.tree, 4 * self.work.total
        state = 4 * self.size.parameters * self.size.slots
        plain = placement.traffic_unplaced(tree, tree[-1], vector, vector, state)
        return self.placed.traffic(vector, vector, state).total, plain.total


def plan(given: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Returns exit code 0. Raises SpecError, DataError, StoreError."""
    runtime: Runtime = given.target
    documents = read_documents(given.file, runtime)
    if len(documents) > 1:
        return plan_pipeline.plan(given, documents, environ)
    document = documents[0]
    if is_tuning(document):
        return plan_search.plan(given, document, environ)
    job = job_in(document, given.file, runtime)
    if not job.spec.algorithm.facts.merged:
        text = "Async has one root that applies each contribution by itself: there is no tree to plan"
        raise SpecError([("spec.algorithm.mode", text)])
    found = survey.survey(job.spec.data, session.store_url(job, None), job.spec.algorithm.seed)
    session.check_data(job, found.manifest)
    inherited = make_importable(job, given.file, environ)
    size = estimate.measure_apart(job, found.manifest, inherited, runtime)
    instances = given.instances or (available_cores() if runtime == "local" else None)
    manifest, complete, prepared = found.manifest, found.complete, None
    if job.spec.data.prepare is not None:
        asked = session.store_url(job, None)
        planned = preparation_plan.of_job(
            job, inherited, asked=asked, runtime=runtime, instances=given.instances
        )
        manifest, complete, prepared = planned.expected, True, planned.forecast
    load = data_load.of(job, manifest)
    steps = _steps(job, manifest, complete)
    estimated = not found.complete and job.spec.algorithm.steps is None
    made = _make(job, size, load, steps, runtime, instances, given, prepared, estimated)
    if given.json:
        print_json(_body(made, runtime))
    else:
        _print(made, runtime)
    return 0


def _steps(job: TrainingJob, manifest: Manifest, complete: bool) -> int | None:
    if not complete and job.spec.algorithm.steps is None:
        return None
    return Extent.of(job, manifest.train_samples).steps


def _make(
    job: TrainingJob,
    size: workload.Size,
    load: DataLoad,
    steps: int | None,
    runtime: Runtime,
    instances: int | None,
    given: argparse.Namespace,
    prepared: PreparationForecast | None,
    estimated: bool,
) -> _Plan:
    constants, price = workload.constants_of(session.store_url(job, None), runtime), job.price
    work = workload.work_of(job, size, constants, runtime, instances, load=load)
    limited = choice.memory_limited(job, work)
    most = 1 if job.needs_complete_vector else workload.most_shards(size)
    shards = search.feasible_shards(limited, most)
    by = given.by or choice.objective_of(job)
    best = search.search(work, constants, price, shards=shards, objective=by, most=given.candidates or _ROWS)
    remaining = choice.within_limits(job, steps)
    own = choice.choose(job, work, constants, size, remaining)
    listed = [*best]
    if not any(_same(each, own) for each in listed):
        listed.append(own)
    rows = [_Row(each, _same(each, own), _simulated(each, work, constants, price, given)) for each in listed]
    shortage = search.merger_memory(limited, own.shards).shortage(limited.memory(limited.mergers))
    within = remaining.allows(own)
    placed = None if _nodes_decide(job, runtime) else placement.of(job)
    return _Plan(
        job, size, work, constants, steps, rows, best[0], own, within, shortage, prepared, estimated, placed
    )


def _nodes_decide(job: TrainingJob, runtime: Runtime) -> bool:
    """Whether the number of a placed job's cells is the number of a cluster's nodes."""
    asked = job.spec.placement
    return (
        runtime == "kubernetes" and job.spec.affinity is not None and (asked is None or asked.cells is None)
    )


def _same(one: Candidate, other: Candidate) -> bool:
    return (one.structure, one.shards) == (other.structure, other.shards)


def _simulated(
    each: Candidate, work: Work, constants: Constants, price: Price, given: argparse.Namespace
) -> float | None:
    if not given.simulate:
        return None
    return simulation.simulate(work, constants, each.structure, each.shards, price).seconds


def _body(made: _Plan, runtime: Runtime) -> dict[str, Any]:
    merge = made.job.spec.merge
    body: dict[str, Any] = {
        "job": made.job.metadata.name,
        "target": runtime,
        "constants": made.constants.origin,
        "model": {"parameters": made.size.parameters, "forwardFlops": made.size.forward_flops},
        "contributionBytes": 4 * made.work.total,
        "data": {"bytesPerWorkerAndStep": made.work.data_bytes, "secondsPerStep": made.work.data_seconds},
        "instances": made.work.instances,
        "steps": made.steps,
        "asked": {
            "structure": None if merge.structure is None else list(merge.structure),
            "shards": merge.shards,
            "fits": made.own_shortage is None,
        },
        "candidates": [_candidate_body(row, made.steps) for row in made.rows],
    }
    if made.preparation is not None:
        body["preparation"] = made.preparation.body()
    if made.placed is not None:
        through, plain = made.through_the_store
        said = {"bytesThroughStore": through, "bytesThroughStoreWithoutCells": plain}
        body["placement"] = made.placed.outline() | said
    return body


def _candidate_body(row: _Row, steps: int | None) -> dict[str, Any]:
    prediction = row.candidate.prediction
    body: dict[str, Any] = {
        "structure": list(row.candidate.structure),
        "shards": row.candidate.shards,
        "own": row.own,
        "secondsPerStep": prediction.seconds,
        "dollarsPerStep": prediction.dollars,
        "calls": prediction.calls,
        "bottleneck": prediction.bottleneck,
        "parts": prediction.parts,
    }
    if row.simulated is not None:
        body["simulatedSecondsPerStep"] = row.simulated
    if steps is not None:
        body |= {"seconds": steps * prediction.seconds, "dollars": steps * prediction.dollars}
    return body


def _print(made: _Plan, runtime: Runtime) -> None:
    job, work = made.job, made.work
    steps = "an unknown number of steps" if made.steps is None else count(made.steps, "step")
    steps = f"about {steps}" if made.estimated and made.steps is not None else steps
    at_once = "any number of" if work.instances is None else f"{work.instances:,}"
    print(f"{job.metadata.name}: {count(work.workers, 'worker')}, {steps}, {runtime}\n")
    size = f"{count(made.size.parameters, 'parameter')}, a contribution of {format_bytes(4 * work.total)}"
    print(f"  model      {size}, {duration(work.compute_seconds)} of computing a step")
    read = f"{format_bytes(round(work.data_bytes))} a worker and step from the store, on average"
    print(f"  data       {read}, {duration(work.data_seconds)}")
    for name, line in plan_preparation.lines(made.preparation):
        print(f"  {name:<9}  {line}")
    print(f"  instances  {at_once} at work at once")
    print(f"  constants  {made.constants.origin}")
    print(f"  prices     {job.price.name}")
    for line in _cells(made, runtime):
        print(f"  {line}")
    print()
    for line in _table(made):
        print(f"  {line}".rstrip())
    print(f"\n{_own_words(made)}\n")
    own = made.own
    trees = "" if own.shards == 1 else f", {own.shards} such trees at once, one a shard"
    print(f"{list(own.structure)}{trees}:\n")
    for line in draw(own.structure):
        print(f"  {line}")


def _cells(made: _Plan, runtime: Runtime) -> list[str]:
    """Lines of text about a placed job's cells."""
    if _nodes_decide(made.job, runtime):
        return ["cells      one a schedulable node: name placement.cells to see what that spares"]
    if made.placed is None:
        return []
    through, plain = map(format_bytes, made.through_the_store)
    spared = f"{through} a step through the store, {plain} without cells; seconds are predicted without"
    return [f"cells      {made.placed.words}", f"           {spared}"]


def _table(made: _Plan) -> list[str]:
    simulated = made.rows[0].simulated is not None
    heads = ["", "structure", "shards", "a step", *(["simulated"] if simulated else []), "in all"]
    cells = [[*heads, "$ a step", "$ in all", "bottleneck"]]
    for row in made.rows:
        prediction = row.candidate.prediction
        known = made.steps is not None
        total = (made.steps or 0) * prediction.seconds
        spent = (made.steps or 0) * prediction.dollars
        cells.append(
            [
                "*" if row.own else "",
                str(list(row.candidate.structure)),
                str(row.candidate.shards),
                duration(prediction.seconds),
                *([] if row.simulated is None else [duration(row.simulated)]),
                duration(total) if known else "?",
                dollars(prediction.dollars),
                dollars(spent) if known else "?",
                prediction.bottleneck,
            ]
        )
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    remaining = {0, 1, len(widths) - 1}
    return [
        "  ".join(
            cell.ljust(width) if index in remaining else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    ]


def _own_words(made: _Plan) -> str:
    merge, limits = made.job.spec.merge, made.job.spec.limits
    named = [name for name, value in (("structure", merge.structure), ("shards", merge.shards)) if value]
    why = f"merge.{' and merge.'.join(named)} {'ask' if len(named) > 1 else 'asks'} for it" if named else ""
    if made.job.planned:
        goals = {
            None: "least time",
            "LeastTime": f"least time within ${limits.budget_usd or 0:g}"
            if limits.budget_usd
            else "least time",
            "LeastCost": "least cost"
            + (f" within {limits.deadline_seconds} s" if limits.deadline_seconds else ""),
        }
        chosen = f"the planner's choice: {goals[limits.goal]}, and once more from its own first steps"
        why = f"{why}; the rest is {chosen}" if why else chosen
        if not made.within:
            why += ";\n  no tree is forecast to keep within that: the job would stop at the limit, with a checkpoint"
    short = (
        "" if made.own_shortage is None else f";\n  its spec.memory.{made.work.mergers} {made.own_shortage}"
    )
    return f"* what the job runs: {why}{short}"


def draw(tree: Structure) -> list[str]:
    """A line for each level, root first: its nodes, shortened if there are many, and their numbers of children."""
    nodes = [_nodes(structure.width(tree, level)) for level in range(structure.levels(tree), -1, -1)]
    room = max(map(len, nodes))
    lines = []
    for level, drawn in zip(range(structure.levels(tree), -1, -1), nodes, strict=True):
        lines.append(f"{drawn.center(room)}   {_label(tree, level)}")
    return lines


def _nodes(number: int) -> str:
    if number <= _DRAWN:
        return " ".join("●" * number)
    side = " ".join("●" * (_DRAWN // 2))
    return f"{side} … {side}"


def _label(tree: Structure, level: int) -> str:
    number, top = structure.width(tree, level), structure.levels(tree)
    if level == 0:
        return count(number, "worker")
    least, most = structure.width(tree, level - 1) // number, -(-structure.width(tree, level - 1) // number)
    sums = str(most) if least == most else f"{least} or {most}"
    if level == top:
        return f"root, sums {sums}"
    return f"{count(number, 'merger')}, each sums {sums}" if number > 1 else f"1 merger, sums {sums}"
