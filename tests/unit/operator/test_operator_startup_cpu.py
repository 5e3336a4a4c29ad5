"""Where CPU follows strictly from memory, functions have a whole CPU until they are ready, and no longer."""

import asyncio
from typing import Any

import pytest
from helpers.operator_settings import SETTINGS

from sapflow.kube.errors import ClusterError
from sapflow.spec.document import parse
from sapflow_operator import names, startup_cpu
from sapflow_operator.actions import LimitCpu
from sapflow_operator.api.cluster import Cluster
from sapflow_operator.controller import Controller
from sapflow_operator.kinds.training_job import TRAINING_JOB
from sapflow_operator.kinds.training_pool import TrainingPool
from sapflow_operator.observed import JobObject, Observed
from sapflow_operator.settings import Settings
from sapflow_operator.wanted import Place

RESIZES = SETTINGS.model_copy(update={"resizes": True})
BY_MEMORY = {"policy": "ByMemory"}


def pool(settings: Settings = RESIZES, **spec: Any) -> TrainingPool:
    base = {"model": {"name": "mlp"}, "data": {"source": "sklearn:digits"}, "workers": 2}
    document = {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": "a"},
        "spec": base | spec,
    }
    place = Place("http://minio:9000", "sapflow", "us-east-1")
    return TrainingPool("a", "team", "u1", place, settings, parse(document, "kubernetes"))


def pod(
    name: str,
    role: str = "worker",
    cpu: str = "1",
    memory: str = "512Mi",
    ready: str = "True",
    **metadata: Any,
) -> dict[str, Any]:
    limits = {"cpu": cpu, "memory": memory}
    container = {"name": "user-container", "resources": {"limits": limits}}
    return {
        "metadata": {"name": name, "labels": names.labels("a", role), **metadata},
        "spec": {"containers": [{"name": "queue-proxy"}, container]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]},
    }


def limits(of: TrainingPool, *pods: dict[str, Any]) -> dict[str, str]:
    """The new limits of pods, by name."""
    actions = startup_cpu.lowered(of, Observed.of((), pods))
    return {each.pod: each.limit for each in actions if isinstance(each, LimitCpu)}


def test_a_ready_function_gets_what_comes_with_its_own_memory() -> None:
    older = pod("of-an-older-revision", memory="1Gi")
    merger = pod("m", "merger", memory="256Mi")
    found = limits(pool(cpu=BY_MEMORY), pod("w"), older, merger)
    assert found == {"w": "290m", "of-an-older-revision": "579m", "m": "145m"}


def test_one_that_starts_has_been_lowered_or_is_ending_is_left_alone() -> None:
    starting = pod("starting", ready="False")
    ending = pod("ending", deletionTimestamp="2026-05-01T12:00:00Z")
    lowered = pod("lowered", cpu="290m")
    assert limits(pool(cpu=BY_MEMORY), starting, ending, lowered) == {}


def test_named_limits_and_those_of_a_whole_cpu_stay() -> None:
    named = pool(cpu=BY_MEMORY | {"worker": "1"})
    assert limits(named, pod("w"), pod("m", "merger", memory="256Mi")) == {"m": "145m"}
    assert limits(pool(), pod("w")) == {}
    assert limits(pool(cpu=BY_MEMORY), pod("w", cpu="2", memory="3538Mi")) == {}


def test_a_search_for_memory_implies_the_policy() -> None:
    assert limits(pool(memory={"worker": "512Mi", "optimize": {}}), pod("w")) == {"w": "290m"}


def test_where_pods_cannot_be_resized_nothing_is_tried() -> None:
    assert limits(pool(SETTINGS, cpu=BY_MEMORY), pod("w")) == {}


class OnePod(Cluster):
    """A cluster that resizes pods in place or refuses to."""

    def __init__(self, refusal: ClusterError | None = None) -> None:
        super().__init__()
        self.refusal = refusal
        self.limited: list[tuple[str, str, str, str]] = []

    async def resizes(self) -> bool:
        return True

    async def list(self, kind: str, namespace: str | None, selector: str = "") -> list[dict[str, Any]]:
        return []

    async def limit_cpu(self, namespace: str, pod: str, container: str, limit: str) -> None:
        self.limited.append((namespace, pod, container, limit))
        if self.refusal is not None:
            raise self.refusal


@pytest.mark.parametrize("refusal", [None, ClusterError("you may not", 403)])
def test_the_controller_asks_whether_pods_can_be_resized_and_a_refusal_stops_no_job(
    refusal: ClusterError | None,
) -> None:
    async def scenario() -> tuple[bool, list[tuple[str, str, str, str]]]:
        cluster = OnePod(refusal)
        controller = Controller(SETTINGS, cluster, TRAINING_JOB)
        await controller.start()
        metadata = {
            "name": "a",
            "namespace": "team",
            "uid": "u1",
            "creationTimestamp": "2026-05-01T12:00:00Z",
        }
        await controller._do(JobObject.read({"metadata": metadata}), LimitCpu("w", "290m"))
        return controller._settings.resizes, cluster.limited

    assert asyncio.run(scenario()) == (True, [("team", "w", "user-container", "290m")])
