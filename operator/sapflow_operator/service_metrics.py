"""The metrics of ModelServices, as the operator has them: whether they serve, and what their pods have counted."""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from sapflow_operator.conditions import READY
from sapflow_operator.observed import JobObject

PREFIX = "sapflow_service_"
_LABELS = ("namespace", "model_service")
_VALUES = (
    ("requests", "requests", "Requests for decisions that were counted."),
    ("errors", "errors", "Those of them that the server has failed."),
    ("agreement", "agreement", "The part of compared rows in which canary and version decide alike."),
)


class ServiceCollector(Collector):
    """Reads the services when it is scraped, and stores nothing."""

    def __init__(self, services: Callable[[], Iterable[JobObject]]) -> None:
        self._services = services

    def collect(self) -> Iterator[GaugeMetricFamily]:
        services = list(self._services())
        ready = GaugeMetricFamily(
            f"{PREFIX}state", "1 for each ModelService, with its state.", labels=[*_LABELS, "ready", "reason"]
        )
        canary = GaugeMetricFamily(
            f"{PREFIX}canary_percent", "The part of the requests that the canary gets.", labels=_LABELS
        )
        for service in services:
            labels = [service.namespace, service.name]
            ready.add_metric([*labels, *_state(service)], 1)
            canary.add_metric(labels, service.status.get("canary", {}).get("percent", 0))
        yield ready
        yield canary
        for name, field, help in _VALUES:
            family = GaugeMetricFamily(f"{PREFIX}{name}", help, labels=_LABELS)
            for service in services:
                if field in service.status:
                    family.add_metric([service.namespace, service.name], service.status[field])
            yield family


def _state(service: JobObject) -> tuple[str, str]:
    for each in service.status.get("conditions", ()):
        if each["type"] == READY:
            return str(each["status"]), str(each["reason"])
    return "Unknown", "New"
