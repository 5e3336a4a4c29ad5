"""When the operator reads the cluster's nodes to tell a job's driver how many functions they hold."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from helpers.manifests import variables_of
from helpers.memory_cluster import MemoryCluster
from test_operator_reconcile import SETTINGS, SPEC

from sapflow.kube.errors import ClusterError
from sapflow_operator import names, times
from sapflow_operator.controller import Controller
from sapflow_operator.kinds.training_job import TRAINING_JOB
from sapflow_operator.settings import Settings

Object = dict[str, Any]
NODE = {
    "metadata": {"name": "one"},
    "status": {
        "allocatable": {"cpu": "64", "memory": "10Gi", "pods": "110"},
        "conditions": [{"type": "Ready", "status": "True"}],
    },
}


class OneNode(MemoryCluster):
    """A cluster of jobs whose credentials are there, and whose functions are known to Knative as soon as applied."""

    def __init__(self, *jobs: str, refusal: int = 0) -> None:
        super().__init__()
        self.refusal = refusal
        self.reads = 0
        for number, name in enumerate(jobs):
            created = times.write(datetime(2026, 1, 1 + number, tzinfo=UTC))
            spec = SPEC | {"memory": {"worker": "1Gi", "merger": "256Mi"}}
            self.add_job(name, spec, creationTimestamp=created)
            renew = datetime.now(UTC) + timedelta(hours=1)
            notes = {names.CREDENTIALS_KIND: "session", names.CREDENTIALS_RENEW: renew.isoformat()}
            self.add("Secret", names.pool_secret(name), f"uid-{name}", metadata={"annotations": notes})

    async def each(self, kind: str, namespace: str | None, selector: str = "") -> AsyncIterator[Object]:
        if kind == "Node":
            self.reads += 1
            if self.refusal:
                raise ClusterError("no", self.refusal)
            yield NODE
            return
        async for found in super().each(kind, namespace, selector):
            yield found

    def told(self, job: str) -> str:
        """The instances that the job's driver plans for."""
        (container,) = self.objects["Job", names.driver(job)]["spec"]["template"]["spec"]["containers"]
        return variables_of(container)["SAPFLOW_MAX_INSTANCES"]


def reconciled(cluster: OneNode, *jobs: str, settings: Settings = SETTINGS) -> OneNode:
    """The cluster after some looks at each job."""

    async def reconciliations() -> None:
        controller = Controller(settings, cluster, TRAINING_JOB)
        for job in jobs * 4:
            assert await controller.reconcile("team", job) == "ok"
        await controller.stop()

    asyncio.run(reconciliations())
    return cluster


def test_nodes_are_read_once_when_a_driver_is_about_to_start() -> None:
    cluster = reconciled(OneNode("a"), "a")
    assert (cluster.told("a"), cluster.reads) == ("9", 1), "beside the driver and a merger"


def test_what_other_jobs_hold_is_no_room_and_what_ended_or_is_the_jobs_own_is() -> None:
    cluster = OneNode("a")
    asked = {"resources": {"requests": {"memory": "2Gi", "cpu": "100m"}}}
    for uid, phase in (
        ("uid-b", "Running"),
        ("uid-c", "Pending"),
        ("uid-d", "Succeeded"),
        ("uid-a", "Running"),
    ):
        labels = {names.JOB_LABEL: uid[-1], names.UID_LABEL: uid}
        cluster.add(
            "Pod", f"pod-{uid}", metadata={"labels": labels, "creationTimestamp": "2026-01-01T00:00:00Z"},
            spec={"nodeName": "one", "containers": [asked]}, status={"phase": phase},
        )  # fmt: skip
    assert reconciled(cluster, "a").told("a") == "5"


def test_nodes_are_not_read_where_the_chart_says_how_many() -> None:
    cluster = reconciled(OneNode("a"), "a", settings=SETTINGS.model_copy(update={"max_instances": 7}))
    assert (cluster.told("a"), cluster.reads) == ("7", 0)


def test_nodes_are_not_read_for_a_job_that_waits_for_admission() -> None:
    cluster = OneNode("a", "b")
    controller_settings = SETTINGS.model_copy(update={"max_running_jobs": 1})
    reconciled(cluster, "a", "b", settings=controller_settings)
    assert cluster.reads == 1
    assert ("Job", names.driver("b")) not in cluster.objects


@pytest.mark.parametrize("refusal", [403, 504])
def test_a_job_starts_also_where_nodes_cannot_be_read(refusal: int) -> None:
    cluster = reconciled(OneNode("a", refusal=refusal), "a")
    assert (cluster.told("a"), cluster.reads) == ("0", 1)
