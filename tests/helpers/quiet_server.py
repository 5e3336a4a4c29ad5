"""An HTTP server for tests that says nothing on stderr when a client hangs up, as clients may."""

import sys
from http.server import ThreadingHTTPServer
from typing import Any


class QuietServer(ThreadingHTTPServer):
    """A ThreadingHTTPServer; stderr is what commands under test write to."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)
