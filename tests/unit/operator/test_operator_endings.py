"""How jobs end: what stays true of finished jobs, and what is left of deleted ones."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from helpers.memory_cluster import MemoryCluster
from test_operator_reconcile import NOW, SETTINGS, SPEC, World, pod

from sapflow.errors import CorruptObject, StoreUnavailable
from sapflow.kube.errors import ClusterUnavailable
from sapflow_operator import names, recorded_place, times
from sapflow_operator.actions import Delete, RemoveObjects, RevokeCredentials
from sapflow_operator.controller import Controller
from sapflow_operator.errors import CredentialsRefused, SecretUnusable
from sapflow_operator.kinds.training_job import TRAINING_JOB
from sapflow_operator.observed import JobObject, Observed
from sapflow_operator.reconcile import plan_deletion, troubled
from sapflow_operator.store import objects
from sapflow_operator.store.credentials import Issuer

AWAY = StoreUnavailable("http://minio:9000 does not answer")


def finished(code: int = 0) -> World:
    """A job whose driver has ended, and whose credentials are still there."""
    world = World()
    world.settle()
    world.functions("True")
    world.driver_runs()
    world.settle()
    world.driver_ends(code, {"reason": "NotFinite", "message": "step 4", "version": 3} if code else None)
    world.reconcile()
    return world


@pytest.mark.parametrize("code", [0, 3])
@pytest.mark.parametrize("error", [AWAY, ClusterUnavailable("no answer", 0), SecretUnusable("gone")])
def test_a_finished_job_stays_finished_whatever_its_clean_up_meets(code: int, error: Any) -> None:
    world = finished(code)
    before = world.status
    assert world.reason() == (("True", "Completed") if code == 0 else ("False", "NotFinite"))
    plan = troubled(TRAINING_JOB, world.job, error, world.now)
    assert (plan.status, plan.events) == (None, ())
    assert plan.again
    world.take(plan)
    world.settle()
    assert world.status == before
    assert not [key for key in world.objects if key[0] in ("Service", "Secret")]


def test_a_corrected_job_that_meets_an_outage_waits_for_its_end() -> None:
    world = World(limits={"invocationSeconds": 3600})
    world.settle()
    world.spec["limits"], world.generation = {"invocationSeconds": 60}, 2
    world.take(troubled(TRAINING_JOB, world.job, AWAY, world.now))
    assert world.reason() == ("Unknown", "StoreUnavailable")


def test_the_driver_of_a_job_that_the_operator_failed_is_ended_and_one_that_ended_stays_for_its_log() -> None:
    world = World(memory={"worker": "1Gi", "growOnOOM": True})
    world.settle()
    world.functions("True")
    world.driver_runs()
    world.take(troubled(TRAINING_JOB, world.job, CredentialsRefused("no"), world.now))
    assert world.reason() == ("False", "CredentialsRefused")
    first = world.reconcile().actions[0]
    assert first == Delete("Job", "a-driver"), "before the functions that it calls"
    assert ("Job", "a-driver") not in world.objects
    assert ("Job", "a-driver") in finished(3).objects


def test_credentials_that_have_ended_are_not_revoked() -> None:
    world = finished()
    notes = world.objects["Secret", "a-pool"]["metadata"]["annotations"]
    notes[names.CREDENTIALS_EXPIRE] = (NOW - timedelta(seconds=1)).isoformat()
    assert not [each for each in world.reconcile().actions if isinstance(each, RevokeCredentials)]
    assert ("Secret", "a-pool") not in world.objects


def deleted(world: World, seconds: float) -> JobObject:
    """The job, whose deletion was asked for so many seconds ago."""
    body = {
        "metadata": {
            "name": "a",
            "namespace": "team",
            "uid": "u1",
            "creationTimestamp": times.write(NOW),
            "deletionTimestamp": times.write(NOW - timedelta(seconds=seconds)),
        },
        "spec": world.spec,
        "status": world.status,
    }
    return JobObject.read(body)


def test_a_pod_that_does_not_end_holds_a_deletion_for_a_bounded_time() -> None:
    world = World()
    world.settle()
    world.pods = [pod("driver", phase="Running")]
    for seconds, done in ((0, False), (599, False), (600, True)):
        plan = plan_deletion(TRAINING_JOB, deleted(world, seconds), world.observed, NOW, SETTINGS)
        assert (plan.done, plan.late) == (done, done)


def test_a_job_whose_spec_no_longer_parses_is_cleaned_up_by_what_is_known_of_it() -> None:
    world = World()
    world.settle()
    world.spec |= {"a field that is gone": 1, "workers": "many"}
    plan = plan_deletion(TRAINING_JOB, deleted(world, 0), world.observed, NOW, SETTINGS)
    kinds = [type(each) for each in plan.actions]
    assert kinds == [Delete, Delete, Delete, RevokeCredentials, Delete, RemoveObjects]
    removal = plan.actions[-1]
    assert isinstance(removal, RemoveObjects)
    assert (removal.place.endpoint, removal.place.bucket) == ("http://minio:9000", "sapflow")


def test_what_was_recorded_of_the_store_counts_where_spec_or_chart_say_something_else() -> None:
    storage = {
        "endpoint": "http://theirs:9000",
        "bucket": "their-bucket",
        "secretName": "theirs",
        "deletionPolicy": "Delete",
    }
    world = World(storage=storage)
    world.settle()
    place, keep = recorded_place.read(world.observed, "a") or pytest.fail("no place is recorded")
    assert (place.url, place.secret_name, keep) == (
        "s3://their-bucket?endpoint=http%3A%2F%2Ftheirs%3A9000&region=us-east-1",
        "theirs",
        False,
    )
    world.spec = {"storage": {"endpoint": 7}}
    removal = plan_deletion(TRAINING_JOB, deleted(world, 0), world.observed, NOW, SETTINGS).actions[-1]
    assert removal == RemoveObjects("u1", place, False)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"endpoint": "x"}'])
def test_a_note_that_somebody_broke_is_no_note(text: str) -> None:
    config = {"kind": "ConfigMap", "metadata": {"name": "a-spec", "annotations": {names.STORE_PLACE: text}}}
    assert recorded_place.read(Observed.of([config], ()), "a") is None


class Away:
    """Ways to reach a store that is away."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: Exception = AWAY) -> None:
        def fail(*_: Any, **__: Any) -> Any:
            raise error

        monkeypatch.setattr(objects, "remove", fail)
        monkeypatch.setattr(objects, "read_outcome", fail)
        monkeypatch.setattr(Issuer, "revoke", fail)


def with_children(seconds: float = 0.0) -> MemoryCluster:
    """A job that was planned, and whose deletion was asked for so many seconds ago."""
    cluster = MemoryCluster()
    deletion = datetime.now(UTC) - timedelta(seconds=seconds)
    cluster.add_job("a", SPEC, deletionTimestamp=times.write(deletion))
    renew = datetime.now(UTC) + timedelta(hours=1)
    notes = {names.CREDENTIALS_KIND: "session", names.CREDENTIALS_RENEW: renew.isoformat()}
    cluster.add("Secret", "a-pool", "uid-a", metadata={"annotations": notes})
    labels = {names.JOB_LABEL: "a"}
    cluster.add(
        "Job", "a-driver", "uid-a", metadata={"labels": labels},
        status={"conditions": [{"type": "Complete", "status": "True"}]},
    )  # fmt: skip
    return cluster


def finalize(cluster: MemoryCluster) -> bool:
    async def scenario() -> bool:
        controller = Controller(SETTINGS, cluster, TRAINING_JOB)
        try:
            return await controller.finalize("team", "a")
        finally:
            await controller.stop()

    return asyncio.run(scenario())


@pytest.mark.parametrize("error", [AWAY, CorruptObject("outcome.json is not JSON")])
def test_a_deletion_waits_for_a_store_that_is_away_and_then_says_what_is_left_and_goes(
    monkeypatch: pytest.MonkeyPatch, error: Any
) -> None:
    Away(monkeypatch, error)
    waiting = with_children(seconds=30)
    with pytest.raises(type(error)):
        finalize(waiting)
    assert waiting.events == []

    late = with_children(seconds=SETTINGS.deletion_seconds + 1)
    assert finalize(late)
    told = dict(late.events)
    assert set(told) == {"CredentialsNotRevoked", "ObjectsLeft"}
    assert "s3://sapflow/jobs/uid-a/ at http://minio:9000" in told["ObjectsLeft"]
    assert str(error) in told["ObjectsLeft"]
    assert "http://minio:9000" in told["CredentialsNotRevoked"]
    assert ("Secret", "a-pool") not in late.objects


def test_a_store_whose_credentials_the_operator_lost_is_named_too(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = with_children()
    config = cluster.add("ConfigMap", "a-spec", "uid-a")
    body = {
        "endpoint": "http://before:9000", "bucket": "earlier", "region": "us-east-1", "secretName": None,
        "shareCredentials": False, "keepResult": True,
    }  # fmt: skip
    config["metadata"]["annotations"] = {names.STORE_PLACE: json.dumps(body)}
    assert finalize(cluster)
    told = dict(cluster.events)
    assert "s3://earlier/jobs/uid-a/ at http://before:9000" in told["ObjectsLeft"]
    assert "objectStorage was changed" in told["ObjectsLeft"]


class Renewing(World):
    """A job at work whose credentials are due for renewal in a cluster that a controller looks at."""

    def cluster(self, expires: datetime) -> MemoryCluster:
        cluster = MemoryCluster()
        cluster.add_job("a", SPEC)
        past = datetime.now(UTC) - timedelta(minutes=1)
        notes = {
            names.CREDENTIALS_KIND: "session",
            names.CREDENTIALS_RENEW: past.isoformat(),
            names.CREDENTIALS_EXPIRE: expires.isoformat(),
        }
        cluster.add("Secret", "a-pool", "uid-a", metadata={"annotations": notes})
        return cluster


def looks(cluster: MemoryCluster, times: int = 3) -> list[str]:
    async def scenario() -> list[str]:
        controller = Controller(SETTINGS, cluster, TRAINING_JOB)
        outcomes = [await controller.reconcile("team", "a") for _ in range(times)]
        await controller.stop()
        return outcomes

    return asyncio.run(scenario())


@pytest.mark.parametrize(
    "error", [AWAY, CredentialsRefused("AssumeRole: AccessDenied"), SecretUnusable("gone")]
)
def test_while_credentials_live_a_failed_renewal_only_warns_once(
    monkeypatch: pytest.MonkeyPatch, error: Any
) -> None:
    def fail(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(Issuer, "issue", fail)
    cluster = Renewing().cluster(datetime.now(UTC) + timedelta(minutes=20))
    assert looks(cluster) == ["ok"] * 3
    assert cluster.condition("a")[:2] == ("Unknown", "Starting")
    assert cluster.condition("a", "Planned")[0] == "True"
    warned = [message for reason, message in cluster.events if reason == "CredentialsNotRenewed"]
    assert len(warned) == 1
    assert str(error) in warned[0]
    assert ("Job", "a-driver") in cluster.objects, "the rest of the job goes on"

    ended = Renewing().cluster(datetime.now(UTC) - timedelta(seconds=1))
    assert looks(ended, 1) == [error.reason]


def test_an_annotation_that_is_no_time_makes_credentials_due() -> None:
    notes = {names.CREDENTIALS_RENEW: "soon", names.CREDENTIALS_EXPIRE: "later"}
    secret = {"kind": "Secret", "metadata": {"name": "a-pool", "annotations": notes}}
    pool = Observed.of([secret], ()).pool("a")
    assert pool is not None
    assert pool.renew is not None
    assert pool.renew < NOW
