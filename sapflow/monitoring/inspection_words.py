"""What was found in raw data, in words that the command line and the page share. Pure."""

from collections.abc import Sequence

from sapflow.preparation.inspection.column_summary import ColumnSummary
from sapflow.preparation.inspection.inspection import Inspection
from sapflow.preparation.reading.reader import Rejected
from sapflow.preparation.steps.categories import MAX_CATEGORIES
from sapflow.quantities.memory import format_bytes
from sapflow.text import count

HEAD = ("column", "type", "missing", "different", "what it holds")
_TOP, _WORD = 4, 24
_CLASSES = 20


def read(found: Inspection) -> str:
    """How much was read of what."""
    rows = count(found.rows, "row")
    said = f"all {rows}" if found.complete else f"the first {rows} of more (--rows all reads all)"
    return (
        f"{found.format}, {count(found.files, 'file')} of {format_bytes(found.size)}, {said}, "
        f"{count(len(found.columns), 'column')}, {count(found.bad, 'bad row')}"
    )


def sampled(found: Inspection) -> str:
    """What is not of all rows; empty if everything is."""
    if found.sampled == found.rows - found.bad:
        return ""
    return f"Quartiles, and how far columns determine the target, are those of {found.sampled:,} rows drawn at random."


def row(each: ColumnSummary) -> tuple[str, str, str, str, str]:
    """A column, under HEAD."""
    width = f" × {each.column.width}" if each.column.width > 1 else ""
    if each.distinct is not None:
        different = f"{each.distinct:,}"
    else:
        different = f"> {MAX_CATEGORIES:,}" if each.counts is not None else "–"
    return each.name, f"{each.column.kind}{width}", share(each.missing, each.rows), different, holds(each)


def share(part: int, total: int) -> str:
    """A part in percent: 0 % and 100 % are exact."""
    if part in (0, total) or not total:
        return "100 %" if part else "0 %"
    return f"{min(max(100 * part / total, 0.01), 99.99):.3g} %"


def holds(each: ColumnSummary) -> str:
    """The distribution of a column."""
    if not each.present:
        return "nothing"
    if each.numbers is not None:
        numbers = each.numbers
        quartiles = " ".join(f"{value:.6g}" for value in numbers.quartiles if value == value)
        middle = f" · {quartiles} · " if quartiles else " … "
        return (
            f"{numbers.least:.6g}{middle}{numbers.largest:.6g}, mean {numbers.mean:.6g}, deviation "
            f"{numbers.deviation:.3g}"
        )
    if each.times is not None:
        return f"{each.times.first} … {each.times.last}"
    if each.lengths is not None:
        lengths = each.lengths
        size = f"{lengths.least:,} to " if lengths.least < lengths.largest else ""
        several = f", {lengths.words:.3g} words" if lengths.words > 1 else ""
        span = f"{size}{count(lengths.largest, 'character')}{several}"
        if each.distinct is None or each.difference == 1:
            return span
        shown = ", ".join(f"{word(text)!r} {rows:,}" for text, rows in each.top(_TOP))
        return f"{shown}{', …' if each.distinct > _TOP else ''} ({span})"
    if each.column.shape:
        return f"images of {list(each.column.shape)}"
    return "images" if each.column.kind == "Image" else "numbers that are infinite"


def word(text: str) -> str:
    """The beginning of a value."""
    return text if len(text) <= _WORD else f"{text[: _WORD - 1]}…"


def target(found: Inspection) -> list[str]:
    """How the target is spread; empty without one."""
    if found.target is None:
        return []
    each = found.column(found.target)
    if not found.classes:
        return [holds(each)]
    told = [
        f"{word(text)!r}: {share(rows, each.present)} ({rows:,} rows)" for text, rows in each.top(_CLASSES)
    ]
    left = 0 if each.distinct is None else each.distinct - len(told)
    if each.distinct is None:
        return ["more different values than can be counted"]
    return [*told, *([f"and {left:,} more classes"] if left else [])]


def bad_rows(rejected: Sequence[Rejected]) -> list[str]:
    """The first bad rows."""
    return [
        f"{each.file}, line {each.line}: {f'column {each.column}: ' if each.column else ''}{each.reason} "
        f"({each.raw[:80]!r})"
        for each in rejected
    ]
