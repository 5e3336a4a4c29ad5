"""Rows that gave no sample because something is wrong with them: how they are kept and told, and how many may be."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from sapflow.errors import DataError
from sapflow.preparation.batch import Origins
from sapflow.preparation.reading.reader import Rejected
from sapflow.preparation.statistics import Statistics
from sapflow.preparation.step import BadRows
from sapflow.spec.preparation.prepare import PrepareSpec
from sapflow.text import count

SHOWN_CHARACTERS = 80
"""So much of a value is in messages."""


def of_rejected(rejected: Iterable[Rejected]) -> list[dict[str, Any]]:
    """Rows that could not be read, as they are kept."""
    return [
        {"file": each.file, "line": each.line, "column": each.column, "reason": each.reason, "text": each.raw}
        for each in rejected
    ]


def of_steps(bad: Iterable[BadRows], partition: int, origins: Origins | None) -> list[dict[str, Any]]:
    """Rows that a step could not take, as they are kept, in the order of their numbers. `origins` says where they come
    from, if that is known."""

    def origin(number: int) -> dict[str, Any]:
        return {} if origins is None else dict(zip(("file", "line"), origins.of(number), strict=True))

    found = [
        {
            **origin(int(number)),
            "partition": partition,
            "row": int(number),
            "column": each.column,
            "reason": each.reason,
            "text": value,
        }
        for each in bad
        for number, value in zip(each.numbers, each.values, strict=True)
    ]
    return sorted(found, key=lambda row: (row["row"], row["column"]))


def lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Such rows as JSON Lines."""
    return b"".join(json.dumps(each, sort_keys=True).encode() + b"\n" for each in rows)


def check(prepare: PrepareSpec, found: Statistics, rejected: str | None, *, complete: bool = True) -> None:
    """Raise DataError if there are more bad rows than are allowed, or, where all rows are counted (`complete`), none
    that is good. `rejected` is where they are kept, if they are."""
    if complete and not found.rows:
        raise DataError("the source holds no rows: its files have no more than a header")
    if complete and found.rows == found.bad:
        first = in_words(found.bad_examples[0]) if found.bad_examples else ""
        raise DataError(
            f"all {count(found.rows, 'row')} of the source are bad, the first one: {first}. Mend the source, its "
            "options or the steps"
        )
    if prepare.max_bad_share is not None:
        if found.bad <= prepare.max_bad_share * found.rows:
            return
        allowed = f"maxBadShare allows {prepare.max_bad_share:g} of {found.rows:,}"
        remedy = "raise prepare.maxBadShare"
    else:
        most = prepare.max_bad_rows or 0
        if found.bad <= most:
            return
        allowed = f"maxBadRows allows {most:,} of {found.rows:,}"
        remedy = "raise prepare.maxBadRows"
    told_where = "" if rejected is None else f"; {rejected} has them all so far"
    told = "; ".join(map(in_words, found.bad_examples))
    more = (
        f"; and {found.bad - len(found.bad_examples):,} more" if found.bad > len(found.bad_examples) else ""
    )
    raise DataError(
        f"{found.bad:,} row{'s are' if found.bad != 1 else ' is'} bad, and {allowed}: {told}{more}. Mend the source or "
        f"the steps, or {remedy}{told_where}"
    )


def check_held(prepare: PrepareSpec, held: int) -> None:
    """Raise DataError where rows with certain values were to be held out, and there is none."""
    split = prepare.split
    if split is None or held:
        return
    asked = split.values if split.values is not None else split.numbers
    if asked is not None:
        shown = ", ".join(str(each) for each in asked[:5])
        raise DataError(
            f"prepare.split: no row has {shown} in the column {split.column}, so none is held out: name values that "
            "there are, or say fraction: 0 to hold out none"
        )


def in_words(row: Mapping[str, Any]) -> str:
    """Where a bad row is, and what is wrong with it."""
    text = str(row["text"])
    shown = text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
    column = f"column {row['column']}: " if row["column"] else ""
    if "line" in row:
        return f"{row['file']}, line {row['line']}: {column}{row['reason']} ({shown!r})"
    return f"row {row['row']} of partition {row['partition']}: {column}{row['reason']} ({shown!r})"
