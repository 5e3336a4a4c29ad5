"""Cold starts of functions that are deployed as the operator does it."""

import http.client
import json
import secrets
import sys
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from helpers.kube import forwarded, kubectl, namespace_of_its_own, operator_environment, read, wait_until

from sapflow.quantities.roles import Role
from sapflow.spec.document import parse
from sapflow.spec.training_job import API_VERSION, KIND
from sapflow_operator import names
from sapflow_operator.kinds.training_pool import TrainingPool
from sapflow_operator.resources import functions
from sapflow_operator.settings import Settings
from sapflow_operator.wanted import Place, Wanted

WINDOW_SECONDS = 6
"""The smallest value that Knative allows."""
ROLES: tuple[Role, ...] = ("merger", "worker")


def starts(cpus: Mapping[str, dict[str, str] | None], rounds: int) -> dict[tuple[str, Role], list[float]]:
    """Seconds of each start, by CPU setting and role. They alternate: while one starts, the others go to zero."""
    with (
        deployed(cpus) as pools,
        forwarded("kourier-system", "deploy/3scale-kourier-gateway", 8081) as port,
    ):
        found: dict[tuple[str, Role], list[float]] = {(label, role): [] for label in pools for role in ROLES}
        for _ in range(rounds):
            for label, role in found:
                found[label, role].append(start(pools[label], role, port))
                print(f"{role}, {label}: {found[label, role][-1]:.2f} s", file=sys.stderr, flush=True)
        return found


@contextmanager
def deployed(cpus: Mapping[str, dict[str, str] | None]) -> Iterator[dict[str, TrainingPool]]:
    """A pool of functions by CPU setting, in a namespace of their own."""
    with namespace_of_its_own("bench") as namespace:
        pools = {
            label: _wanted(f"cold-{number}", namespace, cpu)
            for number, (label, cpu) in enumerate(cpus.items())
        }
        for wanted in pools.values():
            _deploy(wanted)
        yield pools


def start(wanted: Wanted, role: Role, port: int) -> float:
    """Seconds from a call that finds no instance to its answer, through the gateway at a local port."""

    def none_is_there() -> bool:
        selector = names.selector(wanted.name, role)
        pods = read("pods", "-n", wanted.namespace, "-l", selector)["items"]
        # A pod that ends accepts no more calls, although it waits half a minute for Knative's drain.
        return all("deletionTimestamp" in pod["metadata"] for pod in pods)

    wait_until(none_is_there, f"the end of every {role}", 180, pause=0.5)
    time.sleep(1)
    host = urlsplit(names.function_url(wanted.name, wanted.namespace, role)).netloc
    began = time.monotonic()
    _get(port, host)
    return time.monotonic() - began


def _get(port: int, host: str) -> None:
    """GET /healthz until it is answered with 200."""
    deadline = time.monotonic() + 60
    while True:
        # Reading until the connection closes would take too long: a port-forward passes that on a second later.
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", "/healthz", headers={"Host": host})
        status = connection.getresponse().status
        connection.close()
        if status == 200:
            return
        assert time.monotonic() < deadline, f"{host} answers {status}"
        time.sleep(0.02)


def _wanted(name: str, namespace: str, cpu: dict[str, str] | None) -> TrainingPool:
    values = operator_environment()
    plain = {name: value for name, value in values.items() if "S3" not in name}
    settings = Settings.from_environment(plain | {"SAPFLOW_WINDOW_SECONDS": str(WINDOW_SECONDS)})
    spec: dict[str, Any] = {
        "model": {"name": "mlp"},
        "data": {"source": "sklearn:digits"},
        "workers": 1,
        "merge": {"structure": [1, 1], "shards": 1},
        "memory": {"worker": "512Mi", "merger": "128Mi"},
    }
    if cpu is not None:
        spec["cpu"] = cpu
    document = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": spec}
    place = Place(values["SAPFLOW_S3_ENDPOINT"], values["SAPFLOW_S3_BUCKET"], values["SAPFLOW_S3_REGION"])
    return TrainingPool(name, namespace, secrets.token_hex(8), place, settings, parse(document, "kubernetes"))


def _deploy(wanted: Wanted) -> None:
    """Create the Services as the operator builds them, but without an owner."""
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": names.pool_secret(wanted.name), "namespace": wanted.namespace},
        "data": {
            name: b64encode(secrets.token_hex(8).encode()).decode()
            for name in (names.TOKEN_KEY, names.ACCESS_KEY, names.SECRET_KEY, names.SESSION_TOKEN)
        },
    }
    for manifest in (secret, *functions(wanted)):
        manifest["metadata"].pop("ownerReferences", None)
        kubectl("apply", "-f", "-", text=json.dumps(manifest))
    for role in ROLES:
        service = f"ksvc/{names.function(wanted.name, role)}"
        kubectl("wait", "-n", wanted.namespace, "--for=condition=Ready", service, "--timeout=60s")
