"""The part of the report with the job's events on a time line. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from sapflow.monitoring.report import cells, charts
from sapflow.monitoring.report.charts import Mark
from sapflow.monitoring.report.elements import time
from sapflow.monitoring.report.facts import Facts
from sapflow.quantities.memory import format_quantity
from sapflow.records.commits import Commit
from sapflow.text import duration

_COUNTED = (("cold start", "cold_starts"), ("retry", "retries"), ("hedge", "hedges"))
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
    """All events, at the seconds of the commit that records them."""
    for old, new in pairwise([None, *facts.versions]):
        assert new is not None
        at = new.account.seconds
        for row, name in _COUNTED:
            more = getattr(new.account, name) - (getattr(old.account, name) if old is not None else 0)
            if more > 0:
                why = _reasons(_more(old, new)) if row == "retry" else ""
                yield Mark(at, row, f"{more:,} × {row}{why} before version {new.version:,}, {duration(at)}")
        if new.measured.remade:
            why = _reasons(new.measured.remade)
            yield Mark(at, "step made anew", f"step {new.version:,} was made anew{why}, {duration(at)}")
        if new.measured.resumed is not None:
            text = f"a new driver made version {new.version:,}, {duration(at)}; the one before stopped"
            yield Mark(at, "new driver", f"{text}: {new.measured.resumed}")
        if old is not None and new.plan != old.plan:
            yield Mark(at, "new plan", f"planned anew after version {new.version:,}, {duration(at)}")
        if new.skipped:
            yield Mark(at, "skipped step", f"step {new.version:,} was not finite and left out")
        if new.version in facts.checkpoints:
            yield Mark(at, "checkpoint", f"checkpoint of version {new.version:,}, {duration(at)}")
    if facts.outcome is not None and "resumed" in facts.outcome:
        at = float(facts.outcome["account"]["seconds"])
        text = f"a new driver ended the job, {duration(at)}; the one before stopped"
        yield Mark(at, "new driver", f"{text}: {facts.outcome['resumed']}")
    yield from _moves(facts.versions)
    yield from _sizes(facts.versions)
    if facts.failure is not None:
        at, reason = facts.last.account.seconds, str(facts.failure.get("reason"))
        row = "limit reached" if reason in _LIMITS else "failure"
        yield Mark(at, row, f"{reason} after version {facts.last.version:,}, {duration(at)}")


def _more(old: Commit | None, new: Commit) -> Counter[str]:
    """Number of calls that failed between two commits, by reason."""
    before = old.account.failures if old is not None else None
    return Counter(new.account.failures or {}) - Counter(before or {})


def _reasons(times: Mapping[str, int]) -> str:
    """The reasons in brackets; empty if there are none."""
    if not times:
        return ""
    return f" ({', '.join(f'{count:,} × {reason}' for reason, count in sorted(times.items()))})"


def _moves(versions: Sequence[Commit]) -> Iterator[Mark]:
    """Marks for cells that moved to another node."""
    for cell in sorted({cell for each in versions for cell in each.measured.nodes or {}}):
        for (_, before), (commit, node) in pairwise(cells.stays(versions, cell)):
            at = commit.account.seconds
            text = f"cell {cell} on {node} from step {commit.version:,}, on {before} before, {duration(at)}"
            yield Mark(at, "cell moved", text)


def _sizes(versions: Sequence[Commit]) -> Iterator[Mark]:
    """Marks for the workers' memory: new sizes that the search asks for, and new sizes that functions report."""
    searches = [(each, each.measured.search) for each in versions if each.measured.search is not None]
    for (_, wanted), (commit, search) in pairwise(searches):
        if search.size != wanted.size:
            at = commit.account.seconds
            text = f"the search wants {search.quantity} for workers after version {commit.version:,}"
            yield Mark(at, "memory size", f"{text}, {duration(at)}")
    limits = [(each, each.measured.memory_limits.get("worker")) for each in versions]
    told = [(commit, sizes) for commit, sizes in limits if sizes]
    for (_, before), (commit, sizes) in pairwise(told):
        if sizes != before:
            at = commit.account.seconds
            text = f"workers have {_quantities(sizes)} from step {commit.version:,}, {_quantities(before)} before"
            yield Mark(at, "memory size", f"{text}, {duration(at)}")


def _quantities(sizes: Sequence[int]) -> str:
    return " and ".join(map(format_quantity, sizes))
