"""What pods of a job get: CPU, a user's additions, and a place in somebody else's queue."""

import json
from typing import Any

from helpers.kube import Job, kubectl, namespace_of_its_own, read, sample, wait_until

from sapflow_operator import names

SMALL: dict[str, Any] = {
    "workers": 1,
    "merge__structure": [1, 1],
    "memory": {"worker": "512Mi", "merger": "128Mi"},
}
QUOTA = """
import pathlib
new, old = pathlib.Path("/sys/fs/cgroup/cpu.max"), pathlib.Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
print((new.read_text().split()[0] if new.exists() else old.read_text()).strip())
"""
"""Prints the microseconds of CPU that the container may use in a tenth of a second."""


def ready(job: Job, role: str) -> list[dict[str, Any]]:
    """The pods of a role that take calls."""
    return [
        pod
        for pod in job.pods(role)
        if "deletionTimestamp" not in pod["metadata"]
        and any(
            each["type"] == "Ready" and each["status"] == "True"
            for each in pod["status"].get("conditions", ())
        )
    ]


def one(job: Job, role: str) -> dict[str, Any]:
    """A pod of a role that takes calls, as soon as there is one."""
    found: dict[str, Any] = wait_until(lambda: next(iter(ready(job, role)), None), f"a ready {role}", 60)
    return found


def limits(pod: dict[str, Any]) -> tuple[str, str]:
    """The CPU limit that a function's container should have, and the one that it has."""
    (asked,) = (each for each in pod["spec"]["containers"] if each["name"] == "user-container")
    (has,) = (each for each in pod["status"]["containerStatuses"] if each["name"] == "user-container")
    return asked["resources"]["limits"]["cpu"], has.get("resources", {}).get("limits", {}).get("cpu", "")


def quota(job: Job, pod: dict[str, Any]) -> int:
    words = ("exec", "-n", job.namespace, pod["metadata"]["name"], "-c", "user-container")
    return int(kubectl(*words, "--", "python3", "-c", QUOTA))


def test_a_function_may_use_one_cpu_where_its_job_names_no_limit() -> None:
    with namespace_of_its_own() as namespace:
        job = Job.apply(namespace, sample("digits", algorithm={"steps": 2000}, **SMALL))
        job.until_step(2)
        for role in ("worker", "merger"):
            pod = one(job, role)
            assert limits(pod) == ("1", "1")
            assert quota(job, pod) == 100_000
        job.delete()


def test_by_memory_a_function_starts_with_one_cpu_and_then_has_what_comes_with_its_memory() -> None:
    """Where the cluster resizes pods in place; elsewhere it has that from the start."""
    resources = json.loads(kubectl("get", "--raw", "/api/v1"))["resources"]
    resizes = any(each["name"] == "pods/resize" for each in resources)
    with namespace_of_its_own() as namespace:
        job = Job.apply(
            namespace, sample("digits", algorithm={"steps": 2000}, cpu={"policy": "ByMemory"}, **SMALL)
        )
        job.until_step(2)
        for role, expected in (("worker", "290m"), ("merger", "73m")):
            service = read("ksvc", "-n", namespace, names.function(job.name, role))  # type: ignore[arg-type]
            (container,) = service["spec"]["template"]["spec"]["containers"]
            assert container["resources"]["limits"]["cpu"] == ("1" if resizes else expected)
            pod = wait_until(
                lambda role=role, expected=expected: next(  # type: ignore[misc]
                    (each for each in ready(job, role) if limits(each) == (expected, expected)), None
                ),
                f"a {role} with {expected} of a CPU",
                60,
            )
            assert pod["status"]["containerStatuses"][0]["restartCount"] == 0
            assert abs(quota(job, pod) - int(expected.removesuffix("m")) * 100) <= 100
        job.delete()


def test_a_jobs_pods_have_what_its_spec_adds() -> None:
    with namespace_of_its_own() as namespace:
        kubectl("create", "secret", "generic", "-n", namespace, "keys", "--from-literal=api=swordfish")
        node = read("nodes")["items"][0]["metadata"]["labels"]["kubernetes.io/hostname"]
        pods = {
            "nodeSelector": {"kubernetes.io/hostname": node},
            "tolerations": [{"key": "spot", "operator": "Exists", "effect": "NoSchedule"}],
            "priorityClassName": "low",
            "imagePullSecrets": [{"name": "registry"}],
            "labels": {"team": "vision"},
            "annotations": {"example.com/owner": "Ada Lovelace"},
            "env": [
                {"name": "MODE", "value": "test"},
                {"name": "API_KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "api"}}},
            ],
        }
        low = {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": "low"},
            "value": -10,
        }
        kubectl("apply", "-f", "-", text=json.dumps(low))
        job = Job.apply(namespace, sample("digits", algorithm={"steps": 2000}, pods=pods, **SMALL))
        job.until_step(2)
        for role in ("worker", "merger", "driver"):
            pod = one(job, role)
            assert pod["metadata"]["labels"]["team"] == "vision"
            assert pod["metadata"]["annotations"]["example.com/owner"] == "Ada Lovelace"
            assert pod["spec"]["nodeSelector"] == pods["nodeSelector"]
            assert pod["spec"]["priorityClassName"] == "low"
            assert {"name": "registry"} in pod["spec"]["imagePullSecrets"]
            assert any(each.get("key") == "spot" for each in pod["spec"]["tolerations"])
            container = "driver" if role == "driver" else "user-container"
            script = "import os; print(os.environ['MODE'], os.environ['API_KEY'])"
            words = ("exec", "-n", namespace, pod["metadata"]["name"], "-c", container)
            assert kubectl(*words, "--", "python3", "-c", script).split() == ["test", "swordfish"]
        job.delete()
    kubectl("delete", "priorityclass", "low")


def test_a_job_whose_driver_is_held_waits_and_goes_on_when_it_is_let_go() -> None:
    """As Kueue does it, by the Job's spec.suspend; the operator leaves that alone."""
    with namespace_of_its_own() as namespace:
        document = sample("digits", algorithm={"steps": 150}, checkpoint={"everySteps": 10}, **SMALL)
        document["metadata"]["labels"] = {names.QUEUE_LABEL: "research"}
        job = Job.apply(namespace, document)
        job.until_step(3)
        driver = names.driver(job.name)
        assert read("job", "-n", namespace, driver)["metadata"]["labels"][names.QUEUE_LABEL] == "research"

        def suspend(value: bool) -> None:
            change = json.dumps({"spec": {"suspend": value}})
            kubectl("patch", "job", "-n", namespace, driver, "--type=merge", "-p", change)

        suspend(True)
        wait_until(lambda: not job.pods("driver"), "no driver", 60)
        held = job.until(
            lambda seen: "research" in json.dumps(seen["conditions"]), "a word about the queue", 60
        )
        step = held["progress"]["step"]
        assert read("job", "-n", namespace, driver)["spec"]["suspend"] is True
        assert job.step == step < 150
        suspend(False)
        job.until_succeeded()
        assert job.step == 150
        job.delete()
