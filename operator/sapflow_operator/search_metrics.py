"""The metrics of searches, made from their progress as their status has it. Operator and driver export the same."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from sapflow.monitoring.series import SEARCH, SEARCH_PROGRESS, SEARCH_TRIALS, SEARCH_TRIALS_HELP, of_search

_LABELS = ("namespace", SEARCH)
_STATES = ("running", "paused", "finished", "pruned", "failed")
_FIELDS = {
    "trials_limit": "maxTrials",
    "calls_in_flight": "callsInFlight",
    "calls_limit": "maxWorkers",
    "cost_dollars": "costUSD",
    "reserved_dollars": "reservedUSD",
    "budget_dollars": "budgetUSD",
}
"""The field of status.progress for each gauge but that of the best trial."""


class SearchCollector(Collector):
    """Reads searches when it is scraped, and stores nothing."""

    def __init__(self, searches: Callable[[], Iterable[tuple[str, str, Mapping[str, Any]]]]) -> None:
        """`searches` yields the namespace, name and progress of each."""
        self._searches = searches

    def collect(self) -> Iterator[GaugeMetricFamily]:
        searches = list(self._searches())
        for name, help in SEARCH_PROGRESS.items():
            family = GaugeMetricFamily(of_search(name), help, labels=_LABELS)
            for namespace, search, progress in searches:
                value = _value(name, progress)
                if value is not None:
                    family.add_metric([namespace, search], value)
            yield family
        family = GaugeMetricFamily(of_search(SEARCH_TRIALS), SEARCH_TRIALS_HELP, labels=[*_LABELS, "state"])
        for namespace, search, progress in searches:
            for state in _STATES:
                if state in progress:
                    family.add_metric([namespace, search, state], progress[state])
        yield family


def _value(name: str, progress: Mapping[str, Any]) -> float | None:
    if name == "best_objective":
        found = progress.get("best", {}).get("objective")
    else:
        found = progress.get(_FIELDS[name])
    return None if found is None else float(found)
