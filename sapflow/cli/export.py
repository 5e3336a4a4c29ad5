"""`sapflow export`: writes the model of a version of a job into a file, or a job or search for a tracker."""

import argparse
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sapflow.cli import search_report
from sapflow.cli.output import print_json
from sapflow.cli.stop import run_until_stopped
from sapflow.cli.stored_job import OF_A_CLUSTER, add_stored_job, stored_job
from sapflow.client import tracking, versions
from sapflow.client.session import Session
from sapflow.client.tuning import TuningSession
from sapflow.errors import SpecError
from sapflow.monitoring.trackers.registry import NAMES
from sapflow.text import count

_DESCRIPTION = """\
Write the model of a job as a safetensors file: the result of a job that has finished, or what a job has come to that
was stopped, has failed or is running. `sapflow predict` takes the file. This only reads the store.

With --to, write its metrics, parameters and model for TensorBoard, MLflow or Optuna instead, of a search all trials.
To do so again adds what is new, also while it is at work."""

_EPILOG = """\
examples:
  sapflow export job.yaml                              the result, or else the last version
  sapflow export job.yaml@200 -o at-200.safetensors    version 200, if it is kept (spec.checkpoint)
  sapflow export tune.yaml/trials/7                    a trial of a search
  sapflow export tune.yaml --to tensorboard runs       scalars by step, and trials for HParams
  sapflow export tune.yaml --to mlflow http://host:5000    a run, below it one for each trial; or a folder
  sapflow export tune.yaml --to optuna study           a study that optuna-dashboard opens; or a database's URL
"""


def add_to(commands: Any) -> None:
    parser = commands.add_parser(
        "export",
        help="a job's model as a file, also of a stopped job",
        description=_DESCRIPTION,
        epilog=_EPILOG + OF_A_CLUSTER.format(command="export"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_stored_job(parser, "the default is its result, or else its last version")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="default: UID@VERSION.safetensors in the current folder",
    )
    parser.add_argument(
        "--to",
        nargs=2,
        metavar=("TRACKER", "PLACE"),
        help=f"write the job or the search for a tracker ({', '.join(NAMES)}) into a folder, a tracking server or a "
        "database",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object about what was written")
    parser.set_defaults(command=export)


def export(given: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Returns exit code 0 after writing. Raises DataError, StoreError, and errors of clusters and trackers."""
    if given.to is not None:
        return _export_to(given, environ)
    session, _, version = stored_job(given, environ)
    with session:
        done = versions.export(session, given.output, version)
        if given.json:
            print_json(
                {
                    "job": session.uid,
                    "version": done.version,
                    "path": str(done.path.resolve()),
                    "sha256": done.sha256,
                }
            )
        else:
            print(f"version {done.version} of {session.uid} is in {done.path} (SHA-256 {done.sha256[:16]}…)")
    return 0


def _export_to(given: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Write a job or a search for a tracker."""
    tracker, place = given.to
    if tracker not in NAMES:
        raise SpecError([("--to", f"is {tracker!r}, and must be one of {', '.join(NAMES)}")])
    if given.output is not None:
        raise SpecError(
            [("--output", "is for a model's file; with --to the place follows the tracker's name")]
        )
    name, version = versions.split(given.job)
    opened: Session | TuningSession | None = search_report.find(name, given, environ)
    if opened is None:
        opened, _, version = stored_job(given, environ)
    with opened:
        done = run_until_stopped(tracking.write(opened, tracker, place, version))
    if given.json:
        body = {"uid": done.uid, "to": done.to, "place": done.place, "versions": done.versions}
        body |= {} if done.trials is None else {"trials": done.trials}
        print_json({**body, "openedBy": done.opened_by})
        return 0
    of_trials = "" if done.trials is None else f" of {count(done.trials, 'trial')}"
    print(f"{done.uid} is in {done.place}: {count(done.versions, 'version')}{of_trials} new there")
    if done.opened_by:
        print(f"\nOpen it:\n  {shlex.join(done.opened_by)}")
    return 0
