"""Access to an API server: its address, the credentials of requests, and the certificates that they trust."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from sapflow.mounted import MountedFiles

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""The folder in every pod with the token, the CA certificate and the namespace of its service account."""
HOST, PORT = "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"
"""Environment variables with the API server's address in every pod."""


@dataclass(frozen=True, slots=True)
class Access:
    """The address and credentials for a request. Requests with the same `tls` share connections.

    An access that never changes is its own source.
    """

    server: str
    """`https://host:port`, without a slash at its end."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers with the credentials."""
    tls: ssl.SSLContext | None = None
    """None means Python's default certificates. It is not used for a server at http://."""
    server_name: str | None = None
    """The name in the server's certificate, if it is not the server's address."""
    proxy: str | None = None
    """The URL of an HTTP proxy on the way."""

    async def current(self) -> "Access":
        return self

    def refused(self) -> None:
        """Does nothing, because this access never changes."""


class AccessSource(Protocol):
    """A source of access to an API server, which renews credentials that expire."""

    @property
    def server(self) -> str:
        """The server's address, for messages."""

    async def current(self) -> Access:
        """The access for the next request. Raises SapflowError if there are no credentials."""

    def refused(self) -> None:
        """Take note that the server refused the last access, so that the next one is read again."""


class ServiceAccount:
    """A pod's own account: a token and a CA certificate in mounted files, which are renewed while the pod runs."""

    def __init__(self, server: str, folder: Path = ACCOUNT) -> None:
        """`folder` holds `token` and, for a server at https://, `ca.crt`. Raises OSError without a token."""
        self.server = server.rstrip("/")
        self._files = MountedFiles([str(folder / "token")], [str(folder / "ca.crt")])
        self._certificate: str | None = None
        self._tls: ssl.SSLContext | None = None

    @classmethod
    def in_pod(cls, environ: Mapping[str, str], folder: Path = ACCOUNT) -> "ServiceAccount | None":
        """The account of this process's pod; None outside of pods."""
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
    """The URL of the API server at a host and port. An IPv6 address gets brackets."""
    return f"https://{f'[{host}]' if ':' in host else host}:{port}"
