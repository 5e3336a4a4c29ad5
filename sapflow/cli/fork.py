"""`sapflow fork`: writes a job that begins at a version of another one."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from sapflow.cli.cluster_find import find_job
from sapflow.cli.cluster_options import cluster_named
from sapflow.cli.output import print_json
from sapflow.cli.stored_job import OF_A_CLUSTER, add_stored_job, stored_job
from sapflow.client import fork as forks
from sapflow.errors import DataError

_DESCRIPTION = """\
Write a new job that begins at a version of another job: it has that job's parameters, optimiser state and position in
the data, and goes on by its own spec. What was not changed keeps its bits. This only reads the store; `sapflow run`
trains the job that is written, in a cluster `kubectl apply`."""

_EPILOG = """\
examples:
  sapflow fork digits.yaml@40 --set spec.optimizer.learningRate=0.01 -o slower.yaml
  sapflow run slower.yaml
  sapflow fork digits.yaml --set spec.algorithm.epochs=20        from its result, or else its last version
  sapflow fork tune.yaml/trials/best --set spec.algorithm.epochs=50     from a search's best trial
"""


def add_to(commands: Any) -> None:
    parser = commands.add_parser(
        "fork",
        help="a new job that begins at a version of another",
        description=_DESCRIPTION,
        epilog=_EPILOG + OF_A_CLUSTER.format(command="fork"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_stored_job(parser, "the default is its result, or else its last version")
    parser.add_argument(
        "--set",
        dest="changes",
        metavar="FIELD=VALUE",
        action="append",
        default=[],
        help="a field of the new job, as spec.optimizer.learningRate=0.01 (may be repeated; null leaves it out)",
    )
    parser.add_argument("--name", help="metadata.name of the new job (default: NAME-vVERSION)")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: standard output")
    parser.add_argument("--json", action="store_true", help="print the job as JSON")
    parser.set_defaults(command=fork)


def fork(given: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Returns exit code 0 after writing the job. Raises SpecError, DataError, StoreError, and errors of clusters."""
    changes = forks.assignments(given.changes)
    session, name, version = stored_job(given, environ)
    spec = None
    with session:
        if cluster_named(given):
            found = find_job(argparse.Namespace(**{**vars(given), "job": name}), environ)[1]
            spec = forks.cluster_spec(found, session)
        document = forks.document(session, version, changes, name=given.name, spec=spec)
        origin = document["spec"]["from"]
        if given.output is not None:
            _write(given.output, yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
        if given.json:
            print_json(document)
        elif given.output is None:
            print(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), end="")
        else:
            print(f"{given.output} begins at version {origin['version']} of {session.uid}")
    return 0


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}; give another path") from error
