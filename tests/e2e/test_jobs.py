"""Jobs on a real cluster: from `kubectl apply` to a result, and what is left of a deleted one."""

from typing import Any

import pytest
from helpers.kube import Job, owned_store, read, sample, wait_until
from helpers.manifests import variables_of

from sapflow.objects import keys


def test_digits_trains_to_its_accuracy_and_its_functions_go_to_zero(namespace: str) -> None:
    job = Job.apply(namespace, sample("digits"))

    seen = job.until_succeeded()

    assert seen["progress"]["validationAccuracy"] >= 0.96
    assert seen["progress"]["step"] == seen["progress"]["steps"]
    assert seen["result"]["uri"].startswith("s3://")
    wait_until(lambda: not job.pods("worker") + job.pods("merger"), "no functions")
    reasons = [event["reason"] for event in job.events()]
    assert {"Planned", "Running", "Completed"} <= set(reasons), reasons


@pytest.mark.timeout(500)
def test_a_deleted_job_leaves_nothing_in_its_namespace(namespace: str) -> None:
    job = Job.apply(namespace, sample("digits"))
    job.until_step(5)

    job.delete()

    # Half a minute, as a rule. A pod that is told to end in the very second in which its containers start does not hear
    # it, and goes when its grace period of 315 s is over.
    wait_until(lambda: not job.children(), "a namespace without the job's children", 360)


def test_a_job_that_names_no_merge_tree_is_planned_by_its_driver(namespace: str) -> None:
    job = Job.apply(namespace, sample("digits", merge=None))

    seen = job.until_succeeded()

    progress = seen["progress"]
    assert (progress["structure"][0], progress["structure"][-1]) == (1, 8)
    assert progress["shards"] >= 1
    assert progress["forecastSeconds"] > 0
    assert progress["forecastCostUSD"] > 0
    # Of warm steps alone; what came has cold starts in it.
    assert progress["forecastSecondsError"] < 1
    assert progress["forecastCostError"] < 3
    (driver,) = read("jobs", "-n", namespace)["items"]
    (container,) = driver["spec"]["template"]["spec"]["containers"]
    # The driver and a merger need room, too, and so do pods of other jobs that are still there.
    told = int(variables_of(container)["SAPFLOW_MAX_INSTANCES"])
    assert 0 < told < sum(map(_room, read("nodes")["items"]))


def _room(node: dict[str, Any]) -> int:
    """Workers of 512 MiB that a node of the kit holds, by whatever is scarce: memory, CPU (a tenth of 290m, with 25m of
    the sidecar's) or pods."""
    free = node["status"]["allocatable"]
    kib, cores, pods = int(free["memory"].removesuffix("Ki")), int(free["cpu"]), int(free["pods"])
    return min(kib // (512 * 1024), 1000 * cores // (29 + 25), pods)


@pytest.mark.parametrize(
    ("limit", "value", "reason", "words"),
    [
        ("budgetUSD", 0.00003, "BudgetExceeded", "spec.limits.budgetUSD (3e-05) is spent after step"),
        ("deadlineSeconds", 40, "DeadlineExceeded", "spec.limits.deadlineSeconds (40) is reached after step"),
    ],
)
def test_a_job_that_reaches_a_limit_stops_with_a_checkpoint_and_says_so(
    namespace: str, limit: str, value: float, reason: str, words: str
) -> None:
    job = Job.apply(namespace, sample("digits", limits={limit: value}, algorithm={"epochs": 1000}))

    seen = job.until_finished()

    assert job.state == ("False", reason)
    assert words in job.condition("Succeeded")["message"]
    if limit == "budgetUSD":
        assert 0.00003 <= seen["progress"]["costUSD"] < 0.0002
    with owned_store() as store:
        assert store.exists(
            keys.checkpoint(keys.job(job.read()["metadata"]["uid"]), seen["progress"]["step"])
        )
