"""The page of a look at raw data, in the style of the report of a job. Pure."""

from collections.abc import Iterator, Sequence
from html import escape

from sapflow.monitoring import inspection_words as words
from sapflow.monitoring.report.elements import table
from sapflow.monitoring.report.page import style
from sapflow.preparation.inspection.column_summary import ColumnSummary
from sapflow.preparation.inspection.findings import Finding
from sapflow.preparation.inspection.inspection import Inspection
from sapflow.preparation.inspection.proposal import Proposal

_STYLE = ".said th, .said td { text-align: left; white-space: normal; } .said { max-width: 62rem; }"
"""Beside the report's: words are on the left, and go on in the next line."""
_WIDTH, _HEIGHT, _LINE = 360, 90, 18
_BARS = 8
_LABEL = 150
"""Width of the words beside bars."""


def render(found: Inspection, findings: Sequence[Finding], proposal: Proposal) -> str:
    """A self-contained HTML document, without scripts and without fonts or pictures from elsewhere."""
    sections = "".join(
        f"<section><h2>{escape(title)}</h2>{body}</section>"
        for title, body in _sections(found, findings, proposal)
        if body
    )
    boxes = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in _tiles(found)
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{escape(found.source)} · Sapflow</title><style>{style()}{_STYLE}</style></head><body><main>"
        f"<header><h1>{escape(found.source)}</h1><p>{escape(words.read(found))}</p><dl>{boxes}</dl></header>"
        f"{sections}</main></body></html>\n"
    )


def _tiles(found: Inspection) -> Iterator[tuple[str, str]]:
    yield "rows" if found.complete else "rows, the first ones", f"{found.rows:,}"
    yield "columns", f"{len(found.columns):,}"
    yield "bad rows", f"{found.bad:,}"
    if found.target is not None:
        yield "target", found.target


def _sections(
    found: Inspection, findings: Sequence[Finding], proposal: Proposal
) -> Iterator[tuple[str, str]]:
    rows = [[each.column or "–", each.message, each.remedy] for each in findings]
    yield "Warnings", _said(table(("column", "what", "remedy"), rows)) if rows else "<p>None.</p>"
    if found.target is not None:
        yield f"Target {found.target}", _target(found)
    sampled = words.sampled(found)
    note = f"<p>{escape(sampled)}</p>" if sampled else ""
    yield "Columns", note + _said(table(words.HEAD, map(words.row, found.columns)))
    figures = "".join(map(_figure, found.columns))
    yield "Distributions", f'<div class="grid">{figures}</div>' if figures else ""
    listed = "".join(f"<li>{escape(each)}</li>" for each in words.bad_rows(found.rejected))
    yield "The first bad rows", f"<ul>{listed}</ul>" if listed else ""
    yield "To paste into the spec of a job", f"<pre><code>{escape(proposal.yaml())}</code></pre>"


def _said(drawn: str) -> str:
    return f'<div class="said">{drawn}</div>'


def _target(found: Inspection) -> str:
    spread = "".join(f"<li>{escape(each)}</li>" for each in words.target(found))
    order = sorted(found.determines.items(), key=lambda each: -each[1])
    rows = [[name, f"{100 * value:.1f} %"] for name, value in order]
    told = "<p>How much of the target's entropy is gone once a column is known:</p>" if rows else ""
    return f"<ul>{spread}</ul>{told}{table(('column', 'determines the target'), rows) if rows else ''}"


def _figure(each: ColumnSummary) -> str:
    """The distribution of a column as bars; empty where it has none."""
    if each.numbers is not None and each.numbers.histogram:
        drawn = _histogram(each.numbers.histogram, f"{each.numbers.least:.4g}", f"{each.numbers.largest:.4g}")
    elif each.column.kind == "Text" and each.distinct and each.difference < 1:
        drawn = _categories(each.top(_BARS))
    else:
        return ""
    return f'<figure>{drawn}<figcaption><span class="key s1">{escape(each.name)}</span></figcaption></figure>'


def _histogram(rows: Sequence[int], least: str, largest: str) -> str:
    width, most = _WIDTH / len(rows), max(*rows, 1)
    bars = "".join(
        f'<rect class="bar s1" x="{place * width:.1f}" y="{_HEIGHT - height:.1f}" width="{width - 1:.1f}" '
        f'height="{height:.1f}"><title>{number:,} rows</title></rect>'
        for place, number in enumerate(rows)
        for height in [_HEIGHT * number / most]
    )
    axis = (
        f'<text x="0" y="{_HEIGHT + 14}">{escape(least)}</text>'
        f'<text x="{_WIDTH}" y="{_HEIGHT + 14}" text-anchor="end">{escape(largest)}</text>'
    )
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT + _LINE}" role="img">{bars}{axis}</svg>'


def _categories(top: Sequence[tuple[str, int]]) -> str:
    most = max(rows for _, rows in top)
    bars = "".join(
        f'<text x="{_LABEL - 6}" y="{place * _LINE + 13}" text-anchor="end">{escape(words.word(text))}</text>'
        f'<rect class="bar s1" x="{_LABEL}" y="{place * _LINE + 3}" width="{(_WIDTH - _LABEL) * rows / most:.1f}" '
        f'height="{_LINE - 5}"><title>{rows:,} rows</title></rect>'
        for place, (text, rows) in enumerate(top)
    )
    return f'<svg viewBox="0 0 {_WIDTH} {len(top) * _LINE + 4}" role="img">{bars}</svg>'
