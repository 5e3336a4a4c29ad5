"""Jobs in cells of two nodes. Needs volumes in the nodes' memory: `tests/cluster/cluster up --nodes 2` brings both."""

import itertools
import json
import statistics
from collections.abc import Iterator
from typing import Any

import pytest
from helpers import minio_metrics
from helpers.drained_node import drain, spare_node
from helpers.kube import (
    ONE_CPU,
    Job,
    condition_of,
    owned_store,
    read,
    run_kubectl,
    sample,
    wait_until,
)
from helpers.volumes import free_volumes

from sapflow.objects import keys
from sapflow.planning import placement
from sapflow.spec.document import parse
from sapflow.spec.labels import CELL

STEPS = 40
PLACED: dict[str, Any] = {
    "affinity": [
        {"from": "Worker", "to": "Merger", "weight": 100},
        {"from": "Merger", "to": "Root", "weight": 50},
    ],
    "placement": {"storageClassName": "memory", "size": "256Mi"},
}
WIDE: dict[str, Any] = sample(
    "digits",
    model={"name": "mlp", "args": {"hidden": [1000, 1000]}},
    workers=6,
    merge={"structure": [1, 2, 6], "shards": 1},
    algorithm={"steps": STEPS, "seed": 0},
    evaluation={"everySteps": STEPS},
    cpu=ONE_CPU,
    memory={"worker": "512Mi", "merger": "256Mi"},
)
"""A million parameters: 4.3 MB a contribution."""
LONG_STEPS = 2000
"""Enough to outlast the drain of a node."""
LONG: dict[str, Any] = sample(
    "digits",
    workers=6,
    merge__structure=[1, 2, 6],
    algorithm={"steps": LONG_STEPS, "seed": 0},
    evaluation={"everySteps": 100},
    cpu=ONE_CPU,
    memory={"worker": "512Mi", "merger": "128Mi"},
)


@pytest.fixture(autouse=True)
def _volumes() -> None:
    nodes = {each["metadata"]["name"] for each in read("nodes")["items"]}
    if len(nodes) < 2 or free_volumes("memory") < 4:
        pytest.skip("the cluster has one node, or no volumes in memory")


def placed(document: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**document, "spec": {**document["spec"], **PLACED, **more}}


def nodes_of_cells(seen: dict[str, Any]) -> dict[int, str]:
    return {each["cell"]: each["node"] for each in seen["placement"].get("nodes", ())}


def metrics(job: Job) -> list[dict[str, Any]]:
    """A line a version."""
    uid = job.read()["metadata"]["uid"]
    with owned_store() as store:
        text = bytes(store.read(keys.result(keys.job(uid), "metrics.jsonl"))).decode()
    return [json.loads(line) for line in text.splitlines()]


def seconds_per_step(lines: list[dict[str, Any]]) -> float:
    ends = [line["account"]["seconds"] for line in lines]
    return float(statistics.median(b - a for a, b in itertools.pairwise(ends[5:])))


def test_a_placed_job_runs_where_it_is_planned_through_fewer_bytes_to_the_same_weights(
    namespace: str, capsys: pytest.CaptureFixture[str]
) -> None:
    at_first = minio_metrics.traffic()
    plain = Job.apply(namespace, WIDE, "plain")
    sha256 = plain.until_succeeded()["result"]["sha256"]
    plain_bytes = minio_metrics.traffic() - at_first
    wait_until(lambda: not plain.pods("worker"), "no pods of the first job")

    before = minio_metrics.traffic()
    job = Job.apply(namespace, placed(WIDE), "cells")
    job.until_step(5)
    where: dict[str, set[str]] = {}
    for pod in job.pods("worker") + job.pods("merger"):
        where.setdefault(pod["metadata"]["labels"][CELL], set()).add(pod["spec"].get("nodeName", ""))
    seen = job.until_succeeded()
    through = minio_metrics.traffic() - before

    # As planned: two cells of three workers, each on a node of its own.
    assert seen["placement"]["cells"] == 2
    assert all(len(nodes - {""}) == 1 for nodes in where.values()), where
    assert len(set(nodes_of_cells(seen).values())) == 2
    assert {cell: {node} for cell, node in nodes_of_cells(seen).items()} == {
        int(cell): nodes - {""} for cell, nodes in where.items()
    }

    assert seen["result"]["sha256"] == sha256

    # As predicted: a step by the functions' account; their fall by the store's own, in which both jobs have the same
    # data, probe, records and result besides.
    lines = metrics(job)
    packed = placement.of(parse(placed(WIDE, placement={"cells": 2}), "kubernetes"))
    assert packed is not None
    vector = 4 * (64 * 1000 + 1000 + 1000 * 1000 + 1000 + 1000 * 10 + 10)
    predicted = packed.traffic(vector, vector, vector)
    assert lines[20]["storeWritten"] == pytest.approx(predicted.written, rel=0.01)
    assert lines[20]["storeRead"] == pytest.approx(predicted.read, rel=0.05)
    assert set(lines[20]["nodes"].values()) == set(nodes_of_cells(seen).values())
    without = placement.traffic_unplaced((1, 2, 6), 1, vector, vector, vector)
    fall = plain_bytes - through
    assert fall.received == pytest.approx(STEPS * (without.written - predicted.written), rel=0.1)
    assert fall.sent > 0.9 * STEPS * (without.read - predicted.read), (
        "more where more instances read parameters"
    )

    ours, theirs = seconds_per_step(lines), seconds_per_step(metrics(plain))
    with capsys.disabled():
        print(
            f"\nbytes through the store, sent and received: {plain_bytes.sent:,.0f} and {plain_bytes.received:,.0f} "
            f"not placed, {through.sent:,.0f} and {through.received:,.0f} placed, of which the steps' are "
            f"{STEPS * predicted.read:,} and {STEPS * predicted.written:,}\nseconds a step: {theirs:.3f} not placed, "
            f"{ours:.3f} placed: {ours / theirs:.2f} ×"
        )


@pytest.fixture
def drained() -> Iterator[str]:
    with spare_node() as spare:
        yield spare


def test_a_drained_nodes_cell_moves_and_nothing_is_lost(namespace: str, drained: str) -> None:
    undisturbed = Job.apply(namespace, LONG, "undisturbed")
    sha256 = undisturbed.until_succeeded()["result"]["sha256"]
    wait_until(lambda: not undisturbed.pods("worker"), "no pods of the first job")

    job = Job.apply(namespace, placed(LONG))
    job.until(
        lambda seen: drained in nodes_of_cells(seen).values() if "placement" in seen else False, drained
    )
    job.until_step(20)
    drain(drained)
    assert job.step < LONG_STEPS

    seen = job.until_succeeded()
    assert seen["result"]["sha256"] == sha256
    assert drained not in nodes_of_cells(seen).values()
    assert "CellMoved" in {event["reason"] for event in job.events()}
    claims = read("persistentvolumeclaims", "-n", namespace)["items"]
    wait_until(
        lambda: not read("persistentvolumeclaims", "-n", namespace)["items"], f"no claims: {claims}", 90
    )


def test_the_sample_is_suspended_and_resumed_in_cells_made_anew(namespace: str) -> None:
    job = Job.apply(namespace, sample("cells", cpu=ONE_CPU, placement__storageClassName="memory"))
    job.until_step(10)
    job.patch({"suspend": True})
    job.until_reason("Suspended", "Suspended")
    wait_until(lambda: not read("persistentvolumeclaims", "-n", namespace)["items"], "no claims", 90)
    assert free_volumes("memory") >= 4
    job.patch({"suspend": False})
    seen = job.until_succeeded()
    assert seen["result"]["validationAccuracy"] > 0.9


def test_a_job_too_large_for_the_nodes_is_refused_with_the_remedy(namespace: str) -> None:
    document = placed(LONG, memory={"worker": "512Mi", "merger": "128Mi"})
    document["spec"]["placement"] = {**document["spec"]["placement"], "memoryPerCell": "1Gi"}
    job = Job.apply(namespace, document)
    seen = job.until_finished(60)
    assert condition_of(seen, "Succeeded")["reason"] == "InvalidSpec"
    said = condition_of(seen, "Succeeded")["message"]
    assert "no way was found to fit them into 2 cells of 1Gi" in said
    assert "raise placement.cells or placement.workersPerCell, placement.memoryPerCell" in said
    assert run_kubectl("delete", "tj", "-n", namespace, job.name).returncode == 0
