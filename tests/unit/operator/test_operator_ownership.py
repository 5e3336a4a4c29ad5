"""The operator makes and removes what is its own, and leaves everything else as it is."""

import asyncio
from copy import deepcopy
from typing import Any

import pytest
from helpers.memory_cluster import MemoryCluster
from test_operator_reconcile import SETTINGS, SPEC

from sapflow_operator import names
from sapflow_operator.api import children
from sapflow_operator.controller import Controller
from sapflow_operator.errors import EarlierObjects, NotOwned
from sapflow_operator.kinds.training_job import TRAINING_JOB
from sapflow_operator.observed import JobObject

EARLIER = names.owner(names.TRAINING_JOB, "a", "an-earlier-uid")


def a_job() -> tuple[MemoryCluster, JobObject]:
    cluster = MemoryCluster()
    return cluster, JobObject.read(cluster.add_job("a", SPEC))


def manifest(name: str = "a-pool", **data: str) -> dict[str, Any]:
    owners = [names.owner(names.TRAINING_JOB, "a", "uid-a")]
    metadata = {"name": name, "namespace": "team", "ownerReferences": owners}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}


def reconciled(cluster: MemoryCluster) -> str:
    async def scenario() -> str:
        controller = Controller(SETTINGS, cluster, TRAINING_JOB)
        outcome = await controller.reconcile("team", "a")
        await controller.stop()
        return outcome

    return asyncio.run(scenario())


def test_a_child_is_created_and_then_changed() -> None:
    cluster, job = a_job()

    async def work() -> None:
        await children.put(cluster, job, manifest(x="1"))
        uid = cluster.objects["Secret", "a-pool"]["metadata"]["uid"]
        await children.put(cluster, job, manifest(x="2"), uid)
        # Nothing was known of it, as after a lost answer.
        await children.put(cluster, job, manifest(x="3"))
        assert cluster.objects["Secret", "a-pool"]["metadata"]["uid"] == uid
        del cluster.objects["Secret", "a-pool"]
        await children.put(cluster, job, manifest(x="4"), uid)

    asyncio.run(work())
    assert cluster.objects["Secret", "a-pool"]["data"] == {"x": "4"}


@pytest.mark.parametrize("uid", [None, "the-uid-that-it-had"])
@pytest.mark.parametrize(("owners", "error"), [([], NotOwned), ([EARLIER], EarlierObjects)])
def test_an_object_of_somebody_else_is_left_alone(
    owners: Any, error: type[Exception], uid: str | None
) -> None:
    cluster, job = a_job()
    before = deepcopy(
        cluster.add("Secret", "a-pool", data={"mine": "x"}, metadata={"ownerReferences": owners})
    )
    with pytest.raises(error, match="Secret a-pool"):
        asyncio.run(children.put(cluster, job, manifest(), uid))
    assert cluster.objects["Secret", "a-pool"] == before


def test_nothing_is_made_for_a_job_where_somebody_elses_object_has_a_childs_name() -> None:
    cluster, _ = a_job()
    cluster.add("ConfigMap", "a-spec", data={"mine": "x"})
    assert reconciled(cluster) == "NotOwned"
    assert cluster.kinds() == {"ConfigMap"}
    status, reason, message = cluster.condition("a")
    assert (status, reason) == ("Unknown", "NotOwned")
    assert "ConfigMap a-spec" in message
    assert cluster.condition("a", "Planned")[:2] == ("False", "NotOwned")


def test_a_job_waits_for_objects_of_an_earlier_one_without_a_word_of_trouble() -> None:
    cluster, _ = a_job()
    cluster.add("Role", "a-driver", metadata={"ownerReferences": [EARLIER]})
    assert reconciled(cluster) == "Starting"
    assert cluster.condition("a")[1] == "Starting"
    assert "Role a-driver of an earlier TrainingJob" in cluster.condition("a")[2]
    assert cluster.condition("a", "Planned")[0] == ""


def test_an_object_that_took_a_childs_place_is_not_deleted_for_it() -> None:
    cluster, _ = a_job()
    cluster.add("Secret", "a-pool", metadata={"uid": "theirs"})
    asyncio.run(cluster.delete("Secret", "team", "a-pool", "ours"))
    assert ("Secret", "a-pool") in cluster.objects
