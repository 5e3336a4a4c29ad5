"""What may befall a job besides success: suspended, deleted, edited, expired, too large, twice under one name."""

from collections.abc import Iterator
from typing import Any

import pytest
from helpers.cluster_jobs import OPERATOR, small
from helpers.kube import (
    SYSTEM,
    Job,
    condition_of,
    kubectl,
    namespace_of_its_own,
    read,
    run_kubectl,
    step_of,
    wait_until,
)


@pytest.fixture(scope="module")
def undisturbed() -> Iterator[str]:
    """The SHA-256 of the small job's weights."""
    with namespace_of_its_own() as namespace:
        yield str(Job.apply(namespace, small()).until_succeeded()["result"]["sha256"])


def test_a_suspended_job_has_no_pods_and_goes_on_from_its_last_commit_to_the_same_weights(
    namespace: str, undisturbed: str
) -> None:
    job = Job.apply(namespace, small())
    job.until_step(20)

    job.patch({"suspend": True})
    seen = job.until_reason("Suspended")
    assert condition_of(seen, "Suspended")["status"] == "True"
    wait_until(lambda: not job.pods(), "a suspended job without pods", 90)
    stood = job.step
    assert 20 <= stood < 800
    wait_until(lambda: "checkpoint" in job.status, "the model of a suspended job", 30)
    left = job.status["checkpoint"]
    assert left["version"] >= stood
    assert left["uri"].endswith(f"/result/stopped-{left['version']}.safetensors")

    job.patch({"suspend": False})
    seen = job.until_succeeded()
    assert "checkpoint" not in seen
    assert condition_of(seen, "Suspended")["reason"] == "Resumed"
    assert seen["result"]["sha256"] == undisturbed
    log = kubectl(
        "logs", "-n", namespace, "-l", "sapflow.dev/job=digits,sapflow.dev/role=driver", "--tail=-1"
    )
    assert '"event": "resumed"' in log


def test_a_suspended_job_goes_on_with_another_number_of_workers(namespace: str) -> None:
    job = Job.apply(namespace, small(merge__structure=None))
    job.until_step(20)
    job.patch({"suspend": True})
    job.until_reason("Suspended")
    wait_until(lambda: not job.pods(), "a suspended job without pods", 90)
    stood = job.step

    job.patch({"workers": 3})
    job.patch({"suspend": False})
    seen = job.until_succeeded()
    assert seen["progress"]["structure"][-1] == 3
    assert seen["progress"]["step"] == seen["progress"]["steps"] > stood


def test_a_job_suspended_from_the_start_makes_nothing_until_it_is_resumed(namespace: str) -> None:
    job = Job.apply(namespace, small(suspend=True, algorithm={"steps": 3}))
    job.until_reason("Suspended")
    assert not job.pods()
    assert job.step == 0

    job.patch({"suspend": False})
    job.until_succeeded()


def test_an_edit_of_the_limits_takes_effect_and_an_immutable_field_is_refused_while_it_runs(
    namespace: str, undisturbed: str
) -> None:
    job = Job.apply(namespace, small())
    job.until_step(10)

    refused = run_kubectl(
        "patch", "tj", "-n", namespace, job.name, "--type=merge", "-p", '{"spec":{"workers":3}}'
    )
    assert refused.returncode != 0
    assert "can be changed only while the job is suspended" in refused.stderr
    job.patch({"limits": {"retries": 7}, "checkpoint": {"everySteps": 10}})

    seen = job.until_succeeded()
    assert seen["result"]["sha256"] == undisturbed
    spec = read("configmap", "-n", namespace, f"{job.name}-spec")["data"]["job.json"]
    assert '"retries": 7' in spec or '"retries":7' in spec


def test_a_job_deleted_while_the_operator_is_down_is_cleaned_up_when_it_is_back(namespace: str) -> None:
    job = Job.apply(namespace, small())
    job.until_step(5)

    kubectl("scale", "-n", SYSTEM, OPERATOR, "--replicas=0")
    try:
        wait_until(lambda: not _operators(), "no operator", 60)
        kubectl("delete", "tj", "-n", namespace, job.name, "--wait=false")
        assert "deletionTimestamp" in job.read()["metadata"]
    finally:
        kubectl("scale", "-n", SYSTEM, OPERATOR, "--replicas=1")

    wait_until(lambda: not _exists(job), "the end of the deleted job", 120)
    wait_until(lambda: not job.children(), "a namespace without its children", 90)


def test_an_operator_that_was_killed_finds_jobs_as_they_are(namespace: str) -> None:
    """Jobs that were made, suspended and finished while there was none."""
    running = Job.apply(namespace, small(algorithm={"steps": 40}), "running")
    stopped = Job.apply(namespace, small(algorithm={"steps": 400}), "stopped")
    running.until_step(3)
    stopped.until_step(3)

    kubectl("scale", "-n", SYSTEM, OPERATOR, "--replicas=0")
    try:
        wait_until(lambda: not _operators(), "no operator", 60)
        stopped.patch({"suspend": True})
        late = Job.apply(namespace, small(algorithm={"steps": 3}), "late")
        running.until_step(40)
    finally:
        kubectl("scale", "-n", SYSTEM, OPERATOR, "--replicas=1")

    running.until_succeeded()
    late.until_succeeded()
    stopped.until_reason("Suspended")
    wait_until(lambda: not stopped.pods(), "the suspended job's pods gone", 90)


def test_a_finished_job_goes_when_its_time_is_over_and_its_result_stays(namespace: str) -> None:
    job = Job.apply(namespace, small(algorithm={"steps": 3}, ttlSecondsAfterFinished=15))
    uid = job.read()["metadata"]["uid"]
    job.until_succeeded()

    wait_until(lambda: not _exists(job), "the end of the finished job", 60)

    kept = kubectl(
        "exec", "-n", SYSTEM, "sapflow-minio-0", "--", "sh", "-c", f"cd /data/sapflow/jobs/{uid} && ls -d */*"
    ).split()
    assert any(path.startswith("result/model.safetensors") for path in kept), kept
    assert not any(path.startswith(("work/", "data/")) for path in kept), kept


def test_two_jobs_of_one_name_in_two_namespaces_are_two_jobs(namespace: str, another_namespace: str) -> None:
    first = Job.apply(namespace, small(algorithm={"steps": 30}))
    second = Job.apply(another_namespace, small(algorithm={"steps": 30, "seed": 1}))

    one, two = first.until_succeeded(), second.until_succeeded()

    assert first.read()["metadata"]["uid"] in one["result"]["uri"]
    assert second.read()["metadata"]["uid"] in two["result"]["uri"]
    assert one["result"]["sha256"] != two["result"]["sha256"]
    first.delete()
    assert second.state == ("True", "Completed")
    assert second.children() != []


def test_pods_that_fit_on_no_node_are_said_in_functions_ready_and_the_job_can_be_deleted(
    namespace: str,
) -> None:
    job = Job.apply(namespace, small(memory={"worker": "900Gi", "merger": "128Mi"}))

    seen = job.until_reason("Unschedulable", "FunctionsReady", 120)

    message = condition_of(seen, "FunctionsReady")["message"]
    assert "nodes are available" in message
    assert "Insufficient memory" in message
    assert condition_of(seen, "Succeeded")["status"] == "Unknown"
    assert step_of(seen) == 0
    job.delete()
    wait_until(lambda: not job.children(), "a namespace without its children", 90)


def test_a_spec_that_only_the_data_can_refute_fails_with_its_field(namespace: str) -> None:
    job = Job.apply(namespace, small(model={"name": "mlp", "args": {"hidden": [0]}}))

    seen = job.until_finished()

    succeeded = condition_of(seen, "Succeeded")
    assert succeeded["status"] == "False"
    assert "spec.model.args" in succeeded["message"]
    assert any(
        event["type"] == "Warning" and event["reason"] == succeeded["reason"] for event in job.events()
    )


def _operators() -> list[dict[str, Any]]:
    return list(read("pods", "-n", SYSTEM, "-l", "app.kubernetes.io/component=operator")["items"])


def _exists(job: Job) -> bool:
    return run_kubectl("get", "tj", "-n", job.namespace, job.name).returncode == 0
