"""What `sapflow inspect` prints: text for people, and JSON for machines. Pure."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sapflow.monitoring import inspection_words as words
from sapflow.preparation.inspection.column_summary import ColumnSummary
from sapflow.preparation.inspection.findings import Finding
from sapflow.preparation.inspection.inspection import Inspection
from sapflow.preparation.inspection.proposal import Proposal
from sapflow.text import printable

_TOP = 20


def text(found: Inspection, warnings: Sequence[Finding], proposal: Proposal) -> str:
    """For people."""
    lines = [f"{found.source}: {words.read(found)}", ""]
    lines += _table([words.HEAD, *map(words.row, found.columns)])
    if sampled := words.sampled(found):
        lines += ["", sampled]
    if spread := words.target(found):
        lines += ["", f"target {found.target}:", *(f"  {each}" for each in spread)]
    if found.rejected:
        more = found.bad - len(found.rejected)
        lines += ["", "bad rows:", *(f"  {each}" for each in words.bad_rows(found.rejected))]
        lines += [f"  and {more:,} more"] if more else []
    if warnings:
        lines += ["", "warnings:"]
    for each in warnings:
        lines += [f"  {each.column + ': ' if each.column else ''}{each.message}", f"    → {each.remedy}"]
    lines += ["", "to paste into the spec of a job:", "", proposal.yaml()]
    return printable("\n".join(lines))


def body(found: Inspection, warnings: Sequence[Finding], proposal: Proposal) -> dict[str, Any]:
    """For machines."""
    target = found.target
    return {
        "source": found.source,
        "format": found.format,
        "files": found.files,
        "bytes": found.size,
        "rows": found.rows,
        "complete": found.complete,
        "sampledRows": found.sampled,
        "badRows": found.bad,
        "firstBadRows": [
            {
                "file": each.file,
                "line": each.line,
                "column": each.column,
                "reason": each.reason,
                "text": each.raw,
            }
            for each in found.rejected
        ],
        "columns": [_column(each, found.determines.get(each.name)) for each in found.columns],
        "target": None if target is None else {"column": target, "classes": found.classes},
        "warnings": [asdict(each) for each in warnings],
        "data": proposal.data,
        "notes": list(proposal.notes),
    }


def _column(each: ColumnSummary, determines: float | None) -> dict[str, Any]:
    said: dict[str, Any] = {
        "name": each.name,
        "type": each.column.kind,
        "width": each.column.width,
        "missing": each.missing,
        "different": each.distinct,
        "top": [{"value": value, "rows": rows} for value, rows in each.top(_TOP)],
    }
    if each.numbers is not None:
        numbers = each.numbers
        said["numbers"] = {
            "min": numbers.least,
            "quartiles": list(numbers.quartiles),
            "max": numbers.largest,
            "mean": numbers.mean,
            "deviation": numbers.deviation,
            "infinite": numbers.infinite,
            "integral": numbers.integral,
            "histogram": list(numbers.histogram),
        }
    if each.times is not None:
        said["times"] = {"first": each.times.first, "last": each.times.last}
    if each.lengths is not None:
        lengths = each.lengths
        said["lengths"] = {
            "min": lengths.least,
            "mean": lengths.mean,
            "max": lengths.largest,
            "words": lengths.words,
        }
    if determines is not None:
        said["determinesTarget"] = determines
    return said


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """The rows as lines, with columns of one width."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
