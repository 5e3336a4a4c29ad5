"""Jobs that end although something else does not: a store, a step, an earlier job; and other people's things."""

import json

from helpers.cluster_jobs import OPERATOR, small
from helpers.kube import (
    SYSTEM,
    Job,
    condition_of,
    kubectl,
    read,
    run_kubectl,
    wait_until,
)


def test_a_users_secret_of_the_pools_name_stays_as_it_is_and_the_job_says_so(namespace: str) -> None:
    kubectl("create", "secret", "generic", "digits-pool", "-n", namespace, "--from-literal=mine=precious")
    before = read("secret", "-n", namespace, "digits-pool")
    job = Job.apply(namespace, small(algorithm={"steps": 3}))

    seen = job.until_reason("NotOwned")
    assert condition_of(seen, "Planned")["reason"] == "NotOwned"
    assert not job.pods()
    job.delete()
    assert read("secret", "-n", namespace, "digits-pool") == before

    job = Job.apply(namespace, small(algorithm={"steps": 3}))
    job.until_reason("NotOwned")
    kubectl("delete", "secret", "-n", namespace, "digits-pool")
    job.until_succeeded()


def test_a_job_that_is_deleted_and_made_anew_at_once_waits_for_what_is_left_of_the_first(
    namespace: str,
) -> None:
    document = small(algorithm={"steps": 20})
    first = Job.apply(namespace, document)
    first.until_step(3)
    uid = first.read()["metadata"]["uid"]
    kubectl("delete", "tj", "-n", namespace, first.name)

    second = Job.apply(namespace, document)
    seen = second.until_succeeded()

    mine = second.read()["metadata"]["uid"]
    assert mine != uid
    assert mine in seen["result"]["uri"]
    for pod in second.pods():
        if "deletionTimestamp" not in pod["metadata"]:
            assert pod["metadata"]["labels"]["sapflow.dev/uid"] == mine


def test_a_job_whose_functions_never_start_ends_at_its_deadline(namespace: str) -> None:
    job = Job.apply(
        namespace, small(memory={"worker": "900Gi", "merger": "128Mi"}, limits={"deadlineSeconds": 20})
    )
    seen = job.until_finished()
    assert condition_of(seen, "Succeeded")["reason"] == "DeadlineExceeded"
    wait_until(
        lambda: not [each for each in job.pods() if each["status"]["phase"] in ("Pending", "Running")],
        "the end of the pods of a job at its deadline",
        120,
    )


def test_a_step_that_does_not_end_ends_at_the_deadline_with_a_checkpoint(namespace: str) -> None:
    job = Job.apply(namespace, small(algorithm={"steps": 100_000}, limits={"deadlineSeconds": 60}))
    job.until_step(3)
    # From now on functions can be called, and never answer.
    for pod in job.pods("worker"):
        name = pod["metadata"]["name"]
        run_kubectl(
            "exec",
            "-n",
            namespace,
            name,
            "-c",
            "user-container",
            "--",
            "sh",
            "-c",
            "kill -STOP 1",
            seconds=30,
        )
    seen = job.until_finished()
    succeeded = condition_of(seen, "Succeeded")
    assert succeeded["reason"] == "DeadlineExceeded"
    assert "checkpoint" in succeeded["message"]


def test_a_broken_job_holds_no_place_in_the_queue(namespace: str) -> None:
    storage = {
        "endpoint": "http://sapflow-minio.sapflow-system:9000",
        "bucket": "sapflow",
        "secretName": "absent",
    }
    broken = [Job.apply(namespace, small(storage=storage), f"broken-{number}") for number in range(11)]
    for each in broken:
        each.until_reason("SecretUnusable")
    Job.apply(namespace, small(algorithm={"steps": 3}), "sound").until_succeeded()


def test_a_deleted_job_whose_store_is_gone_goes_after_a_while_and_so_does_its_namespace(
    namespace: str,
) -> None:
    """The Secret is there, and the store that it belongs to is not."""
    kubectl("set", "env", "-n", SYSTEM, OPERATOR, "SAPFLOW_DELETION_SECONDS=20")
    try:
        kubectl("rollout", "status", "-n", SYSTEM, OPERATOR)
        kubectl(
            "create", "secret", "generic", "gone", "-n", namespace,
            "--from-literal=access-key=a", "--from-literal=secret-key=b",
        )  # fmt: skip
        storage = {"endpoint": "http://gone.invalid:9000", "bucket": "sapflow", "secretName": "gone"}
        job = Job.apply(namespace, small(storage=storage))
        job.until_reason("StoreUnavailable")
        kubectl("delete", "tj", "-n", namespace, job.name, "--wait=false")
        wait_until(
            lambda: run_kubectl("get", "tj", "-n", namespace, job.name).returncode != 0,
            "the end of a deleted job without its store",
            240,
        )
        told = json.loads(kubectl("get", "events", "-n", namespace, "-o", "json"))["items"]
        left = [each["message"] for each in told if each["reason"] == "ObjectsLeft"]
        assert any("http://gone.invalid:9000" in message for message in left), told
    finally:
        kubectl("set", "env", "-n", SYSTEM, OPERATOR, "SAPFLOW_DELETION_SECONDS-")
        kubectl("rollout", "status", "-n", SYSTEM, OPERATOR)
