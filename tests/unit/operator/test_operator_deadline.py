"""A job's deadline in a cluster: what the driver is told, and what the operator does where the driver does nothing."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from helpers.manifests import variables_of
from test_operator_reconcile import NOW, World, pod

from sapflow.messages.vectors import Part, Sizes
from sapflow.objects import keys
from sapflow.objects.stores.credentials import Credentials
from sapflow.objects.stores.factory import open_store
from sapflow.records.commits import Commit
from sapflow_operator import active_time, times
from sapflow_operator.actions import Delete, KeepLastVersion
from sapflow_operator.driver_pod.settings import DriverSettings
from sapflow_operator.store import objects
from sapflow_operator.wanted import Place

LIMIT = 300
PLACE = Place("http://minio:9000", "sapflow", "us-east-1")


def at_work(**spec: Any) -> World:
    world = World(limits={"deadlineSeconds": LIMIT}, **spec)
    world.settle()
    world.functions("True")
    world.driver_runs()
    world.settle()
    return world


def told(world: World) -> datetime | None:
    """The deadline that the driver's pod is told of."""
    (container,) = world.objects["Job", "a-driver"]["spec"]["template"]["spec"]["containers"]
    known = {"SAPFLOW_STORE": "s", "SAPFLOW_TOKEN_FILE": "t", "KUBERNETES_SERVICE_HOST": "h"}
    return DriverSettings.from_environment({**variables_of(container), **known}).deadline


def later(world: World, seconds: float) -> None:
    world.now = NOW + timedelta(seconds=seconds)
    if ("Secret", "a-pool") in world.objects:
        world.issued(world.now + timedelta(hours=1))
    world.settle()


def test_a_driver_is_told_when_its_job_must_have_ended() -> None:
    world = at_work()
    assert told(world) == NOW + timedelta(seconds=LIMIT)
    assert world.status["activeSince"] == times.write(NOW)
    assert world.objects["Job", "a-driver"]["metadata"]["annotations"]
    plain = World()
    plain.settle()
    assert told(plain) is None


def test_the_time_of_a_suspension_does_not_count() -> None:
    world = at_work()
    world.spec["suspend"], world.generation = True, 2
    later(world, 100)
    assert (world.status["activeSeconds"], "activeSince" in world.status) == (100, False)
    later(world, 10_000)
    assert world.status["activeSeconds"] == 100
    world.spec["suspend"], world.generation, world.pods = False, 3, []
    later(world, 20_000)
    assert told(world) == NOW + timedelta(seconds=20_000 + LIMIT - 100)


def test_the_time_in_which_kueue_holds_the_driver_does_not_count() -> None:
    world = at_work()
    world.objects["Job", "a-driver"]["spec"]["suspend"] = True
    later(world, 100)
    later(world, 5000)
    assert world.status["activeSeconds"] == 100
    assert world.condition("Succeeded")["status"] == "Unknown"
    del world.objects["Job", "a-driver"]["spec"]["suspend"]
    later(world, 5100)
    assert active_time.ends(world.status, LIMIT) == NOW + timedelta(seconds=5100 + LIMIT - 100)


def test_a_driver_has_some_time_to_end_the_job_itself() -> None:
    world = at_work()
    later(world, LIMIT + active_time.GRACE_SECONDS - 1)
    assert world.reason() == ("Unknown", "Running")
    assert world.reconcile().again == 1.0


def test_a_driver_that_does_not_end_at_the_deadline_is_ended_and_then_the_job() -> None:
    world = at_work()
    world.now = NOW + timedelta(seconds=LIMIT + active_time.GRACE_SECONDS)
    first = world.reconcile()
    assert [*first.actions] == [Delete("Job", "a-driver")]
    assert world.reason() == ("Unknown", "Starting")
    assert not world.reconcile().actions, "its pod still ends"
    world.pods = []
    last = world.reconcile()
    assert [type(each) for each in last.actions] == [KeepLastVersion]
    assert world.reason() == ("False", "DeadlineExceeded")
    assert f"({LIMIT})" in world.condition("Succeeded")["message"]
    world.settle()
    assert not [key for key in world.objects if key[0] in ("Service", "Secret")]


def test_a_pod_that_never_ends_holds_the_job_for_a_bounded_time() -> None:
    world = at_work()
    world.now = NOW + timedelta(seconds=LIMIT + active_time.GRACE_SECONDS)
    world.reconcile()
    world.now = NOW + timedelta(seconds=LIMIT + 2 * active_time.GRACE_SECONDS)
    world.reconcile()
    assert world.reason() == ("False", "DeadlineExceeded")


def test_a_job_whose_driver_never_ran_ends_at_its_deadline_and_says_why() -> None:
    world = World(limits={"deadlineSeconds": LIMIT})
    world.settle()
    unscheduled = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/2 nodes",
    }
    world.pods = [pod("worker", conditions=[unscheduled])]
    later(world, 100)
    later(world, LIMIT + active_time.GRACE_SECONDS + 1)
    assert world.reason() == ("False", "DeadlineExceeded")
    assert "Unschedulable" in world.condition("Succeeded")["message"]


def test_what_the_driver_said_itself_counts() -> None:
    world = at_work()
    world.driver_ends(3, {"reason": "DeadlineExceeded", "message": "reached after step 4", "version": 4})
    later(world, LIMIT + 1000)
    assert world.condition("Succeeded")["message"] == "reached after step 4"


def test_a_job_of_an_earlier_release_counts_from_now_on() -> None:
    world = at_work()
    del world.status["activeSince"]
    later(world, 10_000)
    assert world.status["activeSince"] == times.write(world.now)


@pytest.mark.parametrize("versions", [0, 3])
def test_the_last_version_becomes_a_checkpoint_without_a_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, versions: int
) -> None:
    store, prefix = open_store(str(tmp_path)), keys.job("u1")
    for version in range(versions):
        made = Commit(
            version=version,
            id="x",
            previous="",
            plan="p",
            sizes=Sizes(parameters=1, averaged=0, block=1),
            slots=[],
            params=[Part(key=keys.params(prefix, version, "x", 0), start=0, stop=1)],
            optimizer=[],
        )
        store.create(keys.commit(prefix, version), made.encode())
    monkeypatch.setattr(objects, "open_store", lambda url, owner: open_store(str(tmp_path)))
    for _ in range(2):
        objects.keep_last_version(PLACE, Credentials("key", "secret"), "u1")
    found = [each.key for each in store.list(prefix) if "/checkpoints/" in each.key]
    assert found == ([keys.checkpoint(prefix, versions - 1)] if versions else [])
