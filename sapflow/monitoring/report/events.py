"""The part of the report with the job's events on a time line. Pure."""

from collections.abc import Iterator

from sapflow.monitoring.report import charts
from sapflow.monitoring.report.charts import Mark
from sapflow.monitoring.report.elements import time
from sapflow.monitoring.report.facts import Facts
from sapflow.text import duration

_ROWS = (
    ("cold start", "s7"),
    ("retry", "s6"),
    ("hedge", "s4"),
    ("skipped step", "bad"),
    ("new plan", "s5"),
    ("checkpoint", "s3"),
)
_RARE = (
    ("step made anew", "s6"),
    ("new driver", "s4"),
    ("cell moved", "s1"),
    ("memory size", "s2"),
    ("limit reached", "bad"),
    ("failure", "bad"),
)
"""Rows that are shown only if they have an event."""
_LIMITS = frozenset({"DeadlineExceeded", "BudgetExceeded"})
"""Reasons for which a job stops although it has no fault."""


def section(facts: Facts) -> str:
    """The section's content."""
    found = list(marks(facts))
    if not found:
        return '<p class="empty">No function had to be started, none failed, none was late.</p>'
    happened = {mark.row for mark in found}
    rows = [*_ROWS, *(row for row in _RARE if row[0] in happened)]
    return f'<div class="tree">{charts.time_line(found, facts.last.account.seconds, rows, time)}</div>'


def marks(facts: Facts) -> Iterator[Mark]:
    """All events: those of the versions, and how the job ended."""
    yield from facts.history.timeline.marks
    if facts.outcome is not None and "resumed" in facts.outcome:
        at = float(facts.outcome["account"]["seconds"])
        text = f"a new driver ended the job, {duration(at)}; the one before stopped"
        yield Mark(at, "new driver", f"{text}: {facts.outcome['resumed']}")
    if facts.failure is not None:
        at, reason = facts.last.account.seconds, str(facts.failure.get("reason"))
        row = "limit reached" if reason in _LIMITS else "failure"
        yield Mark(at, row, f"{reason} after version {facts.last.version:,}, {duration(at)}")
