"""A job that begins at a version of another one of its namespace: what it waits for, and what it may read."""

import asyncio
import json
import re
from typing import Any

import pytest
from helpers.jobs import Place as JobPlace
from helpers.jobs import Simulation, document, make_place, tiny_job
from helpers.memory_cluster import MemoryCluster
from helpers.operator_settings import SETTINGS

from sapflow.objects import keys
from sapflow.objects.stores.credentials import Credentials
from sapflow.objects.stores.factory import open_store
from sapflow.records.rank_states import RankStates
from sapflow_operator import names
from sapflow_operator.controller import Controller
from sapflow_operator.kinds.training_job import TRAINING_JOB
from sapflow_operator.origin import objects_of
from sapflow_operator.store import credentials, origin, shared_data
from sapflow_operator.store.policy import session_policy

STORAGE = {"endpoint": "http://minio:9000", "bucket": "sapflow", "secretName": "s"}
DONE = {"conditions": [{"type": "Succeeded", "status": "True", "reason": "Completed"}]}


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> JobPlace:
    place = make_place(
        tmp_path_factory.mktemp("parent"), tiny_job(algorithm_steps=4, checkpoint={"everySteps": 2})
    )
    Simulation(place).run()
    return place


class World:
    """A cluster with a finished job, and what its operator asks the store for."""

    def __init__(
        self, parent: JobPlace, monkeypatch: pytest.MonkeyPatch, version: int, **storage: Any
    ) -> None:
        self.cluster = MemoryCluster()
        spec = {**document(algorithm_steps=4)["spec"], "storage": STORAGE}
        self.cluster.add_job("parent", spec, uid=parent.uid)["status"] = DONE
        self.cluster.add("Secret", "s", data={"access-key": "a2V5", "secret-key": "c2VjcmV0"})
        fork = {**spec, "from": {"job": "parent", "version": version}, **storage}
        self.cluster.add_job("fork", fork, uid="uid-fork")
        self.granted: list[list[str]] = []
        for module in (origin, shared_data):
            monkeypatch.setattr(module, "open_store", lambda url, owner: open_store(str(parent.path)))
        monkeypatch.setattr(credentials.Issuer, "issue", self._issue)

    def _issue(self, uid: str, *given: Any) -> credentials.Issued:
        self.granted.append(list(given[-2]))
        return credentials.Issued("shared", Credentials("key", "secret"))

    def reconcile(self) -> tuple[str, str, str]:
        asyncio.run(Controller(SETTINGS, self.cluster, TRAINING_JOB).reconcile("team", "fork"))
        return self.cluster.condition("fork")

    @property
    def told(self) -> dict[str, Any]:
        config = self.cluster.objects["ConfigMap", names.spec_config_map("fork")]
        return dict(json.loads(config["data"][names.JOB_KEY]))


def test_the_version_is_looked_up_once_and_its_objects_alone_may_be_read(
    parent: JobPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(parent, monkeypatch, 2)
    world.reconcile()
    prefix, commit = keys.job(parent.uid), parent.commit(2)
    expected = [
        *(f"{prefix}{name}" for name in ("spec.json", "commits/0.json", "commits/2.json")),
        keys.plan(prefix, commit.plan),
        f"{prefix}*/2-{commit.id}.*",
    ]
    assert world.granted == [expected]
    assert world.told["parent"] == parent.uid
    # From now on the other job may go.
    del world.cluster.objects[names.KIND, "parent"]
    world.cluster.objects.pop(("Secret", names.pool_secret("fork")))
    world.reconcile()
    assert world.granted[1] == expected
    policy = session_policy(
        "sapflow", "u" * 36, "s3://data/train", ["s3://data/weights"], "s3://data/held", expected
    )
    assert len(json.dumps(policy, separators=(",", ":"))) <= 2048


def test_a_job_that_is_not_there_or_has_not_finished_is_waited_for(
    parent: JobPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(parent, monkeypatch, 2)
    other = world.cluster.objects.pop((names.KIND, "parent"))
    assert world.reconcile()[0] == "Unknown"
    status, reason, message = world.cluster.condition("fork", "Planned")
    assert (status, reason) == ("False", "OriginUnusable")
    assert "spec.from.job: there is no TrainingJob parent in namespace team" in message
    world.cluster.objects[names.KIND, "parent"] = {**other, "status": {}}
    world.reconcile()
    assert "parent has not finished" in world.cluster.condition("fork", "Planned")[2]
    assert not world.granted
    world.cluster.objects[names.KIND, "parent"] = other
    world.reconcile()
    assert world.cluster.condition("fork", "Planned")[0] == "True"


@pytest.mark.parametrize(
    ("version", "storage", "said"),
    [
        (3, {}, "spec.from.version: the job .* does not keep version 3 any more: name its last, 4"),
        (9, {}, "spec.from.version: the job .* has no version 9: its last is 4"),
        (
            2,
            {"storage": {**STORAGE, "bucket": "other"}},
            "spec.from.job: parent is in another store",
        ),
    ],
)
def test_what_waiting_would_not_help_fails_the_job_by_field_and_remedy(
    parent: JobPlace, monkeypatch: pytest.MonkeyPatch, version: int, storage: dict[str, Any], said: str
) -> None:
    world = World(parent, monkeypatch, version, **storage)
    status, reason, message = world.reconcile()
    assert (status, reason) == ("False", "InvalidSpec")
    assert re.search(said, message), message
    assert not world.granted


def test_states_of_ranks_are_named_by_step_and_frozen_parameters_by_their_key(parent: JobPlace) -> None:
    prefix, commit = keys.job(parent.uid), parent.commit(2)
    frozen = commit.params[0].model_copy(update={"key": keys.frozen(prefix, "x")})
    states = [RankStates(version=2, id="i", ranks=[(0, 3)]), RankStates(version=1, id="h", ranks=[(3, 4)])]
    found = objects_of(
        parent.uid, prefix, commit.model_copy(update={"params": [*commit.params, frozen], "states": states})
    )
    assert {"params/0-x.frozen", "state/2-i/*", "state/1-h/*"} <= set(found)
