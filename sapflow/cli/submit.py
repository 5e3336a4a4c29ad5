"""`sapflow submit`: gives a job or a search to a cluster and watches it there."""

import argparse
from collections.abc import Mapping
from typing import Any

from sapflow.cli import follow
from sapflow.cli.cluster_options import add_cluster, connect
from sapflow.cli.jobs import read_text
from sapflow.cli.output import print_json
from sapflow.client.cluster_kinds import kind_of
from sapflow.client.submission import apply, checked, namespace_of
from sapflow.errors import SpecError
from sapflow.spec.document import one_document

_DESCRIPTION = """\
Check a job or a search and apply it to a cluster with Sapflow, like `kubectl apply --server-side`. It runs there
independently of this command. Submitting it again changes the fields that may be changed: more trials, for one, let a
search go on that has ended."""

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
        "file", metavar="FILE", help="the TrainingJob or TuningJob, as YAML or JSON (- for standard input)"
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
    """Returns exit code 0 once the cluster has the job, with --watch once it has succeeded. Raises SapflowError."""
    document = read_document(given.file)
    cluster = connect(given, environ)
    namespace = namespace_of(document, given.namespace, cluster)
    try:
        action, job = apply(cluster, namespace, document, dry_run=given.dry_run, force=given.force_conflicts)
    except SpecError as error:
        error.add_note(f"(said by the API server of {given.file})")
        raise
    name = job["metadata"]["name"]
    if given.watch and not given.dry_run:
        if not given.json:
            print(f"{name} {action} in namespace {namespace}", flush=True)
        return follow.follow(cluster, given, job, from_the_start=action == "created", action=action)
    if given.json:
        uid = job["metadata"].get("uid", "")
        body = {"job": name, "kind": kind_of(document).kind, "namespace": namespace, "uid": uid}
        print_json({**body, "action": action, "dryRun": given.dry_run})
    elif given.dry_run:
        print(f"{name} would be {action} in namespace {namespace}; nothing was changed")
    else:
        again = follow.watch_command(given, job)
        print(f"{name} {action} in namespace {namespace}. To watch it:\n  {again}")
    return 0


def read_document(path: str) -> dict[str, Any]:
    """The document in a file, unchanged but checked like in a cluster. Raises SpecError, DataError."""
    text = read_text(path)
    try:
        return checked(one_document(text))
    except SpecError as error:
        error.add_note(f"(in {path})")
        raise
