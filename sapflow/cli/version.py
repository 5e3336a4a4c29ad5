"""`sapflow version`."""

import argparse
import platform
from collections.abc import Mapping
from typing import Any

import sapflow
from sapflow.cli.output import print_json
from sapflow.spec.training_job import API_VERSION


def add_to(commands: Any) -> None:
    parser = commands.add_parser("version", help="print the version", description="Print Sapflow's version.")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(command=version)


def version(given: argparse.Namespace, environ: Mapping[str, str]) -> int:
    if given.json:
        body = {"version": sapflow.__version__, "apiVersion": API_VERSION}
        print_json({**body, "python": platform.python_version()})
    else:
        print(f"sapflow {sapflow.__version__} ({API_VERSION}, Python {platform.python_version()})")
    return 0
