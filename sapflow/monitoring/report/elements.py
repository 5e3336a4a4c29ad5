"""Elements that all parts of the report use: tables, and numbers that are short enough for an axis. Pure."""

from collections.abc import Iterable
from html import escape

from sapflow.text import duration


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table that scrolls sideways if the window is narrow."""
    top = "".join(f"<th>{escape(each)}</th>" for each in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(each)}</td>" for each in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def number(value: float) -> str:
    return f"{value:.3g}"


def share(value: float) -> str:
    return f"{100 * value:.3g} %"


def time(value: float) -> str:
    return "0" if value == 0 else duration(value)


def money(value: float) -> str:
    """Dollars as text, such as $2.5, $0.00125 or 150 µ$."""
    if value == 0 or abs(value) >= 0.001:
        return f"${value:.3g}"
    small = value * 1e6
    return f"{small:.0f} µ$" if abs(small) >= 100 else f"{small:.3g} µ$"


def integer(value: float) -> str:
    return f"{value:,.0f}"
