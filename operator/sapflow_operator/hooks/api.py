"""The few requests that hooks make of the API server, one after the other, as the pod's service account."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3

from sapflow_operator.errors import ClusterError, ClusterUnavailable

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
SECONDS = 15.0
_MERGE_PATCH = "application/merge-patch+json"


class Api:
    """Talks to one API server. Raises ClusterError with the HTTP status, ClusterUnavailable for no answer."""

    def __init__(self, url: str, token_file: Path | None = None, ca_file: Path | None = None) -> None:
        self.url = url
        self._token_file = token_file
        self._http = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=5.0, read=SECONDS),
            retries=urllib3.Retry(
                total=4,
                backoff_factor=0.5,
                backoff_jitter=0.5,
                status_forcelist=[429, 500, 502, 503, 504],
                allowed_methods=None,
                raise_on_status=False,
            ),
            ca_certs=str(ca_file) if ca_file else None,
        )

    @classmethod
    def in_cluster(cls, environ: Mapping[str, str] = os.environ) -> "Api":
        """The server that every pod is told of."""
        host, port = environ["KUBERNETES_SERVICE_HOST"], environ["KUBERNETES_SERVICE_PORT"]
        host = f"[{host}]" if ":" in host else host
        return cls(f"https://{host}:{port}", ACCOUNT / "token", ACCOUNT / "ca.crt")

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """An object or a list of them."""
        return self._send("GET", f"{path}?{urlencode(query)}" if query else path)

    def delete(self, path: str) -> None:
        """Ask for an object's deletion; one that is gone is passed over."""
        try:
            self._send("DELETE", path)
        except ClusterError as error:
            if error.status != 404:
                raise

    def patch(self, path: str, change: Mapping[str, Any]) -> dict[str, Any]:
        """Apply a JSON merge patch."""
        return self._send("PATCH", path, change)

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        headers = {"Accept": "application/json"}
        if self._token_file is not None:
            # Read each time: it is renewed under a running pod.
            headers["Authorization"] = f"Bearer {self._token_file.read_text()}"
        if body is not None:
            headers["Content-Type"] = _MERGE_PATCH
        content = None if body is None else json.dumps(body).encode()
        try:
            answer = self._http.request(method, f"{self.url}{path}", headers=headers, body=content)
        except urllib3.exceptions.HTTPError as error:
            raise ClusterUnavailable(f"the API server at {self.url} does not answer: {error}", 0) from error
        try:
            found = json.loads(answer.data)
        except ValueError:
            found = {}
        if answer.status >= 400:
            said = found.get("message") or f"HTTP {answer.status}"
            raise ClusterError(f"{method} {path} was refused: {said}", answer.status)
        return dict(found)
