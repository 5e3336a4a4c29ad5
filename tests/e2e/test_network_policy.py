"""Network policies, enforced: pods of a job, the operator and MinIO reach, and are reached, for their work alone."""

import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from helpers.cluster_jobs import job_at_work
from helpers.kube import (
    SYSTEM,
    Job,
    kubectl,
    namespace_of_its_own,
    read,
    run_kubectl,
    sample,
    version,
    wait_until,
)

from sapflow_operator import names

TRY = """
import socket, sys
for target in sys.argv[1:]:
    host, port = target.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), 3).close()
        print("open")
    except OSError:
        print("closed")
"""
"""Prints for each host:port whether a connection is made. All of them listen: what is closed is so by policy, which
network plugins do by silence or by a refusal."""
LISTEN = """
import socket
servers = [socket.create_server(("", port)) for port in (9000, 9999)]
while True:
    servers[0].accept()[0].close()
"""


@pytest.fixture(scope="module", autouse=True)
def _enforced() -> None:
    """These tests are about a network plugin that enforces policies, which the one of our own cluster does."""
    with namespace_of_its_own() as namespace:
        server = stranger(namespace, "server")
        stranger(namespace, "client")
        assert reach(namespace, "client", f"{server}:9000") == ["open"]
        policy = {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "nothing", "namespace": namespace},
            "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
        }
        kubectl("apply", "-f", "-", text=json.dumps(policy))
        wait_until(
            lambda: reach(namespace, "client", f"{server}:9000") == ["closed"],
            "a network plugin that enforces NetworkPolicies",
            30,
        )


@pytest.fixture(scope="module")
def running() -> Iterator[Job]:
    """A job at work."""
    with job_at_work(steps=3000) as job:
        yield job


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[tuple[str, str, str]]:
    """(namespace, name, address) of a pod that is none of ours and listens on the store's port, 9000."""
    with namespace_of_its_own() as namespace:
        address = stranger(namespace, "elsewhere")
        yield namespace, "elsewhere", address


def stranger(namespace: str, name: str) -> str:
    """Start a pod of the merger's image, which is on the nodes, that listens on ports 9000 and 9999; its address."""
    container = {
        "name": "it",
        "image": f"dev.local/sapflow-merger:{version()}",
        "command": ["python3", "-c", LISTEN],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "containers": [container],
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
        },
    }
    kubectl("apply", "-f", "-", text=json.dumps(pod))
    kubectl("wait", "-n", namespace, "--for=condition=Ready", f"pod/{name}", "--timeout=120s")
    address: str = read("pod", "-n", namespace, name)["status"]["podIP"]
    return address


def reach(namespace: str, pod: str, *targets: str, container: str = "it") -> list[str]:
    """What comes of connections from inside a pod to each host:port."""
    command = ("exec", "-n", namespace, pod, "-c", container, "--", "python3", "-c", TRY, *targets)
    return kubectl(*command).split()


def one(namespace: str, selector: str) -> dict[str, Any]:
    """A pod that is ready and stays. Knative may call a pod before its node reports that it is ready."""

    def find() -> dict[str, Any] | None:
        for pod in read("pods", "-n", namespace, "-l", selector)["items"]:
            conditions = pod["status"].get("conditions", ())
            ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
            if ready and "deletionTimestamp" not in pod["metadata"]:
                return dict(pod)
        return None

    found: dict[str, Any] = wait_until(find, f"a ready pod with {selector}", 60)
    return found


def system(component: str) -> str:
    """The address of the operator's or MinIO's pod."""
    address: str = one(SYSTEM, f"app.kubernetes.io/component={component}")["status"]["podIP"]
    return address


def function(job: Job, role: str) -> dict[str, Any]:
    return one(job.namespace, names.selector(job.name, role))


@pytest.mark.parametrize("role", ["worker", "merger"])
def test_functions_reach_the_store_and_names_and_nothing_else(
    running: Job, elsewhere: tuple[str, str, str], role: str
) -> None:
    pod = function(running, role)["metadata"]["name"]
    other = function(running, "merger" if role == "worker" else "worker")["status"]["podIP"]
    driver = one(running.namespace, names.selector(running.name, "driver"))["status"]["podIP"]
    targets = {
        "sapflow-minio.sapflow-system.svc.cluster.local:9000": "open",
        f"{system('minio')}:9000": "open",
        "kubernetes.default.svc.cluster.local:443": "closed",
        f"{system('operator')}:9090": "closed",
        f"{driver}:9090": "closed",
        f"{other}:8012": "closed",
        f"{elsewhere[2]}:9000": "closed",
        f"{elsewhere[2]}:9999": "closed",
        "kourier-internal.kourier-system.svc.cluster.local:80": "closed",
    }
    found = reach(running.namespace, pod, *targets, container="user-container")
    assert dict(zip(targets, found, strict=True)) == targets


def test_a_stranger_reaches_neither_functions_nor_driver_operator_or_minio_but_metrics(
    running: Job, elsewhere: tuple[str, str, str]
) -> None:
    worker = function(running, "worker")["status"]["podIP"]
    merger = function(running, "merger")["status"]["podIP"]
    driver = one(running.namespace, names.selector(running.name, "driver"))["status"]["podIP"]
    targets = {
        f"{worker}:8012": "closed",
        f"{worker}:8080": "closed",
        f"{merger}:8012": "closed",
        f"{driver}:9090": "open",
        f"{system('operator')}:9090": "open",
        f"{system('operator')}:8080": "closed",
        f"{system('minio')}:9000": "closed",
        "sapflow-minio.sapflow-system.svc.cluster.local:9000": "closed",
    }
    found = reach(elsewhere[0], elsewhere[1], *targets)
    assert dict(zip(targets, found, strict=True)) == targets


def test_a_driver_reaches_the_ports_at_which_functions_take_calls_and_no_other(running: Job) -> None:
    worker = function(running, "worker")["status"]["podIP"]
    pod = one(running.namespace, names.selector(running.name, "driver"))["metadata"]["name"]
    targets = {f"{worker}:8012": "open", f"{worker}:8080": "closed"}
    found = reach(running.namespace, pod, *targets, container="driver")
    assert dict(zip(targets, found, strict=True)) == targets


def test_a_store_behind_a_service_with_another_port_is_reached(running: Job) -> None:
    """A MinIO behind port 80: policies see the pod's port, 9000."""
    name = f"minio-{secrets.token_hex(3)}"
    selector = read("service", "-n", SYSTEM, "sapflow-minio")["spec"]["selector"]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": SYSTEM},
        "spec": {"selector": selector, "ports": [{"port": 80, "targetPort": 9000}]},
    }
    kubectl("apply", "-f", "-", text=json.dumps(service))
    try:
        # A Service that no node knows yet leads out of the cluster, where anything may answer.
        script = f"import urllib.request as r; print(r.urlopen('http://{name}.{SYSTEM}.svc/minio/health/live').status)"
        words = ("exec", "-n", SYSTEM, "deploy/sapflow-operator", "--", "python3", "-c", script)
        wait_until(lambda: run_kubectl(*words).stdout.strip() == "200", "an answer of the store", 60)
        with namespace_of_its_own() as namespace:
            secret = read("secret", "-n", SYSTEM, "sapflow-storage")["data"]
            copy = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "data": secret}
            kubectl("apply", "-n", namespace, "-f", "-", text=json.dumps(copy))
            storage = {
                "endpoint": f"http://{name}.{SYSTEM}.svc",
                "bucket": "sapflow",
                "secretName": "keys",
            }
            job = Job.apply(
                namespace,
                sample("digits", workers=1, merge__structure=[1, 1], algorithm={"steps": 2}, storage=storage),
            )
            job.until_succeeded()
            job.delete()
    finally:
        run_kubectl("delete", "service", "-n", SYSTEM, name)
