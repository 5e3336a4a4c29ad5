"""A job's events in order, by row of a time line: a bounded number of marks, whatever the number of events. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sapflow.monitoring.report.charts import Mark
from sapflow.quantities.memory import format_quantity
from sapflow.records.commits import Commit
from sapflow.text import duration

_COUNTED = (("cold start", "cold_starts"), ("retry", "retries"), ("hedge", "hedges"))
MOST = 200
"""The most marks of a row. Of more, neighbours become one, which says how many they are."""


@dataclass(slots=True)
class _Events:
    """One event, or several neighbours of a row: when, between which versions, how many, and of which reasons."""

    begin: float
    at: float
    first: int
    last: int
    number: int
    text: str
    reasons: Counter[str] = field(default_factory=Counter)

    def said(self, row: str) -> str:
        if self.text:
            return self.text
        times = f"{duration(self.begin)} to {duration(self.at)}"
        why = _reasons(self.reasons)
        return f"{self.number:,} × {row}{why}, versions {self.first:,} to {self.last:,}, {times}"


class Timeline:
    """The events of a job's versions, at the seconds of the commit that records them."""

    def __init__(self) -> None:
        self._rows: dict[str, list[_Events]] = {}
        self._wanted: int | None = None
        self._sizes: Sequence[int] = ()

    def add(
        self,
        row: str,
        at: float,
        version: int,
        text: str,
        *,
        number: int = 1,
        reasons: Mapping[str, int] | None = None,
    ) -> None:
        """Add an event of a version, or `number` events that one text is about."""
        found = self._rows.setdefault(row, [])
        found.append(_Events(at, at, version, version, number, text, Counter(reasons or {})))
        if len(found) > MOST:
            self._rows[row] = [_joined(found[place : place + 2]) for place in range(0, len(found), 2)]

    def take(self, old: Commit | None, new: Commit, *, is_checkpoint: bool) -> None:
        """Add what a version tells, which follows `old`."""
        at, version = new.account.seconds, new.version
        when = duration(at)
        for row, name in _COUNTED:
            more = getattr(new.account, name) - (getattr(old.account, name) if old is not None else 0)
            if more > 0:
                why = _more(old, new) if row == "retry" else Counter[str]()
                text = f"{more:,} × {row}{_reasons(why)} before version {version:,}, {when}"
                self.add(row, at, version, text, number=more, reasons=why)
        if new.measured.remade:
            text = f"step {version:,} was made anew{_reasons(new.measured.remade)}, {when}"
            self.add("step made anew", at, version, text, reasons=new.measured.remade)
        if new.measured.resumed is not None:
            text = f"a new driver made version {version:,}, {when}; the one before stopped"
            why = Counter([new.measured.resumed])
            self.add("new driver", at, version, f"{text}: {new.measured.resumed}", reasons=why)
        if old is not None and new.plan != old.plan:
            self.add("new plan", at, version, f"planned anew after version {version:,}, {when}")
        if new.skipped:
            self.add("skipped step", at, version, f"step {version:,} was not finite and left out")
        if is_checkpoint:
            self.add("checkpoint", at, version, f"checkpoint of version {version:,}, {when}")
        self._take_sizes(new)

    def _take_sizes(self, new: Commit) -> None:
        """The workers' memory: new sizes that the search asks for, and new sizes that functions report."""
        at, version, search = new.account.seconds, new.version, new.measured.search
        if search is not None:
            if self._wanted not in (None, search.size):
                text = f"the search wants {search.quantity} for workers after version {version:,}"
                self.add("memory size", at, version, f"{text}, {duration(at)}")
            self._wanted = search.size
        if sizes := new.measured.memory_limits.get("worker"):
            if self._sizes and sizes != self._sizes:
                text = f"workers have {_quantities(sizes)} from step {version:,}, {_quantities(self._sizes)} before"
                self.add("memory size", at, version, f"{text}, {duration(at)}")
            self._sizes = sizes

    @property
    def marks(self) -> list[Mark]:
        """The marks of all rows, each row's in order."""
        return [Mark(each.at, row, each.said(row)) for row, found in self._rows.items() for each in found]


def _joined(neighbours: Sequence[_Events]) -> _Events:
    first, last = neighbours[0], neighbours[-1]
    if first is last:
        return first
    reasons = first.reasons + last.reasons
    return _Events(first.begin, last.at, first.first, last.last, first.number + last.number, "", reasons)


def _more(old: Commit | None, new: Commit) -> Counter[str]:
    """Number of calls that failed between two commits, by reason."""
    before = old.account.failures if old is not None else None
    return Counter(new.account.failures or {}) - Counter(before or {})


def _reasons(times: Mapping[str, int]) -> str:
    """The reasons in brackets; empty if there are none."""
    if not times:
        return ""
    return f" ({', '.join(f'{count:,} × {reason}' for reason, count in sorted(times.items()))})"


def _quantities(sizes: Sequence[int]) -> str:
    return " and ".join(map(format_quantity, sizes))
