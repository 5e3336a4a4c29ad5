"""A node is drained under a running job. Needs two nodes: `tests/cluster/cluster up --nodes 2`."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from helpers.drained_node import drain, nodes_of, spare_node
from helpers.kube import ONE_CPU, Job, kubectl, run_kubectl, sample, wait_until

STEPS = 1000
"""Enough to outlast the drain of a node, which waits for the pods on it."""
DIGITS: dict[str, Any] = sample(
    "digits",
    workers=6,
    merge__structure=[1, 2, 6],
    algorithm={"steps": STEPS, "seed": 0},
    evaluation={"everySteps": 50},
    cpu=ONE_CPU,
    memory={"worker": "512Mi", "merger": "128Mi"},
)


@pytest.fixture
def drained() -> Iterator[str]:
    with spare_node() as spare:
        yield spare


def test_a_node_drained_under_a_job_costs_it_nothing(namespace: str, drained: str) -> None:
    undisturbed = Job.apply(namespace, DIGITS, "undisturbed")
    sha256 = undisturbed.until_succeeded()["result"]["sha256"]
    job = Job.apply(namespace, DIGITS)
    job.until_step(20)
    ours = f"sapflow.dev/job={job.name}"
    assert drained in nodes_of(namespace, ours), "no pod of the job was on the node"

    drain(drained)
    assert job.step < STEPS

    seen = job.until_succeeded()
    assert seen["progress"]["step"] == STEPS
    assert seen["result"]["sha256"] == sha256
    wait_until(lambda: drained not in nodes_of(namespace, ours), "a node without the job's pods", 60)


def test_a_driver_whose_node_is_drained_goes_on_elsewhere(namespace: str, drained: str) -> None:
    """Its eviction is no crash: it counts against no limit of restarts."""
    job = Job.apply(namespace, DIGITS)
    job.until_step(20)
    (home,) = nodes_of(namespace, f"sapflow.dev/job={job.name},sapflow.dev/role=driver")
    kubectl("cordon", home)
    try:
        (pod,) = [each["metadata"]["name"] for each in job.pods("driver")]
        metadata = {"name": pod, "namespace": namespace}
        eviction = json.dumps({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata})
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction"
        done = run_kubectl("create", "--raw", path, "-f", "-", text=eviction)
        assert done.returncode == 0, done.stderr
        seen = job.until_succeeded()
    finally:
        kubectl("uncordon", home)

    assert seen["progress"]["step"] == STEPS
    assert nodes_of(namespace, f"sapflow.dev/job={job.name},sapflow.dev/role=driver") - {home}
