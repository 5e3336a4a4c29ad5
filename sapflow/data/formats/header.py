"""Whether the first row of a CSV file is a header, where nobody has said so."""

import itertools
from collections.abc import Collection, Sequence

from sapflow.data.formats.columns import is_count
from sapflow.errors import DataError

PEEK = 100
"""Rows after the first one that are compared with it."""
NO_VALUE = frozenset({"", "?", "-", ".", "na", "n/a", "null", "none", "nan", "missing"})
"""Words for a value that is not there; they are no names."""


def is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def is_header(row: Sequence[str], body: Sequence[Sequence[str]], known: Collection[str], origin: str) -> bool:
    """Whether `row`, the first one, names the columns; `body` are some rows after it.

    It does if it has one of the `known` names, or no number; or if it has words where the others have numbers; or if
    it counts 0, 1, 2 … as pandas does for columns without names, where others have fractions or words. Raises DataError
    where that cannot be told: then the options must say it.
    """
    body = [each for each in body if len(each) == len(row)]
    if any(cell in known and not (is_number(cell) and _is_place(cell, row)) for cell in row):
        return True
    numbers = [is_number(cell) for cell in row]
    if not any(numbers):
        return True
    if not body or len(row) == 1:
        return False
    columns = list(zip(*body, strict=True))
    numeric = [place for place, number in enumerate(numbers) if number]
    named = [
        place for place, number in enumerate(numbers) if not number and row[place].lower() not in NO_VALUE
    ]
    rising = _rises([row[place] for place in numeric])
    strange = all(_is_strange(row[place], columns[place]) for place in numeric)
    if any(_are_numbers(columns[place]) for place in named):
        # Words over numbers make a header, if its numbers may be names, too; else it is a sample with a bad cell.
        return (rising and (strange or _counts([row[place] for place in numeric]))) or _doubtful(row, origin)
    if named:
        # Words over words: of a sample the label comes again.
        return not any(row[place] in columns[place] for place in named) and rising and _doubtful(row, origin)
    if not rising or len(numeric) < len(row):
        return False
    if any(not any(map(is_number, column)) for column in columns):
        return True
    if is_count(row):
        fractions = any(not any(map(_is_integer, column)) for column in columns)
        return (fractions and len(row) > 2) or _doubtful(row, origin)
    return strange and len(row) > 2 and all(map(_is_integer, row)) and _doubtful(row, origin)


def _doubtful(row: Sequence[str], origin: str) -> bool:
    shown = ", ".join(row[:5]) + (" …" if len(row) > 5 else "")
    raise DataError(
        f"{origin}: the first row ({shown}) may be a header or a sample: say options: header: Present if it names the "
        "columns, else header: Absent"
    )


def _is_place(cell: str, row: Sequence[str]) -> bool:
    """Whether a name is also a column's number."""
    return cell.isdigit() and int(cell) < len(row)


def _rises(cells: Sequence[str]) -> bool:
    values = list(map(float, cells))
    return all(before < after for before, after in itertools.pairwise(values))


def _counts(cells: Sequence[str]) -> bool:
    """Whether numbers go up by one, as those of columns without names do among others."""
    integers = len(cells) > 1 and all(map(_is_integer, cells))
    return integers and all(int(after) == int(before) + 1 for before, after in itertools.pairwise(cells))


def _is_integer(cell: str) -> bool:
    return cell.lstrip("+-").isdigit()


def _are_numbers(cells: Sequence[str]) -> bool:
    return all(is_number(cell) for cell in cells if cell.lower() not in NO_VALUE)


def _is_strange(cell: str, column: Sequence[str]) -> bool:
    """Whether a number is of another kind than those below it: whole over fractions, or outside their range."""
    if _is_integer(cell) and not any(map(_is_integer, column)):
        return True
    values = [float(each) for each in column if is_number(each)]
    return not values or not min(values) <= float(cell) <= max(values)
