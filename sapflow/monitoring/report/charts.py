"""Charts as SVG: lines, stacked bars, a time line, and a merge tree. Pure; the page's CSS classes give the colours."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

from sapflow.monitoring.report.reduction import BINS, Bars, Extremes
from sapflow.quantities import structure as trees
from sapflow.quantities.structure import Structure

WIDTH, HEIGHT = 480, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 12, 24, 36
_FEW, _CUT_ABOVE = 8, 3.0
"""If there are fewer than `_FEW` values, all are shown in full. A few values that are more than `_CUT_ABOVE` times as
high as all others are cut off."""
_MOST_NODES = 16
"""The most nodes of a level that are drawn."""
_BESIDE_TREE = 170
_LETTER = 6.0
"""Width of a letter of such text, which is 11 high: most are narrower."""
"""Width of the text beside the tree."""
Format = Callable[[float], str]
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Line:
    """A series of a line chart. `kind` is the CSS class of its colour; with `marks` each point has a dot."""

    name: str
    kind: str
    points: Sequence[Point]
    marks: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """An event on a time line."""

    at: float
    row: str
    text: str


@dataclass(frozen=True, slots=True)
class _Scale:
    """Maps values to positions on an axis."""

    low: float
    high: float
    begin: float
    end: float

    def __call__(self, value: float) -> float:
        return self.begin + (value - self.low) / (self.high - self.low) * (self.end - self.begin)


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers from `low` to `high`, at most `most` + 1 of them."""
    span = high - low
    if not span > 0:
        return [low]
    rough = span / most
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def lines(
    series: Sequence[Line],
    *,
    x: str,
    y: str,
    x_format: Format,
    y_format: Format,
    from_zero: bool = False,
    few_cut: bool = False,
    limits: Sequence[tuple[str, str, float]] = (),
) -> str:
    """A line chart. `limits` are dashed horizontal lines: (name, class, value).

    With `few_cut` a few very high values are cut off, so that they do not flatten all others.
    """
    shown = [Line(each.name, each.kind, thinned(each.points), each.marks) for each in series if each.points]
    values = [value for each in shown for _, value in each.points] + [value for _, _, value in limits]
    if not values:
        return nothing()
    xs = [place for each in shown for place, _ in each.points] or [0.0]
    top = _ceiling(values) if few_cut else max(values)
    across, up = _x_scale(min(xs), max(xs)), _y_scale(0.0 if from_zero else min(values), top)
    parts = [_grid(up, y_format), _x_axis(across, x, x_format), _y_label(y)]
    parts.append(_cut([(across(a), b) for each in shown for a, b in each.points], top, y_format))
    for _, kind, value in limits:
        parts.append(
            f'<line class="limit {kind}" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{up(value):.1f}" y2="{up(value):.1f}"/>'
        )
    for each in shown:
        path = " ".join(f"{across(a):.1f},{up(min(b, top)):.1f}" for a, b in each.points)
        parts.append(f'<polyline class="line {each.kind}" points="{path}"/>')
        if each.marks or len(each.points) == 1:
            for a, b in each.points:
                title = f"{each.name}: {y_format(b)} at {x_format(a)}"
                parts.append(
                    f'<circle class="dot {each.kind}" cx="{across(a):.1f}" cy="{up(min(b, top)):.1f}" r="3.5">'
                    f"<title>{escape(title)}</title></circle>"
                )
    keys = [(each.name, each.kind) for each in shown] + [(name, f"{kind} dashed") for name, kind, _ in limits]
    return _figure(parts, f"{y} against {x}", keys)


def stacked(
    columns: Bars,
    kinds: dict[str, str],
    *,
    x: str,
    y: str,
    x_format: Format,
    y_format: Format,
) -> str:
    """Stacked bars; `kinds` maps their parts, lowest first, to classes."""
    bars = columns.means
    top = _ceiling([sum(heights.values()) for _, _, heights in bars])
    if not top > 0:
        return nothing()
    across, up = _x_scale(bars[0][0], bars[-1][1]), _y_scale(0.0, top)
    parts = [_grid(up, y_format), _x_axis(across, x, x_format), _y_label(y)]
    parts.append(_cut([(across(end), sum(heights.values())) for _, end, heights in bars], top, y_format))
    for begin, end, heights in bars:
        below = 0.0
        where = x_format(begin) if end - begin <= 1 else f"{x_format(begin)} to {x_format(end - 1)}"
        left, right = across(begin), across(end)
        for name, kind in kinds.items():
            height = heights.get(name, 0.0)
            if height <= 0:
                continue
            high, low = up(min(below + height, top)), up(min(below, top))
            parts.append(
                f'<rect class="bar {kind}" x="{left:.2f}" width="{max(0.5, right - left - 0.6):.2f}" y="{high:.2f}" '
                f'height="{max(0.0, low - high):.2f}"><title>{escape(f"{name}: {y_format(height)}, {x} {where}")}'
                "</title></rect>"
            )
            below += height
    used = {name for _, _, heights in bars for name, height in heights.items() if height > 0}
    return _figure(parts, f"{y} by {x}", [(name, kind) for name, kind in kinds.items() if name in used])


def time_line(marks: Sequence[Mark], end: float, rows: Sequence[tuple[str, str]], x_format: Format) -> str:
    """Events over the seconds of a job; each row is (name, class)."""
    height = 28 * len(rows) + _TOP + _BOTTOM
    across = _Scale(0.0, end or 1.0, 110, WIDTH - _RIGHT)
    parts = []
    for number, (name, kind) in enumerate(rows):
        middle = _TOP + 28 * number + 14
        parts.append(f'<line class="grid" x1="110" x2="{WIDTH - _RIGHT}" y1="{middle}" y2="{middle}"/>')
        parts.append(f'<text class="tick" x="102" y="{middle + 4}" text-anchor="end">{escape(name)}</text>')
        for mark in marks:
            if mark.row == name:
                parts.append(
                    f'<circle class="dot {kind}" cx="{across(mark.at):.1f}" cy="{middle}" r="4">'
                    f"<title>{escape(mark.text)}</title></circle>"
                )
    parts.append(_x_axis(across, "time", x_format, height))
    return _figure(parts, "events by time", [], height)


def tree(structure: Structure, notes: Sequence[Sequence[str]], edges: Sequence[Sequence[str]]) -> str:
    """A merge tree with the root on top. `notes` are lines of text about each level, root first, and `edges` about the
    edges below it.

    The text is beside the tree, where no edge crosses it.
    """
    gap, left = 74, max(_BESIDE_TREE, _LETTER * _longest(structure, notes, edges) + 24)
    room = WIDTH - left - 8
    height = gap * (len(structure) - 1) + 48
    parts, places = [], []
    for row, width in enumerate(structure):
        drawn = min(width, _MOST_NODES)
        places.append([left + room * (index + 0.5) / drawn for index in range(drawn)])
        if row == 0:
            continue
        level = len(structure) - 1 - row
        y = 24 + gap * row
        owners = _owners(structure, level, drawn, width)
        for index, place in enumerate(places[row]):
            above = places[row - 1][owners[index]]
            parts.append(
                f'<line class="edge" x1="{above:.1f}" y1="{y - gap + 9}" x2="{place:.1f}" y2="{y - 9}"/>'
            )
    for row, width in enumerate(structure):
        y = 24 + gap * row
        kind = "root" if row == 0 else "worker" if row == len(structure) - 1 else "merger"
        for place in places[row]:
            parts.append(
                f'<circle class="node {kind}" cx="{place:.1f}" cy="{y}" r="{7 if width > 8 else 9}"/>'
            )
        noun = "root" if row == 0 else f"{width:,} {kind}{'' if width == 1 else 's'}"
        if width > _MOST_NODES:
            noun = f"{_MOST_NODES} of {noun} drawn"
        parts.append(_beside(y, [noun, *notes[row]], "note"))
        if row < len(structure) - 1:
            parts.append(_beside(y + gap / 2, edges[row], "tick"))
    return _figure(parts, f"merge tree {list(structure)}", [], height)


def _longest(structure: Structure, notes: Sequence[Sequence[str]], edges: Sequence[Sequence[str]]) -> int:
    """Letters of the longest line beside a tree, at most as many as leave the tree half of the figure."""
    named = len(f"{_MOST_NODES} of {max(structure):,} workers drawn")
    said = [len(text) for texts in (*notes, *edges) for text in texts]
    return min(max(named, *said, 0), int(WIDTH / 2 / _LETTER))


def _beside(y: float, said: Sequence[str], kind: str) -> str:
    """Lines of text on the left, centred at a height."""
    top = y + 4 - 6.5 * (len(said) - 1)
    return "".join(
        f'<text class="{kind}" x="8" y="{top + 13 * index:.1f}">{escape(each)}</text>'
        for index, each in enumerate(said)
    )


def nothing() -> str:
    return '<p class="empty">Nothing was recorded.</p>'


def thinned(points: Sequence[Point]) -> list[Point]:
    """The points of a line; of too many the first, the last, and the lowest and highest of equal bins."""
    kept = Extremes[Point](len(points), keep_all=2 * BINS)
    for point in points:
        kept.add(point, {"": point[1]})
    return kept.items


def _owners(structure: Structure, level: int, drawn: int, width: int) -> list[int]:
    """For each drawn node, the index of the drawn node above that it belongs to."""
    above = trees.width(structure, level + 1)
    scale = min(above, _MOST_NODES) / above
    nodes = (index * width // drawn for index in range(drawn))
    return [int(trees.parent(structure, level, node) * scale) for node in nodes]


def _ceiling(values: Sequence[float]) -> float:
    """The highest value that a chart from zero shows.

    It is the highest value, unless a few cold steps (at most one in twenty, and at least one) would flatten all others;
    these are cut off.
    """
    ordered = sorted(values)
    rest = ordered[: -max(1, len(ordered) // 20)]
    if len(ordered) >= _FEW and rest[-1] > 0 and ordered[-1] > _CUT_ABOVE * rest[-1]:
        return 1.25 * rest[-1]
    return max(ordered, default=0.0)


def _cut(points: Sequence[Point], top: float, form: Format) -> str:
    """The label of the highest value that is cut off; points are (x, value)."""
    x, value = max(points, key=lambda point: point[1], default=(0.0, 0.0))
    if value <= top:
        return ""
    left = x < WIDTH / 2
    place = f'x="{x + (4 if left else -8):.1f}" y="{_TOP + 12}" text-anchor="{"start" if left else "end"}"'
    return f'<text class="tick halo" {place}>{escape(f"up to {form(value)}")}</text>'


def _x_scale(low: float, high: float) -> _Scale:
    return _Scale(low, high if high > low else low + 1, _LEFT, WIDTH - _RIGHT)


def _y_scale(low: float, high: float) -> _Scale:
    if not high > low:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    room = 0.05 * (high - low)
    return _Scale(low if low == 0 else low - room, high + room, HEIGHT - _BOTTOM, _TOP)


def _grid(up: _Scale, form: Format) -> str:
    return "".join(
        f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{up(value):.1f}" y2="{up(value):.1f}"/>'
        f'<text class="tick" x="{_LEFT - 6}" y="{up(value) + 4:.1f}" text-anchor="end">{escape(form(value))}</text>'
        for value in ticks(up.low, up.high)
    )


def _x_axis(across: _Scale, label: str, form: Format, height: float = HEIGHT) -> str:
    base = height - _BOTTOM
    place = f'y="{base + 15:.1f}" text-anchor="middle"'
    shown = "".join(
        f'<text class="tick" x="{across(value):.1f}" {place}>{escape(form(value))}</text>'
        for value in ticks(across.low, across.high, 4)
        if across(value) <= across.end - 16
    )
    middle = (across.begin + across.end) / 2
    return (
        f'<line class="axis" x1="{across.begin}" x2="{across.end}" y1="{base}" y2="{base}"/>{shown}'
        f'<text class="label" x="{middle}" y="{base + 31:.1f}" text-anchor="middle">{escape(label)}</text>'
    )


def _y_label(text: str) -> str:
    return f'<text class="label" x="4" y="12">{escape(text)}</text>' if text else ""


def _figure(parts: Iterable[str], title: str, keys: Sequence[tuple[str, str]], height: float = HEIGHT) -> str:
    legend = "".join(f'<span class="key {kind}">{escape(name)}</span>' for name, kind in keys)
    return (
        f'<figure><svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'
        + (f"<figcaption>{legend}</figcaption>" if legend else "")
        + "</figure>"
    )
