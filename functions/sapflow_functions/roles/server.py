"""The server: answers raw input with the decisions of one trained model. `python -m sapflow_functions.roles.server`.

It listens once its golden rows are answered as in training; a process whose model does not answer them ends with
EXIT_GOLDEN_ROWS. torch is loaded only for models that need it.
"""

import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from sapflow import logs
from sapflow.errors import SapflowError
from sapflow_functions.process import hold_lifeline, quick_imports, run_app

EXIT_FAILED, EXIT_GOLDEN_ROWS = 2, 3
STORE_SECONDS = 5.0
"""How long a store that does not answer is asked: a pod that has just begun is let through to it a moment later."""
TERMINATION_LOG = "SAPFLOW_TERMINATION_LOG"
"""The variable with the path where the reason of a failed start is left."""

logger = logging.getLogger("sapflow.server")


def serve(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Serve until SIGTERM or the end of the parent. Returns the exit code of the process."""
    born = time.monotonic()
    try:
        with quick_imports():
            from sapflow.objects.stores.factory import open_store
            from sapflow.serving.golden import GoldenRowsFailed
            from sapflow.serving.opened import open_app
            from sapflow_functions.server_settings import ServerSettings

            settings = ServerSettings.read(argv, environ)
            lifeline = None if settings.lifeline is None else hold_lifeline(settings.lifeline)
            document = settings.document
            logs.configure(settings.log_level, role="server", model=document.name, version=document.version)
            opened = open_app(
                document,
                open_store(settings.store, settings.credentials),
                settings.token,
                settings.compare,
                STORE_SECONDS,
            )
    except SapflowError as error:
        _leave(f"{error.reason}: {error}", environ)
        return EXIT_GOLDEN_ROWS if isinstance(error, GoldenRowsFailed) else EXIT_FAILED
    beside = None
    if settings.grpc_port is not None:
        try:
            from sapflow_functions.grpc_server import GrpcServer
        except ImportError as error:
            _leave(
                f"NotInstalled: gRPC needs another package: pip install 'sapflow[grpc]' ({error})", environ
            )
            return EXIT_FAILED
        beside = GrpcServer(opened.app.server, settings.host, settings.grpc_port)
    logs.event(
        logger,
        logging.INFO,
        "ready",
        goldenRows=opened.golden_rows,
        seconds=round(time.monotonic() - born, 3),
    )
    run_app(opened.app, settings, lifeline, beside=beside)
    opened.app.server.batcher.close()
    return 0


def _leave(message: str, environ: Mapping[str, str]) -> None:
    print(f"sapflow server: {message}", file=sys.stderr)
    if path := environ.get(TERMINATION_LOG):
        Path(path).write_text(message[:4096], encoding="utf-8")


def main() -> int:
    """Serve until told to stop."""
    return serve(sys.argv[1:], os.environ)


if __name__ == "__main__":
    sys.exit(main())
