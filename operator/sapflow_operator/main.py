"""The operator's process."""

import logging
from collections.abc import Mapping

import kopf

from sapflow import logs
from sapflow.errors import SapflowError
from sapflow.monitoring import metrics_server
from sapflow_operator import metrics
from sapflow_operator.handlers import register
from sapflow_operator.settings import Settings

logger = logging.getLogger("sapflow.operator")


def main(environ: Mapping[str, str]) -> int:
    """Run until SIGTERM. Returns the exit code."""
    logs.configure(role="operator")
    try:
        settings = Settings.from_environment(environ)
    except SapflowError as error:
        logs.event(logger, logging.ERROR, "failed", reason=error.reason, message=str(error))
        return 2
    logs.configure(settings.log_level, role="operator")
    # kopf logs every handler; events of jobs are logged by the operator itself.
    logging.getLogger("kopf").setLevel(logging.WARNING)
    # Liveness probes are not logged either.
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    metrics_registry = metrics_server.make_registry()
    controllers = metrics.measured(settings, metrics_registry)
    registry = kopf.OperatorRegistry()
    register(registry, controllers)
    with metrics_server.serve(settings.metrics_port, metrics_registry):
        kopf.run(
            registry=registry,
            standalone=True,
            clusterwide=not settings.namespaces,
            namespaces=settings.namespaces,
            liveness_endpoint=f"http://0.0.0.0:{settings.liveness_port}/healthz",
        )
    return 0
