"""`sapflow report` of a search."""

import argparse
from collections.abc import Mapping
from pathlib import Path

from sapflow.cli import tuning
from sapflow.cli.cluster_find import find_job
from sapflow.cli.cluster_options import cluster_named
from sapflow.cli.jobs import is_file
from sapflow.cli.output import print_json
from sapflow.cli.stop import run_until_stopped
from sapflow.client import cluster_store
from sapflow.client.kubeconfig import has_cluster
from sapflow.client.report import write
from sapflow.client.tuning import TuningSession, find_tuning
from sapflow.errors import SapflowError
from sapflow.monitoring.tuning_report import gather, render
from sapflow.spec import tuning_document
from sapflow.spec.trial_names import trial_named
from sapflow.text import count


def find(name: str, given: argparse.Namespace, environ: Mapping[str, str]) -> TuningSession | None:
    """The search of a YAML file, of a name or of a folder in a store, on this machine or of a cluster; None where the
    name is not a search's.

    Raises DataError, SpecError, StoreError, and errors of clusters.
    """
    if trial_named(name) is not None:
        return None
    if cluster_named(given):
        return _of_cluster(name, given, environ)
    folder = Path(name).absolute()
    if given.store is None and folder.is_dir() and folder.parent.name == "jobs":
        return find_tuning(folder.name, environ, store=str(folder.parent.parent))
    found = tuning.named(name, given.store, environ)
    if isinstance(found, TuningSession):
        return found
    if found is not None:
        found.store.close()
        return None
    if is_file(name) or given.store is None or not has_cluster(environ):
        return None
    try:
        return _of_cluster(name, given, environ)
    except SapflowError:
        # What is wrong is told where a job of this name is sought.
        return None


def _of_cluster(name: str, given: argparse.Namespace, environ: Mapping[str, str]) -> TuningSession | None:
    _, found = find_job(argparse.Namespace(**{**vars(given), "job": name}), environ)
    if not tuning_document.is_tuning(found):
        return None
    return cluster_store.tuning_of(found, given.store, environ)


def report(opened: TuningSession, given: argparse.Namespace) -> int:
    """Write the page, and close the search's store. Returns exit code 0. Raises DataError, StoreError."""
    with opened:
        facts = run_until_stopped(gather(opened.uid, opened.job, opened.store))
    write(given.output, render(facts), "give another path by --output")
    if given.json:
        print_json({"search": facts.uid, "state": facts.phase, "report": str(given.output)})
    else:
        trials = count(len(facts.trials), "trial")
        print(f"{facts.uid}: {facts.phase}, {trials}; written to {given.output}")
    return 0
