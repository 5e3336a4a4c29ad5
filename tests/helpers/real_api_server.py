"""A real API server for tests: etcd and kube-apiserver as processes, without controllers and nodes."""

import asyncio
import os
import shutil
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from s3_servers import free_port

from sapflow.kube.access import Access
from sapflow.kube.client import ApiClient
from sapflow.kube.errors import ClusterError
from sapflow.kube.paths import Kind

HOW_TO_FIX = (
    "tests of the operator's requests need `etcd` and `kube-apiserver` on PATH, or what `tests/cluster/cluster build` "
    "makes"
)
TOKEN = "tests"
_START_SECONDS = 240.0


def _find(name: str) -> str | None:
    built = Path(os.environ.get("CLUSTER_HOME") or Path.home() / ".cache" / "sapflow-cluster") / "bin"
    return shutil.which(name) or shutil.which(name, path=str(built))


@contextmanager
def real_api_server(folder: Path) -> Iterator[Access]:
    """Access to an API server that allows everything.

    Skips where the programs are missing, and fails instead where SAPFLOW_REQUIRE_APISERVER is 1.
    """
    etcd, server = _find("etcd"), _find("kube-apiserver")
    if etcd is None or server is None or shutil.which("openssl") is None:
        if os.environ.get("SAPFLOW_REQUIRE_APISERVER") == "1":
            pytest.fail(HOW_TO_FIX)
        pytest.skip(HOW_TO_FIX)
    processes: list[subprocess.Popen[bytes]] = []

    def start(*command: str) -> None:
        with (folder / f"{Path(command[0]).name}.log").open("ab") as log:
            processes.append(subprocess.Popen(command, stdout=log, stderr=log))

    key = folder / "account.key"
    subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
    (folder / "tokens.csv").write_text(f'{TOKEN},tester,tester,"system:masters"\n')
    clients, peers, secure = (free_port() for _ in range(3))
    try:
        start(
            etcd, f"--data-dir={folder / 'etcd'}", "--unsafe-no-fsync", "--log-level=error",
            f"--listen-client-urls=http://127.0.0.1:{clients}", f"--advertise-client-urls=http://127.0.0.1:{clients}",
            f"--listen-peer-urls=http://127.0.0.1:{peers}", f"--initial-advertise-peer-urls=http://127.0.0.1:{peers}",
            f"--initial-cluster=default=http://127.0.0.1:{peers}",
        )  # fmt: skip
        start(
            server, f"--etcd-servers=http://127.0.0.1:{clients}", "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1", f"--secure-port={secure}", f"--cert-dir={folder / 'certificates'}",
            f"--token-auth-file={folder / 'tokens.csv'}", "--authorization-mode=AlwaysAllow",
            "--service-cluster-ip-range=10.0.0.0/24", "--service-account-issuer=https://tests",
            f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}",
            "--disable-admission-plugins=ServiceAccount",
        )  # fmt: skip
        tls = ssl.create_default_context()
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        access = Access(f"https://127.0.0.1:{secure}", {"Authorization": f"Bearer {TOKEN}"}, tls)
        _await(access, processes, folder)
        yield access
    finally:
        for process in reversed(processes):
            process.kill()
            process.wait()


@contextmanager
def api_server_with(
    definitions: Iterable[Mapping[str, Any]], kinds: Iterable[Kind], folder: Path
) -> Iterator[Access]:
    """Access to such a server with CustomResourceDefinitions, once it serves the kinds."""
    with real_api_server(folder) as access:
        asyncio.run(_define(access, definitions, kinds))
        yield access


async def _define(access: Access, definitions: Iterable[Mapping[str, Any]], kinds: Iterable[Kind]) -> None:
    api = ApiClient(access)
    for each in definitions:
        await api.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", dict(each))
    for kind in kinds:
        while True:
            try:
                await api.read(kind.path("default"))
                break
            except ClusterError:
                await asyncio.sleep(0.1)
    await api.close()


def _await(access: Access, processes: list[subprocess.Popen[bytes]], folder: Path) -> None:
    assert access.tls is not None
    request = urllib.request.Request(f"{access.server}/readyz", headers=dict(access.headers))
    ends = time.monotonic() + _START_SECONDS
    while time.monotonic() < ends and all(process.poll() is None for process in processes):
        with (
            suppress(OSError),
            urllib.request.urlopen(request, timeout=5, context=access.tls) as answer,
        ):
            if answer.status == 200:
                return
        time.sleep(0.2)
    logs = "\n".join(path.read_text()[-2000:] for path in sorted(folder.glob("*.log")))
    raise RuntimeError(f"the API server did not start:\n{logs}")
