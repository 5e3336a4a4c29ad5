"""`sapflow submit`: gives a job or a search to a cluster and watches it there."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sapflow.cli import follow
from sapflow.cli.cluster_options import add_cluster, connect
from sapflow.cli.jobs import read_documents
from sapflow.cli.output import print_json
from sapflow.client.cluster import Cluster, Object
from sapflow.client.cluster_kinds import kind_of
from sapflow.client.submission import apply, checked, namespace_of
from sapflow.errors import DataError, SpecError

_DESCRIPTION = """\
Check a job or a search and apply it to a cluster with Sapflow, like `kubectl apply --server-side`. It runs there
independently of this command. Submitting it again changes the fields that may be changed: more trials, for one, let a
search go on that has ended. Of a file of several documents all are applied, and --watch follows one after the other."""

_EPILOG = """\
examples:
  sapflow submit job.yaml
  sapflow submit job.yaml --watch                 until it ends: exit code 0 if it succeeded, 1 if it failed
  sapflow submit tune.yaml --watch                a search
  sapflow submit job.yaml -n team --context staging --dry-run"""


def add_to(commands: Any) -> None:
    parser = commands.add_parser(
        "submit",
        help="hand a job or a search to a Kubernetes cluster",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "file", metavar="FILE", help="TrainingJobs and TuningJobs, as YAML or JSON (- for standard input)"
    )
    add_cluster(parser)
    parser.add_argument("--watch", action="store_true", help="follow the job to its end")
    parser.add_argument(
        "--dry-run", action="store_true", help="let the API server check the job, and change nothing"
    )
    parser.add_argument(
        "--force-conflicts",
        action="store_true",
        help="take over fields that another tool (kubectl apply, a GitOps controller) has set",
    )
    parser.add_argument("--plain", action="store_true", help="plain lines instead of the live display")
    parser.add_argument(
        "--json", action="store_true", help="the outcome as one JSON object; progress as JSON lines on stderr"
    )
    parser.set_defaults(command=submit)


def submit(given: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Returns exit code 0 once the cluster has all of the file, with --watch once all has succeeded. Raises
    SapflowError."""
    documents = _read(given.file)
    if given.watch and given.json and len(documents) > 1:
        raise DataError(
            "--watch with --json is for a file of one document: submit first, then watch each by status"
        )
    cluster = connect(given, environ)
    applied = [_apply(given, cluster, each) for each in documents]
    if given.watch and not given.dry_run:
        return _watch(given, cluster, applied)
    if given.json:
        bodies = [each.body(dry_run=given.dry_run) for each in applied]
        print_json(bodies[0] if len(bodies) == 1 else {"documents": bodies})
        return 0
    for each in applied:
        if given.dry_run:
            print(f"{each.name} would be {each.action} in namespace {each.namespace}; nothing was changed")
        else:
            again = follow.watch_command(given, each.job)
            print(f"{each.name} {each.action} in namespace {each.namespace}. To watch it:\n  {again}")
    return 0


@dataclass(frozen=True, slots=True)
class _Applied:
    """A document that the cluster has now."""

    kind: str
    namespace: str
    action: str
    job: Object

    @property
    def name(self) -> str:
        return str(self.job["metadata"]["name"])

    def body(self, *, dry_run: bool) -> dict[str, Any]:
        uid = self.job["metadata"].get("uid", "")
        body = {"job": self.name, "kind": self.kind, "namespace": self.namespace, "uid": uid}
        return {**body, "action": self.action, "dryRun": dry_run}


def _apply(given: argparse.Namespace, cluster: Cluster, document: dict[str, Any]) -> _Applied:
    namespace = namespace_of(document, given.namespace, cluster)
    try:
        action, job = apply(cluster, namespace, document, dry_run=given.dry_run, force=given.force_conflicts)
    except SpecError as error:
        error.add_note(f"(said by the API server of {given.file})")
        raise
    return _Applied(kind_of(document).kind, namespace, action, job)


def _watch(given: argparse.Namespace, cluster: Cluster, applied: Sequence[_Applied]) -> int:
    """Follow one after the other, until one fails; the exit code."""
    for each in applied:
        if not given.json:
            print(f"{each.name} {each.action} in namespace {each.namespace}", flush=True)
    code = 0
    for each in applied:
        created = each.action == "created"
        code = follow.follow(cluster, given, each.job, from_the_start=created, action=each.action)
        if code != 0:
            break
    return code


def _read(path: str) -> list[dict[str, Any]]:
    """The documents in a file, unchanged but checked like in a cluster. Raises SpecError, DataError."""
    found = read_documents(path, "kubernetes")
    try:
        return [checked(each) for each in found]
    except SpecError as error:
        error.add_note(f"(in {path})")
        raise


def read_document(path: str) -> dict[str, Any]:
    """The document in a file, of several the last, unchanged but checked like in a cluster. Raises SpecError,
    DataError."""
    return _read(path)[-1]
