"""Which pods are a job's own: an earlier job may have had its name."""

from copy import deepcopy
from datetime import timedelta
from typing import Any

from test_operator_reconcile import NOW, World, killed

from sapflow_operator import names, times
from sapflow_operator.actions import Apply
from sapflow_operator.observed import pods_of


def seen(uid: str | None = None, made: int = -60, service: str = "", owner: str = "") -> dict[str, Any]:
    """A worker's pod that was killed for memory, made so many seconds after the job."""
    found = killed("worker", "512Mi")
    metadata = found["metadata"]
    metadata["creationTimestamp"] = times.write(NOW + timedelta(seconds=made))
    metadata["labels"] |= {names.UID_LABEL: uid} if uid else {}
    metadata["labels"] |= {names.KNATIVE_SERVICE_UID: service} if service else {}
    metadata["ownerReferences"] = [{"uid": owner}] if owner else []
    return found


def test_pods_of_an_earlier_job_of_the_same_name_do_not_count() -> None:
    job = World().job
    standing = [{"metadata": {"uid": "s1"}}, {"metadata": {"uid": "j1"}}]
    mine = [seen("u1"), seen(service="s1"), seen(owner="j1"), seen(made=1)]
    others = [seen("u0", made=1), seen(service="s0"), seen(owner="j0"), seen()]
    assert pods_of(job, [*mine, *others], standing) == mine


def test_a_pod_of_another_kind_does_not_count() -> None:
    found = seen("u1")
    found["metadata"]["labels"][names.KIND_LABEL] = "Other"
    assert pods_of(World().job, [found], ()) == []


def test_a_worker_of_an_earlier_job_that_was_killed_for_memory_makes_no_job_grow() -> None:
    world = World(memory={"worker": "512Mi", "growOnOOM": True})
    world.pods = [dict(each) for each in pods_of(world.job, [seen("u0"), seen(service="s0")], ())]
    world.settle()
    assert "memory" not in world.status


def test_every_child_and_every_pod_carries_the_jobs_uid() -> None:
    world = World()
    for action in world.reconcile().actions:
        if isinstance(action, Apply):
            assert action.manifest["metadata"]["labels"][names.UID_LABEL] == "u1"
    for kind, name in (("Service", "a-worker"), ("Job", "a-driver")):
        world.settle()
        template = world.objects[kind, name]["spec"]["template"]
        assert template["metadata"]["labels"][names.UID_LABEL] == "u1"


def test_a_running_job_of_an_earlier_release_keeps_its_labels_and_so_its_revision() -> None:
    world = World()
    world.settle()
    world.functions("True")
    world.driver_runs()
    world.settle()
    for found in world.objects.values():
        found["metadata"].get("labels", {}).pop(names.UID_LABEL, None)
        template = found.get("spec", {}).get("template", {})
        template.get("metadata", {}).get("labels", {}).pop(names.UID_LABEL, None)
    before = deepcopy(world.objects)
    assert world.reconcile().actions == ()
    world.objects["Service", "a-worker"]["spec"]["template"]["spec"]["timeoutSeconds"] = 1
    world.reconcile()
    assert world.objects["Service", "a-worker"]["spec"] == before["Service", "a-worker"]["spec"]
