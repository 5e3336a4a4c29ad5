"""`sapflow inspect`: tells what raw data holds, and how to begin to prepare it."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sapflow.cli.output import print_json
from sapflow.client import inspection
from sapflow.client.report import write
from sapflow.data.source_files import RAW_FORMATS
from sapflow.errors import SpecError

_DESCRIPTION = """\
Read raw data on this machine, and tell what it holds: columns with their types, what is missing, distributions, bad
rows, and with --target how that is spread and which columns may give it away. At the end is a block to paste into a
job. Types are those that a preparation would find. Nothing is written but what --html names."""

_EPILOG = """\
examples:
  sapflow inspect flights.csv --target late
  sapflow inspect flights/ --format csv --option 'delimiter=;' --option decimal=,
  sapflow inspect 's3://bucket/flights/?endpoint=http://localhost:9000' --rows all
  sapflow inspect flights.csv --target late --html flights.html"""


def add_to(commands: Any) -> None:
    parser = commands.add_parser(
        "inspect",
        help="tell what raw data holds, and how to begin to prepare it",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="SOURCE", help="a file, folder or glob, or s3://bucket/prefix")
    parser.add_argument("--format", choices=RAW_FORMATS, help="of the files (default: told from their names)")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of the format, as in data.options; may be repeated",
    )
    parser.add_argument(
        "--missing",
        action="append",
        metavar="TEXT",
        help="a text that means that a value is missing; may be repeated (default: an empty one, and NA)",
    )
    parser.add_argument("--target", metavar="COLUMN", help="the column that is to be learnt")
    parser.add_argument(
        "--rows",
        type=_rows,
        default=inspection.DEFAULT_ROWS,
        metavar="N|all",
        help=f"how many rows are read, from the first on (default: {inspection.DEFAULT_ROWS:,})",
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="also write a page, which needs no network")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(command=inspect)


def inspect(given: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Returns exit code 0 once the source was read, whatever was found. Raises SapflowError."""
    del environ
    options = dict(map(_option, given.option))
    inspected = inspection.inspect(
        given.source,
        format=given.format,
        options=options,
        missing=given.missing,
        target=given.target,
        rows=given.rows,
    )
    if given.html is not None:
        write(given.html, inspected.to_html(), "give another path by --html")
    if given.json:
        body = inspected.to_json()
        print_json(body if given.html is None else body | {"page": str(given.html)})
        return 0
    print(str(inspected), end="")
    if given.html is not None:
        print(f"\nwritten to {given.html}")
    return 0


def _option(text: str) -> tuple[str, str]:
    name, mark, value = text.partition("=")
    if not mark or not name:
        raise SpecError([("--option", f"must be NAME=VALUE, such as delimiter=;, not {text!r}")])
    return name, "\t" if value == r"\t" else value


def _rows(text: str) -> int | None:
    if text == "all":
        return None
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1, or all")
    return number
