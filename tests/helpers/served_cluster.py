"""ModelServices in a cluster: their states, and requests to them by the gateway."""

import contextlib
import json
import threading
import urllib.error
import urllib.request
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from helpers.kube import condition_of, forwarded, kubectl, read, wait_until

ROWS = [
    {
        "time": "2013-05-01T18:15:00Z",
        "carrier": "UA",
        "origin": "EWR",
        "tail": "N14228",
        "delay": 40,
        "distance": 1400,
    }
]


@dataclass(frozen=True)
class Service:
    """A ModelService in a cluster."""

    namespace: str
    name: str

    @classmethod
    def apply(cls, namespace: str, name: str, spec: Mapping[str, Any]) -> "Service":
        body = {
            "apiVersion": "sapflow.dev/v1alpha1",
            "kind": "ModelService",
            "metadata": {"name": name},
            "spec": dict(spec),
        }
        kubectl("apply", "-n", namespace, "-f", "-", text=json.dumps(body))
        return cls(namespace, name)

    def patch(self, spec: Mapping[str, Any]) -> None:
        body = json.dumps({"spec": dict(spec)})
        kubectl("patch", "ms", "-n", self.namespace, self.name, "--type=merge", "-p", body)

    @property
    def status(self) -> dict[str, Any]:
        return dict(read("ms", "-n", self.namespace, self.name).get("status", {}))

    @property
    def state(self) -> tuple[str, str]:
        """Status and reason of the condition Ready."""
        found = condition_of(self.status, "Ready")
        return found.get("status", ""), found.get("reason", "")

    @property
    def host(self) -> str:
        """What the gateway knows it by."""
        return f"{self.name}-serve.{self.namespace}.svc.cluster.local"

    @property
    def token(self) -> str:
        data = read("secret", "-n", self.namespace, f"{self.name}-serve-token")["data"]
        return b64decode(data["token"]).decode()

    @property
    def revision(self) -> str:
        """The revision that serves."""
        return str(self.status.get("version", {}).get("revision", ""))

    @property
    def traffic(self) -> dict[str, int]:
        """The parts of the requests that Knative lets go to revisions."""
        found = read("ksvc", "-n", self.namespace, f"{self.name}-serve")["status"].get("traffic", ())
        return {each["revisionName"]: each.get("percent", 0) for each in found}

    def pods(self) -> list[dict[str, Any]]:
        label = f"sapflow.dev/job={self.name},sapflow.dev/role=server"
        return [
            each
            for each in read("pods", "-n", self.namespace, "-l", label)["items"]
            if "deletionTimestamp" not in each["metadata"]
        ]

    def until(self, status: str, reason: str, seconds: float = 240) -> dict[str, Any]:
        wait_until(lambda: self.state == (status, reason), f"Ready={status}, {reason}", seconds)
        return self.status

    def until_serves(self, but: str = "", seconds: float = 240) -> str:
        """The revision that serves, once it is another than `but` and has all requests."""

        def other() -> str:
            found = self.revision
            return found if found != but and self.traffic == {found: 100} else ""

        return str(wait_until(other, "a version that serves", seconds))

    def until_zero(self, seconds: float = 180) -> None:
        wait_until(lambda: not self.pods(), "no pod", seconds)


@dataclass
class Way:
    """A way to a service through the gateway."""

    port: int
    host: str
    token: str

    def ask(self, seconds: float = 120, rows: Sequence[object] = ROWS) -> tuple[int, dict[str, Any]]:
        """Status and answer of one request for decisions."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/predict",
            json.dumps({"rows": list(rows)}).encode(),
            {
                "Host": self.host,
                "Content-Type": "application/json",
                "Authorization": f"Bearer {self.token}",
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=seconds) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, {}


@contextlib.contextmanager
def way_to(service: Service) -> Iterator[Way]:
    with forwarded("kourier-system", "deploy/3scale-kourier-gateway", 8081) as port:
        yield Way(port, service.host, service.token)


@dataclass
class Load:
    """What came of requests that were made all the time."""

    statuses: dict[int, int] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)

    @property
    def failed(self) -> dict[int, int]:
        return {status: count for status, count in self.statuses.items() if status != 200}


@contextlib.contextmanager
def under_load(way: Way, threads: int = 3) -> Iterator[Load]:
    """Ask without a pause until the block ends."""
    load, over, lock = Load(), threading.Event(), threading.Lock()

    def ask() -> None:
        while not over.is_set():
            try:
                status, answer = way.ask()
            except OSError:
                status, answer = 0, {}
            with lock:
                load.statuses[status] = load.statuses.get(status, 0) + 1
                if version := answer.get("version"):
                    load.versions[version] = load.versions.get(version, 0) + 1

    workers = [threading.Thread(target=ask) for _ in range(threads)]
    for each in workers:
        each.start()
    try:
        yield load
    finally:
        over.set()
        for each in workers:
            each.join()
