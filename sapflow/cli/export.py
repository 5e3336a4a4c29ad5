"""`sapflow export`: writes the model of a version of a job into a file."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sapflow.cli.output import print_json
from sapflow.cli.stored_job import OF_A_CLUSTER, add_stored_job, stored_job
from sapflow.client import versions

_DESCRIPTION = """\
Write the model of a job as a safetensors file: the result of a job that has finished, or what a job has come to that
was stopped, has failed or is running. `sapflow predict` takes the file. This only reads the store."""

_EPILOG = """\
examples:
  sapflow export job.yaml                              the result, or else the last version
  sapflow export job.yaml@200 -o at-200.safetensors    version 200, if it is kept (spec.checkpoint)
  sapflow export tune.yaml/trials/7                    a trial of a search
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
    parser.add_argument("--json", action="store_true", help="print one JSON object about what was written")
    parser.set_defaults(command=export)


def export(given: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Returns exit code 0 after writing the file. Raises DataError, StoreError, and errors of clusters."""
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
