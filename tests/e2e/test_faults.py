"""Parts of a running job are killed, one at a time and all in one run: it ends with the same weights."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from helpers.embedded import embedded_pod
from helpers.kube import (
    ONE_CPU,
    SYSTEM,
    Job,
    kill_pods,
    namespace_of_its_own,
    run_kubectl,
    sample,
)

STEPS = 1000
"""A step takes 30 ms, and a look at a job, or a blow at it, up to seconds on a busy machine."""
DIGITS: dict[str, Any] = sample(
    "digits",
    workers=4,
    merge__structure=[1, 2, 4],
    algorithm={"steps": STEPS, "seed": 0},
    evaluation={"everySteps": 250},
    cpu=ONE_CPU,
    memory={"worker": "512Mi", "merger": "128Mi"},
)
Strike = Callable[[Job], Any]
FAULTS: dict[str, Strike] = {
    "worker": lambda job: job.kill("worker"),
    "merger": lambda job: job.kill("merger"),
    "driver": lambda job: job.kill("driver"),
    "operator": lambda job: kill_pods(SYSTEM, "app.kubernetes.io/component=operator"),
    "minio": lambda job: kill_pods(SYSTEM, "app.kubernetes.io/component=minio"),
    "gateway": lambda job: kill_pods("kourier-system", "app=3scale-kourier-gateway"),
}


@pytest.fixture(scope="module")
def undisturbed() -> Iterator[dict[str, Any]]:
    """The status of a job that nothing befell."""
    with namespace_of_its_own() as namespace:
        yield Job.apply(namespace, DIGITS).until_succeeded()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_job_that_loses_a_part_ends_with_the_weights_of_one_that_loses_none(
    namespace: str, undisturbed: dict[str, Any], fault: str
) -> None:
    job = Job.apply(namespace, DIGITS)
    job.until_step(30)

    FAULTS[fault](job)
    assert job.step < STEPS, "the job was over before it lost anything"

    seen = job.until_succeeded()
    assert seen["progress"]["step"] == STEPS
    assert seen["result"]["sha256"] == undisturbed["result"]["sha256"]


def test_a_job_that_loses_every_part_in_one_run_ends_with_the_same_weights(
    namespace: str, undisturbed: dict[str, Any]
) -> None:
    job = Job.apply(namespace, DIGITS)
    for number, strike in enumerate(FAULTS.values(), 1):
        job.until_step(50 * number)
        strike(job)
        assert job.step < STEPS, "the job was over before it had lost everything"

    seen = job.until_succeeded()

    assert seen["progress"]["step"] == STEPS
    assert seen["result"]["sha256"] == undisturbed["result"]["sha256"]


def test_the_embedded_runtime_inside_the_worker_image_trains_the_same_weights(
    namespace: str, undisturbed: dict[str, Any]
) -> None:
    out = embedded_pod(namespace, undisturbed["images"]["worker"], DIGITS)

    assert json.loads(out)["sha256"] == undisturbed["result"]["sha256"]


def test_a_job_whose_store_forgets_everything_fails_with_words(namespace: str) -> None:
    """Not a fault to be mended: what a user sees when the bucket is emptied under a job.

    A driver that lives may go on, because its functions hold all that the next step needs. The next one must not begin
    anew in silence.
    """
    steps = 3 * STEPS
    job = Job.apply(
        namespace, {**DIGITS, "spec": DIGITS["spec"] | {"algorithm": {"steps": steps, "seed": 0}}}
    )
    job.until_step(5)
    uid = job.read()["metadata"]["uid"]

    run_kubectl("exec", "-n", SYSTEM, "sapflow-minio-0", "--", "rm", "-rf", f"/data/sapflow/jobs/{uid}")
    job.kill("driver")
    assert job.step < steps, "the job was over before its store forgot anything"

    seen = job.until_finished()
    succeeded = next(each for each in seen["conditions"] if each["type"] == "Succeeded")
    assert succeeded["status"] == "False"
    assert f"jobs/{uid}" in succeeded["message"]
