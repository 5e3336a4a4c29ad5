"""Prometheus for tests: Debian's `prometheus` and `promtool`, where they are installed."""

import contextlib
import json
import math
import os
import re
import shutil
import socket
import subprocess
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from helpers.kube import read, wait_until

HOW_TO_FIX = "no prometheus or promtool was found: apt-get install --no-install-recommends prometheus"


def require_prometheus() -> None:
    """Skip where there is none, and fail instead where SAPFLOW_REQUIRE_PROMTOOL is 1."""
    if not (shutil.which("promtool") and shutil.which("prometheus")):
        if os.environ.get("SAPFLOW_REQUIRE_PROMTOOL") == "1":
            pytest.fail(HOW_TO_FIX)
        pytest.skip(HOW_TO_FIX)


def promtool(*words: str) -> str:
    """What promtool prints; fails the test with its words where it fails."""
    done = subprocess.run(["promtool", *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@dataclass(frozen=True)
class Sample:
    """One series of an answer."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True)
class Prometheus:
    """A running server."""

    url: str

    def query(self, expression: str) -> list[Sample]:
        """An instant query's series, those that have no number left out."""
        found = [
            Sample(each["metric"], float(each["value"][1]))
            for each in self.get("query", query=expression)["result"]
        ]
        return [each for each in found if math.isfinite(each.value)]

    def get(self, path: str, **parameters: str) -> Any:
        """The data of an answer of the HTTP API."""
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path} {parameters}: {error.read().decode()}") from error

    @property
    def is_ready(self) -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/-/ready", timeout=5):
            return True
        return False


@contextlib.contextmanager
def discovered_pods(folder: Path) -> Iterator[dict[str, Any]]:
    """What stands for `kubernetes_sd_configs` with `role: pod`, which Debian's Prometheus is built without.

    A file that is kept up to date with the cluster's pods and the meta labels that Prometheus itself would give them:
    one target a container's port.
    """
    path, stop = folder / "pods.json", threading.Event()

    def follow() -> None:
        while True:
            found = json.dumps([target for pod in read("pods", "-A")["items"] for target in _targets(pod)])
            if not path.exists() or path.read_text() != found:
                (folder / "pods.new").write_text(found)
                (folder / "pods.new").replace(path)
            if stop.wait(2):
                return

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield {"file_sd_configs": [{"files": [str(path)]}]}
    finally:
        stop.set()
        thread.join()


def _targets(pod: Mapping[str, Any]) -> list[dict[str, Any]]:
    metadata, address = pod["metadata"], pod["status"].get("podIP")
    if not address:
        return []
    labels = {"namespace": metadata["namespace"], "pod_name": metadata["name"]}
    labels |= {"pod_phase": pod["status"]["phase"], "pod_ip": address}
    for kind in ("label", "annotation"):
        for name, value in metadata.get(f"{kind}s", {}).items():
            labels[f"pod_{kind}_{re.sub('[^a-zA-Z0-9_]', '_', name)}"] = value
    meta = {f"__meta_kubernetes_{name}": value for name, value in labels.items()}
    ports = [port for each in pod["spec"]["containers"] for port in each.get("ports", ())]
    return [{"targets": [f"{address}:{port['containerPort']}"], "labels": meta} for port in ports]


@contextlib.contextmanager
def prometheus(folder: Path, config: Mapping[str, Any]) -> Iterator[Prometheus]:
    """A server with this configuration and its data in `folder`, ended afterwards."""
    (folder / "prometheus.yml").write_text(yaml.safe_dump(dict(config)))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
        "--log.level=warn",
    ]
    log = folder / "prometheus.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            server = Prometheus(f"http://{address}")
            wait_until(
                lambda: server.is_ready or process.poll() is not None, "a Prometheus that is ready", 60
            )
            assert process.poll() is None, log.read_text()
            yield server
        finally:
            process.terminate()
            process.wait(30)
