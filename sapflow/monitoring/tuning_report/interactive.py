"""Interactive charts inside a page: Plotly's library and the figures' data as gzip in base64, and the script that draws
them. The page needs no network, and runs no script but these two, by their digests in its Content-Security-Policy."""

import base64
import gzip
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib import resources
from typing import Any

from sapflow.monitoring.tuning_report.figures import Columns, Figure
from sapflow.monitoring.tuning_report.packages import missing

NO_SCRIPT = "The charts need JavaScript."


@dataclass(frozen=True, slots=True)
class Packed:
    """What a page has of its charts beside their places."""

    policy: str
    """The Content-Security-Policy."""
    scripts: str
    """HTML for the end of the body."""


@dataclass(frozen=True, slots=True)
class _Library:
    packed: str
    digest: str


@cache
def _library() -> _Library:
    """Plotly's library, packed. Raises DataError where it is not installed."""
    try:
        from plotly.offline import get_plotlyjs
    except ModuleNotFoundError as error:
        raise missing(error) from error
    text: str = get_plotlyjs()
    return _Library(_packed(text), _digest(text))


def place(figure: Figure, number: int, *, titled: bool = True) -> str:
    """The HTML of a figure's place: its title if it is `titled`, its sentence, and the element that it is drawn in."""
    title = f"<h3>{escape(figure.title)}</h3>" if titled else ""
    said = f"<p>{escape(figure.said)}</p>" if figure.said else ""
    width = f";min-width:{figure.width}px" if figure.width else ""
    return (
        f'<div class="figure">{title}{said}<div class="scroll">'
        f'<div class="plot" id="figure-{number}" role="img" aria-label="{escape(figure.title)}" '
        f'style="height:{figure.height}px{width}"></div></div>'
        + ('<p class="brushed" aria-live="polite"></p>' if figure.kind == "brush" else "")
        + "</div>"
    )


def pack(figures: Sequence[Figure], columns: Columns) -> Packed:
    """The scripts of a page with these figures, in the order of their numbers. Raises DataError without Plotly."""
    library = _library()
    script = (resources.files(__package__) / "script.js").read_text(encoding="utf-8")
    body: dict[str, Any] = {
        "columns": columns.arrays,
        "figures": [{"data": each.data, "layout": each.layout, "kind": each.kind} for each in figures],
    }
    data = _packed(json.dumps(body, separators=(",", ":"), allow_nan=False))
    # The library computes the code that feeds WebGL, for parallel coordinates, so it is allowed to; no other script is
    # run at all, wherever a text may come from.
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; img-src data: blob:; "
        f"script-src '{_digest(script)}' '{library.digest}' 'unsafe-eval'"
    )
    return Packed(
        policy,
        f'<script type="application/gzip" id="library">{library.packed}</script>'
        f'<script type="application/gzip" id="data">{data}</script><script>{script}</script>',
    )


def _packed(text: str) -> str:
    """Gzip in base64; the same text gives the same bytes."""
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()


def _digest(text: str) -> str:
    """As a Content-Security-Policy names an inline script."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
