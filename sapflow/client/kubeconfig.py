"""Access to a cluster by a user's kubeconfig. The `kubernetes` package reads it, and is imported when needed.

It supports all of kubectl's ways to log in: tokens, client certificates, plug-ins, providers.
"""

import asyncio
import ipaddress
import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from sapflow.client.cluster_errors import ClientMissing, NoCluster
from sapflow.kube.access import ACCOUNT, Access, AccessSource, ServiceAccount

_MALFORMED = (OSError, ValueError, TypeError, AttributeError, KeyError)
"""Exceptions from reading a file that is YAML but no kubeconfig."""


def has_cluster(environ: Mapping[str, str]) -> bool:
    """Whether there is a kubeconfig or a service account for a cluster."""
    return _exists(_path(None, environ)) or ServiceAccount.in_pod(environ) is not None


def log_in(asked: str | None, context: str | None, environ: Mapping[str, str]) -> tuple[AccessSource, str]:
    """Access to a cluster, and its default namespace. No request is sent yet.

    `asked` is the path of a kubeconfig (or several, as in KUBECONFIG), `context` one of its contexts. If neither is
    given and there is no kubeconfig, the pod's own service account is used. Raises ClientMissing, NoCluster.
    """
    path = _path(asked, environ)
    if not _exists(path):
        found = _of_pod(environ) if asked is None and context is None else None
        if found is None:
            raise NoCluster(f"there is no kubeconfig at {path}; set KUBECONFIG or give --kubeconfig FILE")
        return found
    try:
        from kubernetes import client
        from kubernetes import config as kubeconfig
    except ImportError as error:
        raise ClientMissing(
            f"a kubeconfig is read by the `kubernetes` package, which cannot be imported ({error}); "
            "install it: pip install 'sapflow[cluster]'"
        ) from error
    config: Any = kubeconfig  # its functions are not annotated
    settings = client.Configuration()
    try:
        config.load_kube_config(path, context, client_configuration=settings)
        namespace = _namespace_of(config, path, context)
        return KubeconfigAccess(settings), namespace
    except (config.ConfigException, yaml.YAMLError, *_MALFORMED) as error:
        raise NoCluster(f"the kubeconfig {path} cannot be used: {error}") from error


def _of_pod(environ: Mapping[str, str]) -> tuple[AccessSource, str] | None:
    """The account and the namespace of this pod, or None outside of pods. Raises NoCluster."""
    try:
        account = ServiceAccount.in_pod(environ)
        if account is None:
            return None
        return account, (ACCOUNT / "namespace").read_text(encoding="utf-8").strip()
    except OSError as error:
        raise NoCluster(f"the pod's service account cannot be used: {error}") from error


def _path(asked: str | None, environ: Mapping[str, str]) -> str:
    home = environ.get("HOME", "~")
    return asked or environ.get("KUBECONFIG") or f"{home}/.kube/config"


def _exists(kubeconfig: str) -> bool:
    """Whether one of the files exists; KUBECONFIG may name several."""
    return any(Path(each).expanduser().is_file() for each in kubeconfig.split(os.pathsep) if each)


def _namespace_of(config: Any, path: str, context: str | None) -> str:
    contexts, current = config.list_kube_config_contexts(path)
    chosen = next((each for each in contexts if each["name"] == context), current)
    return str(chosen["context"].get("namespace") or "default")


class KubeconfigAccess:
    """Access as the `kubernetes` package has read it. The package renews tokens and certificates itself."""

    def __init__(self, settings: Any) -> None:
        """`settings` is a `kubernetes.client.Configuration`. Raises OSError or ValueError if its files are unusable."""
        self._settings = settings
        self.server = str(settings.host).rstrip("/")
        self._files: tuple[Any, ...] = ()
        self._tls: ssl.SSLContext | None = None
        self._lock = asyncio.Lock()
        self._proxy = _proxy(self.server, settings.proxy, settings.no_proxy or "")
        self._read()

    async def current(self) -> Access:
        # This may run a plug-in, which takes time and must not run twice at once.
        async with self._lock:
            return await asyncio.to_thread(self._read)

    def refused(self) -> None:
        """Does nothing: the package knows when credentials expire, and reads them again then."""

    def _read(self) -> Access:
        settings = self._settings
        # Reading the token renews it.
        said = settings.get_api_key_with_prefix("BearerToken", alias="authorization")
        files = (settings.verify_ssl, settings.ssl_ca_cert, settings.cert_file, settings.key_file)
        if files != self._files:
            self._tls, self._files = _tls(*files), files
        headers = {"Authorization": said} if said else {}
        return Access(self.server, headers, self._tls, settings.tls_server_name or None, self._proxy)


def _tls(verify: bool, ca_file: str | None, cert_file: str | None, key_file: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if cert_file:
        context.load_cert_chain(cert_file, key_file)
    return context


def _proxy(server: str, proxy: str | None, no_proxy: str) -> str | None:
    """The proxy on the way to a server, unless `no_proxy` names it. Raises ValueError for one that is not HTTP's."""
    if not proxy or _passed_by(server, no_proxy):
        return None
    if urlsplit(proxy).scheme not in ("http", "https"):
        raise ValueError(f"proxy-url {proxy!r} is no HTTP proxy: write http://host:port")
    return proxy


def _passed_by(server: str, no_proxy: str) -> bool:
    """Whether a list of domains, addresses and networks, as in NO_PROXY, names a server."""
    parts = urlsplit(server)
    host = (parts.hostname or "").lower()
    for entry in (each.strip().lower() for each in no_proxy.split(",")):
        if entry == "*" or (entry and entry.lstrip(".") in (host, parts.netloc.lower())):
            return True
        if entry and host.endswith(f".{entry.lstrip('.')}"):
            return True
        try:
            if ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False):
                return True
        except ValueError:
            continue
    return False
