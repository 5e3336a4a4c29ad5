"""What pods of a running job may do: nothing but their work."""

import http.client
import json
from collections.abc import Iterator

import pytest
from helpers.cluster_jobs import job_at_work
from helpers.kube import (
    ONE_CPU,
    SYSTEM,
    Job,
    forwarded,
    kubectl,
    read,
    run_kubectl,
    sample,
)

from sapflow_operator import names


@pytest.fixture(scope="module")
def running() -> Iterator[Job]:
    """A job at work, in a namespace that enforces the restricted standard."""
    with job_at_work(steps=2000, cpu=ONE_CPU) as job:
        yield job


def inside(job: Job, role: str, script: str) -> str:
    """Run a Python script in a function; what it prints."""
    pod = next(each for each in job.pods(role) if "deletionTimestamp" not in each["metadata"])
    name = pod["metadata"]["name"]
    return kubectl("exec", "-n", job.namespace, name, "-c", "user-container", "--", "python3", "-c", script)


@pytest.mark.parametrize("role", ["worker", "merger"])
def test_functions_are_not_root_hold_no_token_of_the_api_server_and_cannot_write(
    running: Job, role: str
) -> None:
    script = """
import os, json
def write(path):
    try:
        open(path, "w").close()
    except OSError as error:
        return error.strerror
found = {
    "uid": os.getuid(),
    "token": os.path.exists("/var/run/secrets/kubernetes.io/serviceaccount"),
    "root": write("/opt/sapflow/x"),
    "pool": write("/etc/sapflow/pool/x"),
    "tmp": write("/tmp/x"),
    "capabilities": next(line.split()[1] for line in open("/proc/self/status") if line.startswith("CapEff")),
}
print(json.dumps(found))
"""
    found = json.loads(inside(running, role, script))
    assert found["uid"] == 65532
    assert found["token"] is False
    assert found["root"]
    assert found["pool"]
    assert found["tmp"] is None
    assert int(found["capabilities"], 16) == 0


@pytest.mark.parametrize("role", ["worker", "merger"])
def test_a_call_without_the_pools_token_is_answered_with_401(running: Job, role: str) -> None:
    script = """
import urllib.request, urllib.error
for headers in ({}, {"Authorization": "Bearer guess"}):
    request = urllib.request.Request("http://127.0.0.1:8080/invoke", b"{}", headers)
    try:
        print(urllib.request.urlopen(request, timeout=10).status)
    except urllib.error.HTTPError as error:
        print(error.code)
"""
    assert inside(running, role, script).split() == ["401", "401"]


def test_functions_are_reached_inside_the_cluster_alone(running: Job) -> None:
    for service in read("ksvc", "-n", running.namespace)["items"]:
        assert service["metadata"]["labels"]["networking.knative.dev/visibility"] == "cluster-local"
        assert service["status"]["url"].endswith(".svc.cluster.local")
    host = f"{names.function(running.name, 'worker')}.{running.namespace}.svc.cluster.local"
    with forwarded("kourier-system", "deploy/3scale-kourier-gateway", 8081) as inside_port:
        assert healthz(inside_port, host) == 200
    with forwarded("kourier-system", "deploy/3scale-kourier-gateway", 8080) as outside_port:
        assert healthz(outside_port, host) == 404


def healthz(port: int, host: str) -> int:
    """The status that one of the gateway's listeners answers for a host."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/healthz", headers={"Host": host})
    status = connection.getresponse().status
    connection.close()
    return status


def test_a_driver_may_report_progress_of_its_own_job_and_nothing_else(running: Job, namespace: str) -> None:
    account = f"system:serviceaccount:{running.namespace}:{names.driver(running.name)}"
    me = ("--as", account, "--as-group", "system:serviceaccounts", "--as-group", "system:authenticated")

    def patch(target: Job, status: object) -> str:
        """As the driver does it: server-side apply, with nothing read before."""
        metadata = {"name": target.name, "namespace": target.namespace}
        body = {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": metadata, "status": status}
        done = run_kubectl(
            "apply", "--server-side", "--force-conflicts", "--subresource=status", "--validate=false",
            "--field-manager=sapflow-driver", "--dry-run=server", "-f", "-", *me, text=json.dumps(body),
        )  # fmt: skip
        return done.stderr if done.returncode else ""

    mine = {"type": "Succeeded", "status": "True", "reason": "Mine", "message": "I say so"}
    assert patch(running, {"progress": {"step": 7}}) == ""
    assert "may change status.progress and no other" in patch(running, {"result": {"uri": "s3://mine"}})
    assert "may change status.progress and no other" in patch(running, {"conditions": [mine]})
    other = Job.apply(namespace, sample("digits", suspend=True))
    assert "forbidden" in patch(other, {"progress": {"step": 7}})
    for words in (("get", "secrets"), ("get", "tj"), ("create", "jobs"), ("get", "pods")):
        done = run_kubectl("auth", "can-i", *words, "-n", running.namespace, *me)
        assert done.stdout.strip() == "no", words


def test_our_own_namespace_enforces_the_restricted_standard_too() -> None:
    labels = read("namespace", SYSTEM)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    pods = read("pods", "-n", SYSTEM)["items"]
    assert pods
    for pod in pods:
        for container in pod["spec"]["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
