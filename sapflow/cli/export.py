"""`sapflow export`: writes the model of a version of a job into a file."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sapflow.cli.cluster_options import add_cluster
from sapflow.cli.jobs import add_store
from sapflow.cli.output import print_json
from sapflow.cli.report import session_named
from sapflow.client import versions

_DESCRIPTION = """\
Write the model of a job as a safetensors file: the result of a job that has finished, or what a job has come to that
was stopped, has failed or is running. `sapflow predict` takes the file. This only reads the store."""

_EPILOG = """\
examples:
  sapflow export job.yaml                              the result, or else the last version
  sapflow export job.yaml@200 -o at-200.safetensors    version 200, if it is kept (spec.checkpoint)
  sapflow export digits -n team --store 's3://sapflow?endpoint=http://localhost:9000'
      a job of a cluster; its store must be reachable (kubectl port-forward), with credentials in the environment"""


def add_to(commands: Any) -> None:
    parser = commands.add_parser(
        "export",
        help="a job's model as a file, also of a stopped job",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "job",
        metavar="JOB[@VERSION]",
        help="the job's YAML, its name in the store or in the cluster, or its folder in the store",
    )
    add_store(parser)
    add_cluster(parser)
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="default: JOB@VERSION.safetensors in the current folder",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object about what was written")
    parser.set_defaults(command=export)


def export(given: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Returns exit code 0 after writing the file. Raises DataError, StoreError, and errors of clusters."""
    given.job, version = versions.split(given.job)
    with session_named(given, environ) as session:
        found, parts = versions.read(session, version)
        path = given.output or Path(f"{session.uid}@{found}.safetensors")
        digest = versions.write(path, parts)
        if given.json:
            print_json({"job": session.uid, "version": found, "path": str(path.resolve()), "sha256": digest})
        else:
            print(f"version {found} of {session.uid} is in {path} (SHA-256 {digest[:16]}…)")
    return 0
