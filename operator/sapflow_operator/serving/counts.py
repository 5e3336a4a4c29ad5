"""What serving processes have counted, by revision: read from their metrics, and added up over all pods."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Self

from sapflow.serving.metrics import BUCKETS, COMPARED, REQUESTS, SECONDS

ANSWERING = ("predict", "infer", "grpcModelInfer")
"""The routes whose requests are answered by the model; probes, metrics and pages do not count."""
SERVERS_FAULT = 500
_LINE = re.compile(r"(\w+)\{([^}]*)\} (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Counts:
    """Requests for decisions, and what became of them."""

    requests: int = 0
    errors: int = 0
    """Answers that say that the server is at fault."""
    times: tuple[int, ...] = (0,) * (len(BUCKETS) + 1)
    """Requests by the first bound of BUCKETS that their seconds are not above; the last: above all."""
    alike: int = 0
    different: int = 0
    """Rows that another version was asked, too, by whether it has decided alike."""

    def __add__(self, other: Self) -> "Counts":
        return Counts(
            self.requests + other.requests,
            self.errors + other.errors,
            tuple(mine + theirs for mine, theirs in zip(self.times, other.times, strict=True)),
            self.alike + other.alike,
            self.different + other.different,
        )

    def since(self, before: Self) -> "Counts":
        """What has been counted since `before`. A process that was started anew counts from zero: then all of it."""
        mine, theirs = list(self._numbers()), list(before._numbers())
        if any(now < then for now, then in zip(mine, theirs, strict=True)):
            return self
        return Counts(
            self.requests - before.requests,
            self.errors - before.errors,
            tuple(now - then for now, then in zip(self.times, before.times, strict=True)),
            self.alike - before.alike,
            self.different - before.different,
        )

    @property
    def compared(self) -> int:
        """Rows that were compared with another version's decisions."""
        return self.alike + self.different

    def slower(self, seconds: float) -> float:
        """Requests that took longer, with those of a bucket spread evenly over it, as Prometheus does."""
        below, begin = 0.0, 0.0
        for end, count in zip(BUCKETS, self.times, strict=False):
            if seconds < end:
                return sum(self.times) - below - count * (seconds - begin) / (end - begin)
            below, begin = below + count, end
        return float(self.times[-1])

    def _numbers(self) -> Iterator[int]:
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, tuple):
                yield from value
            else:
                yield value


def parse(text: str) -> Counts:
    """The counts in the metrics of one process. Raises ValueError where a number is none."""
    requests = errors = alike = different = 0
    up_to = dict.fromkeys((*map(str, BUCKETS), "+Inf"), 0)
    for line in text.splitlines():
        found = _LINE.fullmatch(line)
        if found is None:
            continue
        labels = dict(_LABEL.findall(found[2]))
        if found[1] == COMPARED:
            alike += int(found[3]) * (labels.get("alike") == "true")
            different += int(found[3]) * (labels.get("alike") == "false")
        if labels.get("route") not in ANSWERING:
            continue
        if found[1] == REQUESTS:
            requests += int(found[3])
            errors += int(found[3]) * (int(labels["status"]) >= SERVERS_FAULT)
        elif found[1] == f"{SECONDS}_bucket" and labels.get("le") in up_to:
            up_to[labels["le"]] += int(found[3])
    totals = [*up_to.values()]
    times = tuple(max(0, total - before) for total, before in zip(totals, [0, *totals], strict=False))
    return Counts(requests, errors, times, alike, different)


class Tally:
    """Adds up what the pods of a service have counted, by revision. Pods come and go, and their counts stay."""

    def __init__(self) -> None:
        self._last: dict[str, Counts] = {}
        self._by_revision: dict[str, Counts] = {}
        self._step: tuple[str, str] | None = None
        self._before = Counts()

    def take(self, pod: str, revision: str, counts: Counts, *, new: bool) -> None:
        """Add what the pod (its uid) has counted since it was last asked. Of one that was never asked all counts, if it
        is `new`: if it has started since the tally began."""
        before = self._last.get(pod)
        if before is not None:
            added = counts.since(before)
        else:
            added = counts if new else Counts()
        self._last[pod] = counts
        self._by_revision[revision] = self.of(revision) + added

    def keep(self, pods: set[str]) -> None:
        """Forget pods that are gone."""
        self._last = {pod: counts for pod, counts in self._last.items() if pod in pods}

    def of(self, revision: str) -> Counts:
        """All that was counted of a revision."""
        return self._by_revision.get(revision, Counts())

    @property
    def total(self) -> Counts:
        """All that was counted."""
        return sum(self._by_revision.values(), Counts())

    def in_step(self, revision: str, since: str) -> Counts:
        """What was counted of a revision in the step that has begun then, as far as this tally has seen it."""
        if self._step != (revision, since):
            self._step, self._before = (revision, since), self.of(revision)
        return self.of(revision).since(self._before)
