"""Serves metrics over HTTP for Prometheus: those of the operator, a driver or a local run."""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import (
    CollectorRegistry,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    start_http_server,
)


def make_registry() -> CollectorRegistry:
    """A registry that has the metrics of the process itself: memory, CPU, open files."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return registry


@contextmanager
def serve(port: int, registry: CollectorRegistry, host: str = "0.0.0.0") -> Iterator[int]:
    """Answer GET /metrics on `port` (0: any free one) from a thread of its own; the port. Raises OSError."""
    # A `_created` series for each counter and histogram would double the series that Prometheus stores.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    server, thread = start_http_server(port, host, registry)
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
