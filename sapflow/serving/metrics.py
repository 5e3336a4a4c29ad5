"""The metrics of a serving process as Prometheus text, in base units; all of their names are here."""

from collections import Counter
from collections.abc import Iterable, Mapping

PREFIX = "sapflow_server_"
REQUESTS = f"{PREFIX}requests_total"
SECONDS = f"{PREFIX}request_seconds"
ROWS = f"{PREFIX}rows_total"
FORWARDS = f"{PREFIX}forwards_total"
IN_FLIGHT = f"{PREFIX}requests_in_flight"
READY = f"{PREFIX}ready"
DECISIONS = f"{PREFIX}decisions_total"
BAD = f"{PREFIX}bad_values_total"
UNSEEN = f"{PREFIX}unseen_categories_total"
OUTSIDE = f"{PREFIX}values_out_of_range_total"
COMPARED = f"{PREFIX}compared_rows_total"
COMPARISONS = f"{PREFIX}comparisons_total"
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
MOST_LABELS = 100
"""So many different decisions and columns are told; further ones count as `other`."""


class ServerMetrics:
    """Counts what a server does."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.rows = self.in_flight = 0
        self.ready = False
        self.compared: Counter[bool] = Counter()
        self.comparisons: Counter[str] = Counter()
        self._decisions: Counter[str] = Counter()
        self._bad: Counter[str] = Counter()
        self._seconds: dict[str, list[float]] = {}
        self._buckets: dict[str, list[int]] = {}

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count an answer."""
        self.requests[route, status] += 1
        buckets = self._buckets.setdefault(route, [0] * (len(BUCKETS) + 1))
        buckets[next((place for place, most in enumerate(BUCKETS) if seconds <= most), len(BUCKETS))] += 1
        total = self._seconds.setdefault(route, [0.0])
        total[0] += seconds

    def decided(self, labels: Iterable[str]) -> None:
        """Count decisions by label."""
        _count(self._decisions, labels)

    def refused(self, columns: Iterable[str]) -> None:
        """Count values that could not be used, by column."""
        _count(self._bad, columns)

    def text(self, forwards: int, unseen: Mapping[str, int], outside: Mapping[str, int]) -> str:
        """All metrics, with the forwards so far and what a Drift has counted."""
        by_status: dict[Labels, int] = {
            (("route", route), ("status", str(status))): n for (route, status), n in self.requests.items()
        }
        lines = [
            *_family(REQUESTS, "counter", "Requests answered, by route and status.", by_status),
            *self._histogram(),
            *_family(ROWS, "counter", "Rows answered.", {(): self.rows}),
            *_family(FORWARDS, "counter", "Forwards of the model; each is of one or several requests.", {(): forwards}),
            *_family(IN_FLIGHT, "gauge", "Requests that are not answered yet.", {(): self.in_flight}),
            *_family(READY, "gauge", "Whether the golden rows were answered as in training.", {(): int(self.ready)}),
            *_family(DECISIONS, "counter", "Decisions, by label.", _by("label", self._decisions)),
            *_family(BAD, "counter", "Values that could not be used, by column.", _by("column", self._bad)),
            *_family(UNSEEN, "counter", "Texts that training never had, by column.", _by("column", unseen)),
            *_family(OUTSIDE, "counter", "Numbers outside of training's range, by column.", _by("column", outside)),
            *_family(
                COMPARED,
                "counter",
                "Rows that another version was asked, too, by whether it decided alike.",
                {(("alike", str(alike).lower()),): count for alike, count in self.compared.items()},
            ),
            *_family(
                COMPARISONS, "counter", "Requests to another version, by outcome.", _by("outcome", self.comparisons)
            ),
        ]  # fmt: skip
        return "\n".join(lines) + "\n"

    def _histogram(self) -> Iterable[str]:
        yield f"# HELP {SECONDS} Seconds from a request to its answer, by route."
        yield f"# TYPE {SECONDS} histogram"
        for route, buckets in sorted(self._buckets.items()):
            total = 0
            for most, count in zip((*map(str, BUCKETS), "+Inf"), buckets, strict=True):
                total += count
                yield f'{SECONDS}_bucket{{route="{route}",le="{most}"}} {total}'
            yield f'{SECONDS}_sum{{route="{route}"}} {self._seconds[route][0]!r}'
            yield f'{SECONDS}_count{{route="{route}"}} {total}'


Labels = tuple[tuple[str, str], ...]


def _count(counter: Counter[str], names: Iterable[str]) -> None:
    for name in names:
        counter[name if name in counter or len(counter) < MOST_LABELS else "other"] += 1


def _by(name: str, counts: Mapping[str, int]) -> Mapping[Labels, int]:
    return {((name, each),): count for each, count in counts.items()}


def _family(name: str, kind: str, meaning: str, values: Mapping[Labels, int]) -> Iterable[str]:
    yield f"# HELP {name} {meaning}"
    yield f"# TYPE {name} {kind}"
    for labels, value in sorted(values.items()):
        told = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels)
        yield f"{name}{{{told}}} {value}" if told else f"{name} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
