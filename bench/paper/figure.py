"""Writes charts of the report as separate SVG files for the pages of docs/."""

import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path

from sapflow.monitoring.report import charts
from sapflow.monitoring.report.charts import Line

FOLDER = Path(__file__).parents[2] / "docs" / "figures"
POINTS = "points"
"""The class of a series without a line between its marks."""
_LEGEND = 18
"""Height of one line of the legend."""


def draw(
    series: Sequence[Line], *, x: str, y: str, x_digits: int = 0, y_digits: int = 2, from_zero: bool = True
) -> str:
    """A line chart with a legend and its own style."""
    chart = charts.lines(
        series,
        x=x,
        y=y,
        x_format=lambda value: f"{value:,.{x_digits}f}",
        y_format=lambda value: f"{value:,.{y_digits}f}",
        from_zero=from_zero,
    )
    found = re.search(r"<svg [^>]*>(.*)</svg>", chart, re.DOTALL)
    if found is None:
        raise ValueError("there is nothing to draw")
    height = charts.HEIGHT + _LEGEND * len(series)
    keys = "".join(_key(number, each) for number, each in enumerate(series))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {charts.WIDTH} {height}" role="img" '
        f'aria-label="{escape(f"{y} against {x}")}"><style>{_style()}</style>'
        f'<rect class="paper" width="{charts.WIDTH}" height="{height}"/>{found[1]}{keys}</svg>\n'
    )


def draw_predicted(series: Mapping[str, Sequence[tuple[float, float]]], *, digits: int) -> str:
    """Predicted over measured seconds: the points of one or two named series, and the line of equality."""
    points = [
        Line(name, f"{kind} {POINTS}", list(found), marks=True)
        for (name, found), kind in zip(series.items(), ("s1", "s2"), strict=False)
    ]
    measured = [seconds for found in series.values() for seconds, _ in found]
    ends = (min(measured), max(measured))
    points.append(Line("as measured", "s8", [(end, end) for end in ends]))
    return draw(points, x="seconds measured", y="seconds predicted", x_digits=digits, y_digits=digits)


def save(name: str, drawing: str) -> None:
    """Write docs/figures/NAME.svg, and print its name."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.svg"
    path.write_text(drawing, encoding="utf-8")
    print(f"\n{path.relative_to(FOLDER.parents[1])} written")


def _key(number: int, line: Line) -> str:
    middle = charts.HEIGHT + _LEGEND * number + 4
    return (
        f'<circle class="dot {line.kind}" cx="70" cy="{middle}" r="4"/>'
        f'<text class="note" x="80" y="{middle + 4}">{escape(line.name)}</text>'
    )


def _style() -> str:
    """The report's style for drawings, and what a separate drawing needs."""
    text = (resources.files("sapflow.monitoring.report") / "style.css").read_text(encoding="utf-8")
    kept = [line for line in text.splitlines() if re.match(r":root|@media \(prefers|svg |\.s\d", line)]
    return "\n".join([*kept, f"svg .{POINTS}.line {{ stroke: none; }}", "svg .paper { fill: var(--card); }"])
