"""`python -m bench.cluster [row …]`: what jobs take on the cluster that KUBECONFIG names, with Sapflow installed.

Function images must be on the nodes already. The machine should do nothing else.
"""

import argparse
import http.client
import json
import secrets
import statistics
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from helpers.kube import SYSTEM, forwarded, kubectl, namespace_of_its_own, read, wait_until

from sapflow.invoke import Role
from sapflow.job import API_VERSION, KIND, parse
from sapflow_operator import names
from sapflow_operator.resources import functions
from sapflow_operator.settings import Settings
from sapflow_operator.wanted import Place, Wanted

ROUNDS = 20
WINDOW_SECONDS = 6
"""The least that Knative allows: functions go to zero between two rounds."""


def cold_starts(cpu: dict[str, str] | None, rounds: int = ROUNDS) -> Iterator[tuple[Role, list[float]]]:
    """Seconds from a call that finds no instance to its answer, each time anew."""
    with namespace_of_its_own("bench") as namespace, gateway() as port:
        wanted = _wanted(namespace, cpu)
        _deploy(wanted)
        for role in ("merger", "worker"):
            host = urlsplit(names.function_url(wanted.name, namespace, role)).netloc
            seconds = []
            for _ in range(rounds):
                wait_until(lambda: not _pods(namespace, role), f"no {role}", 120, pause=0.2)
                started = time.monotonic()
                _get(port, host)
                seconds.append(time.monotonic() - started)
                print(role, f"{seconds[-1]:.3f}", file=sys.stderr, flush=True)
            yield role, seconds


def gateway() -> Any:
    """A way to Knative's gateway for calls from inside the cluster."""
    return forwarded("kourier-system", "deploy/3scale-kourier-gateway", 8081)


def _get(port: int, host: str) -> None:
    """GET /healthz until it is answered with 200."""
    deadline = time.monotonic() + 60
    while True:
        # To the end of the connection would be too far: a port-forward passes that on a second later.
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", "/healthz", headers={"Host": host})
        status = connection.getresponse().status
        connection.close()
        if status == 200:
            return
        assert time.monotonic() < deadline, f"{host} answers {status}"
        time.sleep(0.02)


def _pods(namespace: str, role: str) -> list[Any]:
    return list(read("pods", "-n", namespace, "-l", f"{names.ROLE_LABEL}={role}")["items"])


def _wanted(namespace: str, cpu: dict[str, str] | None) -> Wanted:
    environment = read("deployment", "-n", SYSTEM, "sapflow-operator")["spec"]["template"]["spec"][
        "containers"
    ][0]["env"]
    values = {each["name"]: each.get("value", "") for each in environment}
    settings = Settings.from_environment(
        {name: value for name, value in values.items() if "S3" not in name}
        | {"SAPFLOW_WINDOW_SECONDS": str(WINDOW_SECONDS)}
    )
    spec: dict[str, Any] = {
        "model": {"name": "mlp"},
        "data": {"source": "sklearn:digits"},
        "workers": 1,
        "merge": {"structure": [1, 1]},
        "memory": {"worker": "512Mi", "merger": "256Mi"},
    }
    if cpu is not None:
        spec["cpu"] = cpu
    job = parse(
        {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "cold"}, "spec": spec}, "kubernetes"
    )
    place = Place(values["SAPFLOW_S3_ENDPOINT"], values["SAPFLOW_S3_BUCKET"], values["SAPFLOW_S3_REGION"])
    return Wanted("cold", namespace, secrets.token_hex(8), job, place, settings)


def _deploy(wanted: Wanted) -> None:
    """The services as the operator builds them, with no job that owns them."""
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
    for role in ("worker", "merger"):
        service = f"ksvc/{names.function(wanted.name, role)}"
        kubectl("wait", "-n", wanted.namespace, "--for=condition=Ready", service, "--timeout=60s")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.cluster", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    for label, cpu in (("1 CPU", {"worker": "1", "merger": "1"}), ("CPU by memory", None)):
        for role, seconds in cold_starts(cpu, given.rounds):
            p95 = sorted(seconds)[round(0.95 * (len(seconds) - 1))]
            print(
                f"cold start of a {role}, {label}: p50 {statistics.median(seconds):.2f} s, p95 {p95:.2f} s",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
