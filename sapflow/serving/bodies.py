"""The bodies of `POST /predict`: raw rows as JSON or CSV."""

import csv
import io
import json
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sapflow.serving.input_table import FEATURES, InputTable
from sapflow.serving.raw_rows import RawRows
from sapflow.serving.refusal import BadRow, Refused, bad_request, bad_rows, shown

JSON, CSV = "application/json", "text/csv"
_CONSTANTS = {"NaN": None, "Infinity": math.inf, "-Infinity": -math.inf}
"""Numbers that JSON does not have and that clients write: not a number is a missing value."""


def rows_of(body: bytes, content_type: str, table: InputTable, most: int) -> RawRows:
    """The rows of a body. Raises Refused."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind in ("", JSON) or kind.endswith("+json"):
        return _of_json(parsed_json(body), table, most)
    if kind in (CSV, "application/csv"):
        return _of_csv(body, table, most)
    raise Refused(415, "UnsupportedMediaType", f"the content type is {content_type!r}: send {JSON} or {CSV}")


def parsed_json(body: bytes) -> Any:
    """The value of a JSON text. Raises Refused."""
    try:
        return json.loads(body, parse_constant=_CONSTANTS.__getitem__)
    except (ValueError, RecursionError) as error:
        raise bad_request(f"the body is no JSON: {error}") from error


def check_count(count: int, most: int) -> None:
    """Raise Refused unless a request may have so many rows."""
    if not count:
        raise bad_request("the request has no rows")
    if count > most:
        raise Refused(
            413,
            "TooManyRows",
            f"the request has {count:,} rows, and {most:,} are allowed (limits.rows): send fewer",
        )


def _of_json(value: Any, table: InputTable, most: int) -> RawRows:
    rows = value.get("rows") if isinstance(value, Mapping) else value
    if not isinstance(rows, list):
        raise bad_request('the body must be a list of rows, or {"rows": […]}')
    check_count(len(rows), most)
    if not table.named:
        lists = [
            each[FEATURES] if isinstance(each, Mapping) and set(each) == {FEATURES} else each for each in rows
        ]
        return table.rows({FEATURES: lists}, len(rows))
    if all(isinstance(each, list) for each in rows):
        return _of_lists(rows, [each.name for each in table.columns], table)
    nested = {each.name.partition(".")[0] for each in table.columns if "." in each.name}
    found: dict[str, list[object]] = {}
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise bad_rows(
                [BadRow(number, "", f"is {shown(row)}, and must be an object of columns and values")]
            )
        cells = _flat(row, nested) if nested else row
        for name, cell in cells.items():
            column = found.get(name)
            if column is None:
                column = found[name] = [None] * number
            column.append(cell)
        if len(cells) < len(found):
            for column in found.values():
                if len(column) == number:
                    column.append(None)
    return table.rows(found, len(rows))


def _flat(row: Mapping[str, object], nested: Collection[str]) -> dict[str, object]:
    """The row with fields of its objects under dotted names, as the columns of JSON Lines have them. `nested` are the
    names that may have objects."""
    found: dict[str, object] = {}
    for name, value in row.items():
        if isinstance(value, Mapping) and name in nested:
            inner = {f"{name}.{each}": one for each, one in value.items()}
            found |= _flat(inner, {each for each, one in inner.items() if isinstance(one, Mapping)})
        else:
            found[name] = value
    return found


def _of_lists(rows: Sequence[list[object]], names: Sequence[str], table: InputTable) -> RawRows:
    bad = [
        BadRow(
            number, "", f"has {len(row)} values, and the columns are {', '.join(names[:20])}: {len(names)}"
        )
        for number, row in enumerate(rows)
        if len(row) != len(names)
    ]
    if bad:
        raise bad_rows(bad)
    values = zip(*rows, strict=True)
    return table.rows({name: list(column) for name, column in zip(names, values, strict=True)}, len(rows))


def _of_csv(body: bytes, table: InputTable, most: int) -> RawRows:
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise bad_request(f"the body is not UTF-8: {error}") from error
    try:
        reader = csv.reader(
            io.StringIO(text, newline=""), delimiter=table.delimiter, quotechar=table.quote or None, strict=True,
            quoting=csv.QUOTE_MINIMAL if table.quote else csv.QUOTE_NONE,
        )  # fmt: skip
        lines = [line for line in reader if line]
    except csv.Error as error:
        raise bad_request(f"the body is no CSV: {error}") from error
    if not table.named:
        check_count(len(lines), most)
        rows: list[object] = [[_cell(each) for each in line] for line in lines]
        return table.rows({FEATURES: rows}, len(rows))
    if not lines:
        raise bad_request("the body has no header: the first line must name the columns")
    header, *lines = lines
    check_count(len(lines), most)
    if len(set(header)) < len(header):
        raise bad_request("the header names a column twice")
    bad = [
        BadRow(number, "", f"has {len(line)} fields, and the header {len(header)}")
        for number, line in enumerate(lines)
        if len(line) != len(header)
    ]
    if bad:
        raise bad_rows(bad)
    columns = zip(*lines, strict=True)
    return table.rows({name: list(column) for name, column in zip(header, columns, strict=True)}, len(lines))


def _cell(text: str) -> object:
    """A number of a row without names; what is none is told as its row's fault."""
    try:
        return float(text)
    except ValueError:
        return text
