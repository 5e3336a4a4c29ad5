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
"""The most marks of a row. If there are more events, equally many neighbours become one mark, which says how many they
are."""


@dataclass(slots=True)
class _Events:
    """One event, or several neighbours of a row: when, between which versions, how many, and of which reasons."""

    begin: float
    at: float
    first: int
    last: int
    number: int
    text: str
    reasons: Counter[str]
    joined: int = 1
    """How many events became this one."""

    def said(self, row: str) -> str:
        if self.text:
            return self.text
        times = f"{duration(self.begin)} to {duration(self.at)}"
        why = _reasons(self.reasons)
        return f"{self.number:,} × {row}{why}, versions {self.first:,} to {self.last:,}, {times}"


@dataclass(slots=True)
class _Row:
    """The events of a row; every one stands for `each` neighbours, the last one for as many so far."""

    found: list[_Events] = field(default_factory=list)
    each: int = 1

    def add(self, events: _Events) -> None:
        if self.found and self.found[-1].joined < self.each:
            self.found[-1] = _joined(self.found[-1], events)
            return
        self.found.append(events)
        if len(self.found) > MOST:
            pairs = zip(self.found[::2], self.found[1::2], strict=False)
            rest = self.found[len(self.found) // 2 * 2 :]
            self.found, self.each = [*(_joined(*pair) for pair in pairs), *rest], 2 * self.each


class Timeline:
    """The events of a job's versions, at the seconds of the commit that records them."""

    def __init__(self) -> None:
        self._rows: dict[str, _Row] = {}
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
        events = _Events(at, at, version, version, number, text, Counter(reasons or {}))
        self._rows.setdefault(row, _Row()).add(events)

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
        return [Mark(each.at, row, each.said(row)) for row, kept in self._rows.items() for each in kept.found]


def _joined(one: _Events, next_one: _Events) -> _Events:
    return _Events(
        one.begin,
        next_one.at,
        one.first,
        next_one.last,
        one.number + next_one.number,
        "",
        one.reasons + next_one.reasons,
        one.joined + next_one.joined,
    )


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
