"""How an API server is reached: its address, whom it trusts a request to come from, and whom the request trusts."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from sapflow.mounted import MountedFiles

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where every pod finds the token, the CA certificate and the namespace of its service account."""
HOST, PORT = "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"
"""Environment variables that tell every pod of the API server."""


@dataclass(frozen=True, slots=True)
class Access:
    """What one request needs. Requests with the same `tls` share connections.

    One that never changes is a source of itself.
    """

    server: str
    """`https://host:port`, without a slash at its end."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Those that say who asks."""
    tls: ssl.SSLContext | None = None
    """None: Python's own trust; for a server at http:// it is not looked at."""
    server_name: str | None = None
    """The name that the server's certificate is for, where that is not its address."""
    proxy: str | None = None
    """The URL of an HTTP proxy on the way."""

    async def current(self) -> "Access":
        return self

    def refused(self) -> None:
        """There is nothing to read anew."""


class AccessSource(Protocol):
    """Says how to reach one API server, and renews what ends."""

    @property
    def server(self) -> str:
        """The server's address, for messages."""

    async def current(self) -> Access:
        """What the next request needs. Raises SapflowError where there is nothing to log in with."""

    def refused(self) -> None:
        """The server did not accept the last access: the next is to be read anew."""


class ServiceAccount:
    """A pod's own account: a token and a CA certificate in mounted files, which are renewed under a running pod."""

    def __init__(self, server: str, folder: Path = ACCOUNT) -> None:
        """`folder` holds `token` and, for a server at https://, `ca.crt`. Raises OSError without a token."""
        self.server = server.rstrip("/")
        self._files = MountedFiles([str(folder / "token")], [str(folder / "ca.crt")])
        self._certificate: str | None = None
        self._tls: ssl.SSLContext | None = None

    @classmethod
    def in_pod(cls, environ: Mapping[str, str], folder: Path = ACCOUNT) -> "ServiceAccount | None":
        """The account of the pod that this process runs in; None outside of pods."""
        if HOST not in environ or not (folder / "token").is_file():
            return None
        return cls(server_url(environ[HOST], environ.get(PORT, "443")), folder)

    async def current(self) -> Access:
        token, certificate = self._files.texts()
        if self.server.startswith("https://") and certificate != self._certificate:
            self._tls = ssl.create_default_context(cadata=certificate or None)
            self._certificate = certificate
        return Access(self.server, {"Authorization": f"Bearer {token}"}, self._tls)

    def refused(self) -> None:
        self._files.read_again()


def server_url(host: str, port: int | str) -> str:
    """The API server at a host and port. An IPv6 address needs its brackets."""
    return f"https://{f'[{host}]' if ':' in host else host}:{port}"
