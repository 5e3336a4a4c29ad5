"""`sapflow verify`: computes versions of a job again, and compares them with what was recorded."""

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from sapflow.cli.jobs import add_entrypoint, file_named, make_importable
from sapflow.cli.output import BAD_INPUT, FAILED, print_json
from sapflow.cli.stop import run_until_stopped
from sapflow.cli.stored_job import OF_A_CLUSTER, add_stored_job, stored_job
from sapflow.client import verify as verifying
from sapflow.client.session import Session
from sapflow.client.verify import VerifiedJob
from sapflow.driver.verification import Verified
from sapflow.errors import DataError
from sapflow.text import count

_DESCRIPTION = """\
Compute versions of a job again on this machine, each from the one before it, and compare the SHA-256 of their
parameters and optimiser state with those that the job recorded. A version whose objects are gone is computed from the
nearest one that is kept. Nothing is written into the job's store."""

_EPILOG = """\
examples:
  sapflow verify digits.yaml                         all versions
  sapflow verify digits.yaml --versions 20..30       those that led to version 30 from version 19
  sapflow verify digits.yaml@40                      one version
  sapflow verify tune.yaml/trials/7                  a trial of a search
"""
_CODES = """
exit codes:
  0 all versions are the same   1 one differs, or could not be computed   2 bad input, or no version could be compared
  3 store cannot be used"""


def add_to(commands: Any) -> None:
    parser = commands.add_parser(
        "verify",
        help="compute versions of a job again and compare",
        description=_DESCRIPTION,
        epilog=_EPILOG + OF_A_CLUSTER.format(command="verify") + "\n" + _CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_stored_job(parser, "with a version, that one alone")
    add_entrypoint(parser)
    parser.add_argument("--versions", metavar="A..B", help="default: all that the job has computed")
    parser.add_argument(
        "--max-instances",
        type=int,
        metavar="N",
        help="invocations at work at once (default: this machine's cores)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(command=verify)


def verify(given: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Returns 0 if all versions are the same, 1 if one differs, 2 if none could be compared. Raises SapflowError."""
    session, name, version = stored_job(given, environ)
    if version is not None and given.versions is not None:
        session.store.close()
        raise DataError(f"{given.job} --versions {given.versions}: name versions in one of the two ways")
    with session:
        file = file_named(name)
        importing = make_importable(session.job, file or "-", environ, session.url)
        allowed = [*given.entrypoint, *(session.job.spec.model.code if file is not None else ())]
        asked = given.versions if version is None else str(version)
        return run_until_stopped(_verify(given, session, asked, importing, allowed))


async def _verify(
    given: argparse.Namespace,
    session: Session,
    asked: str | None,
    environ: Mapping[str, str],
    allowed: list[str],
) -> int:
    def told(each: Verified | None, warnings: list[str]) -> None:
        for warning in warnings:
            of = "the job" if each is None else f"version {each.version}"
            print(f"warning: {of} was {warning}", file=sys.stderr)
        if each is not None:
            print(_line(each), flush=True)

    tell = (lambda each, warnings: None) if given.json else told
    found = await verifying.verify(
        session, asked, environ, allowed, max_instances=given.max_instances, told=tell
    )
    code = FAILED if found.count("Differs") else 0 if found.same else BAD_INPUT
    if given.json:
        print_json({**found.to_json(), "exitCode": code})
    else:
        print(_sum(found))
        if found.remedy is not None:
            print(f"note: {found.remedy}", file=sys.stderr)
    return code


def _line(each: Verified) -> str:
    words = {"Same": "the same", "Differs": "DIFFERS", "NotCompared": "not compared"}
    which = f": {', '.join(each.objects)}" if each.objects else ""
    note = f" ({each.note})" if each.note else ""
    return f"version {each.version}: {words[each.state]}{which}{note}"


def _sum(found: VerifiedJob) -> str:
    differs, unknown = found.count("Differs"), found.count("NotCompared")
    more = [f"{differs:,} differ"] if differs else []
    more += [f"{unknown:,} not compared"] if unknown else []
    return f"{found.job}: {count(found.count('Same'), 'version')} the same{''.join(f', {each}' for each in more)}"
