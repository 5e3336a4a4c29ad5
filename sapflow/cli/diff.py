"""`sapflow diff`: the first version at which two jobs part, and why."""

import argparse
from collections.abc import Mapping
from typing import Any

from sapflow.cli.cluster_options import add_cluster
from sapflow.cli.jobs import add_store
from sapflow.cli.output import FAILED, print_json
from sapflow.cli.stop import run_until_stopped
from sapflow.cli.stored_job import stored_job
from sapflow.client.diff import Difference
from sapflow.client.diff import diff as compare
from sapflow.errors import DataError
from sapflow.text import count

_DESCRIPTION = """\
Compare two jobs version by version, by the SHA-256 that their commits recorded, and say at which version they part and
what differs: fields of the spec, data, code, plans, CPUs, images. This reads records alone."""

_EPILOG = """\
examples:
  sapflow diff digits.yaml slower.yaml
  sapflow diff digits-1a2b3c4d digits-5e6f7a8b --store /data/sapflow --output json
  sapflow diff tune.yaml/trials/3 tune.yaml/trials/best

exit codes:
  0 they are the same as far as both have come   1 they part   2 bad input   3 store cannot be used"""


def add_to(commands: Any) -> None:
    parser = commands.add_parser(
        "diff",
        help="where two jobs part, and why",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "first",
        metavar="A",
        help="a job: its YAML, its name in the store or the cluster; or a trial, SEARCH/trials/7",
    )
    parser.add_argument("second", metavar="B", help="another one")
    add_store(parser)
    add_cluster(parser)
    parser.add_argument("--output", choices=("text", "json"), default="text", help="default: text")
    parser.set_defaults(command=diff, json=False)


def diff(given: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Returns 0 if the jobs are the same as far as both have come, 1 if they part. Raises SapflowError."""
    given.json = given.output == "json"
    one, _, version = stored_job(argparse.Namespace(**{**vars(given), "job": given.first}), environ)
    with one:
        other, _, another = stored_job(argparse.Namespace(**{**vars(given), "job": given.second}), environ)
        with other:
            if version is not None or another is not None:
                raise DataError(f"{given.first} and {given.second}: name jobs, and no versions of them")
            found = run_until_stopped(compare(one, other))
    if given.json:
        print_json(found.to_json())
    else:
        print("\n".join(_lines(found)))
    return 0 if found.version is None else FAILED


def _lines(found: Difference) -> list[str]:
    if found.compared is None:
        lines = [f"{found.first} and {found.second} have no version in common"]
    elif found.version is None:
        lines = [f"{found.first} and {found.second} are the same up to version {found.compared[1]:,}"]
    elif found.version == found.compared[0]:
        lines = [
            f"{found.first} and {found.second} differ from version {found.version:,} on, their first in common"
        ]
    else:
        lines = [
            f"{found.first} and {found.second} part at version {found.version:,}; before it they are the same"
        ]
    if found.unknown:
        lines.append(
            f"{count(found.unknown, 'version')} could not be compared: no SHA-256 recorded, or other shards"
        )
    lines += [f"  {each.kind}: {each.words}" for each in found.reasons]
    if found.ends[0] != found.ends[1] and found.version is None:
        lines.append(f"their last versions are {found.ends[0]:,} and {found.ends[1]:,}")
    return lines
