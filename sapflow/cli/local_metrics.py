"""`sapflow run --metrics` serves the metrics of a local run over HTTP for Prometheus."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from sapflow.errors import DataError
from sapflow.spec.training_job import TrainingJob

if TYPE_CHECKING:
    from sapflow.monitoring.metrics import MetricsObserver

LOOPBACK = "127.0.0.1"
Address = tuple[str, int]


def add_to(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--metrics",
        type=address,
        metavar="[HOST:]PORT",
        help=f"answer Prometheus there while it trains, at /metrics (HOST: {LOOPBACK}; PORT 0: any free one)",
    )


def address(text: str) -> Address:
    """Parse `[HOST:]PORT`; an IPv6 host is in brackets."""
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r}: must be [HOST:]PORT, a port from 0 to 65535")
    return host.strip("[]") or LOOPBACK, int(port)


@contextmanager
def serving(
    where: Address | None, job: TrainingJob, say: Callable[[str], None]
) -> Iterator["MetricsObserver | None"]:
    """The observer whose metrics are served while the context is open; None if no address is given.

    Raises DataError.
    """
    if where is None:
        yield None
        return
    try:
        from sapflow.monitoring import metrics_server  # imports prometheus_client, which no other run needs
        from sapflow.monitoring.metrics import MetricsObserver
    except ModuleNotFoundError as error:
        raise DataError(f"--metrics needs the package {error.name}: pip install 'sapflow[metrics]'") from None
    host, wanted = where
    registry = metrics_server.make_registry()
    with ExitStack() as stack:
        try:
            port = stack.enter_context(metrics_server.serve(wanted, registry, host))
        except (OSError, UnicodeError) as error:
            problem = getattr(error, "strerror", None) or str(error)
            raise DataError(
                f"--metrics {host}:{wanted} cannot be used: {problem}; choose another address"
            ) from error
        say(f"http://{f'[{host}]' if ':' in host else host}:{port}/metrics")
        yield MetricsObserver(job, registry)
