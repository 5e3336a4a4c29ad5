"""A ModelService follows the jobs that it serves, and what their spec.serve asks for."""

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.memory_cluster import MemoryCluster
from helpers.served import model_file
from helpers.services import GOLDEN_ROWS_FAILED, SETTINGS, pod

from sapflow.errors import StoreUnavailable
from sapflow.objects import safetensor
from sapflow.objects.stores.credentials import Credentials
from sapflow.objects.stores.factory import open_store
from sapflow_operator import names
from sapflow_operator.controller import Controller
from sapflow_operator.kinds.training_job import TRAINING_JOB
from sapflow_operator.kinds.tuning_job import TUNING_JOB
from sapflow_operator.serving.controller import ServiceController
from sapflow_operator.store import credentials, model_header

SERVICE = names.MODEL_SERVICE.kind
JOB = {"model": {"name": "mlp"}, "data": {"source": "sklearn:digits"}, "workers": 2}
DONE = [{"type": "Succeeded", "status": "True", "reason": "Completed"}]
ABOUT = {"inputs": [4], "outputs": 3, "task": "classification", "classes": 3}


class World:
    """A namespace with jobs and services, and a store of models."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cluster, self.store = MemoryCluster(), open_store(str(folder))
        self.away = False
        self.granted: list[list[str]] = []
        monkeypatch.setattr(model_header, "open_store", self._open)
        monkeypatch.setattr(credentials.Issuer, "issue_reading", self._issue)
        monkeypatch.setattr(credentials.Issuer, "revoke", lambda *given: None)

    def _open(self, url: str, owner: Credentials) -> Any:
        if self.away:
            raise StoreUnavailable("the store does not answer")
        return self.store

    def _issue(self, uid: str, readable: Any, seconds: int) -> credentials.Issued:
        self.granted.append(list(readable))
        return credentials.Issued("shared", Credentials("key", "secret"))

    def job(self, uid: str = "j1", *, name: str = "flights", **spec: Any) -> dict[str, Any]:
        """A job that has ended with a model."""
        key = f"jobs/{uid}/result/model.safetensors"
        self.store.create(key, model_file({"hidden": [8]}, ABOUT))
        found = self.cluster.add_job(name, JOB | spec, uid=uid)
        found["status"] = {
            "conditions": DONE,
            "startTime": "2026-01-01T00:00:00Z",
            "result": {"uri": f"s3://sapflow/{key}", "sha256": uid[-1] * 64},
        }
        return found

    def service(self, **spec: Any) -> dict[str, Any]:
        known = {"uid": "u1", "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z"}
        return self.cluster.add(
            SERVICE, "late", spec={"model": {"job": "flights"}, **spec}, status={}, metadata=known
        )

    def look(self, times: int = 1) -> None:
        async def run() -> None:
            controller = ServiceController(SETTINGS, self.cluster)
            for _ in range(times):
                await controller.reconcile("team", "late")
            await controller.stop()

        asyncio.run(run())

    def ready(self, revision: str) -> None:
        """Knative has found the revision ready."""
        found = self.cluster.objects["Service", "late-serve"]
        found["metadata"]["generation"] = 1
        found["status"] = {
            "observedGeneration": 1,
            "latestReadyRevisionName": revision,
            "latestCreatedRevisionName": revision,
            "conditions": [{"type": "RoutesReady", "status": "True"}],
        }

    def serve(self) -> str:
        self.look()
        revision = self.revision
        for _ in range(2):
            self.ready(revision)
            self.look()
        return revision

    @property
    def revision(self) -> str:
        return str(self.cluster.objects["Service", "late-serve"]["spec"]["template"]["metadata"]["name"])

    @property
    def traffic(self) -> list[tuple[str, int]]:
        found = self.cluster.objects["Service", "late-serve"]["spec"]["traffic"]
        return [(each["revisionName"], each["percent"]) for each in found]

    @property
    def status(self) -> dict[str, Any]:
        return dict(self.cluster.objects[SERVICE, "late"]["status"])

    @property
    def state(self) -> tuple[str, str, str]:
        found = next(each for each in self.status["conditions"] if each["type"] == "Ready")
        return found["status"], found["reason"], found["message"]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def test_a_service_of_a_job_serves_its_model(world: World) -> None:
    world.job()
    world.service()
    revision = world.serve()
    assert world.state[:2] == ("True", "Serving")
    assert world.traffic == [(revision, 100)]
    assert world.granted == [["jobs/j1/result/*"]]
    assert world.status["model"]["torch"] is False


def test_a_job_that_has_not_ended_is_waited_for(world: World) -> None:
    world.service()
    world.look()
    assert world.state[:2] == ("Unknown", "ModelNotReady")
    world.job()["status"].pop("result")
    world.look()
    assert "no model yet" in world.state[2]
    assert ("Service", "late-serve") not in world.cluster.objects


def test_a_service_outlives_its_job_and_takes_the_next_ones_model(world: World) -> None:
    world.job()
    world.service()
    first = world.serve()
    del world.cluster.objects[names.KIND, "flights"]
    world.look()
    assert (world.state[1], world.traffic) == ("Serving", [(first, 100)])
    world.job("j2")
    second = world.serve()
    assert second != first
    assert world.traffic == [(second, 100)]
    assert set(world.granted[-1]) == {"jobs/j1/result/*", "jobs/j2/result/*"}


def test_a_store_that_is_away_keeps_what_serves(world: World) -> None:
    world.job()
    world.service()
    first = world.serve()
    world.away = True
    world.job("j2")
    world.look()
    assert (world.state[1], world.traffic) == ("Serving", [(first, 100)])
    world.away = False
    assert world.serve() != first


def test_a_model_whose_golden_rows_fail_never_serves(world: World) -> None:
    world.job()
    world.service()
    first = world.serve()
    world.job("j2")
    world.look()
    failing = pod(world.revision, ready=False, ended=GOLDEN_ROWS_FAILED)
    labels = {**failing["metadata"]["labels"], names.JOB_LABEL: "late", names.KIND_LABEL: SERVICE}
    failing["metadata"] |= {"namespace": "team", "labels": labels}
    world.cluster.objects["Pod", "p1"] = failing
    world.ready(first)
    world.look(2)
    assert world.traffic == [(first, 100)]
    assert world.state[:2] == ("False", "GoldenRowsFailed")
    assert [reason for reason, _ in world.cluster.events].count("GoldenRowsFailed") == 1


def own_model(world: World) -> str:
    """A file that says that code of the user's own builds it; its URI."""
    about = {"model": {"entrypoint": "own_model:build"}}
    header = safetensor.encode_header({"w": (np.dtype("float32"), (1,))}, {"sapflow": json.dumps(about)})
    world.store.create("own/model.safetensors", [header, bytes(4)])
    return "s3://sapflow/own/model.safetensors"


def test_code_of_a_users_own_needs_consent_and_runs_in_the_users_image(world: World) -> None:
    model = {"uri": own_model(world), "sha256": "c" * 64}
    world.service(model=model)
    world.look()
    assert world.state[:2] == ("False", "InvalidSpec")
    assert "own_model:build" in world.state[2]
    world.service(model=model | {"entrypoint": "own_model:build", "image": "team/own:1"})
    world.look()
    container = world.cluster.objects["Service", "late-serve"]["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "team/own:1"
    assert world.granted == [["own/*"]]


def test_a_file_of_a_jobs_folder_is_served_by_the_jobs_name_alone(world: World) -> None:
    world.job()
    uri = "s3://sapflow/jobs/j1/result/model.safetensors"
    world.service(model={"uri": uri, "sha256": "1" * 64})
    world.look()
    assert world.state[:2] == ("False", "InvalidSpec")
    assert "name the job as model.job" in world.state[2]
    assert world.granted == []


def test_a_token_of_the_users_own_must_be_there(world: World) -> None:
    world.job()
    world.service(auth={"mode": "Bearer", "secretName": "mine"})
    world.look()
    assert world.state[:2] == ("False", "SecretUnusable")
    world.cluster.add("Secret", "mine", data={"token": "dA=="})
    world.look()
    assert ("Service", "late-serve") in world.cluster.objects
    assert ("Secret", "late-serve-token") not in world.cluster.objects


def test_the_token_is_made_once(world: World) -> None:
    world.job()
    world.service()
    world.look()
    token = world.cluster.objects["Secret", "late-serve-token"]["data"]["token"]
    world.look(2)
    assert world.cluster.objects["Secret", "late-serve-token"]["data"]["token"] == token


def test_a_service_that_is_deleted_says_what_it_leaves(world: World) -> None:
    world.job()
    world.service()
    world.serve()

    async def finalize() -> bool:
        controller = ServiceController(SETTINGS, world.cluster)
        done = await controller.finalize("team", "late")
        await controller.stop()
        return done

    assert asyncio.run(finalize())
    assert not {("Service", "late-serve"), ("Secret", "late-serve-pool")} & set(world.cluster.objects)
    reason, message = world.cluster.events[-1]
    assert reason == "Deleted"
    assert "the model stays: s3://sapflow/jobs/j1/result/model.safetensors" in message


def test_services_of_a_job_are_looked_at_when_its_result_changes(world: World) -> None:
    async def touched() -> list[tuple[str, str]]:
        services = ServiceController(SETTINGS, world.cluster)
        found: list[tuple[str, str]] = []
        services.touch = lambda namespace, name: found.append((namespace, name))  # type: ignore[method-assign]
        services.seen(world.service())
        jobs = Controller(SETTINGS, world.cluster, TRAINING_JOB, changed_result=services.source_changed)
        job = world.job()
        jobs.seen(job)
        jobs.seen(job)
        jobs.seen(world.job("j3", name="other"))
        return found

    assert asyncio.run(touched()) == [("team", "late")]


def reconcile_job(world: World, name: str = "flights", times: int = 2) -> None:
    async def run() -> None:
        controller = Controller(SETTINGS, world.cluster, TRAINING_JOB)
        for _ in range(times):
            await controller.reconcile("team", name)
        await controller.stop()

    asyncio.run(run())


def test_spec_serve_makes_a_service_without_an_owner(world: World) -> None:
    serve = {"name": "late", "scale": {"max": 3}, "decision": {"thresholds": {"late": 0.3}}}
    world.job(serve=serve)
    reconcile_job(world)
    made = world.cluster.objects[SERVICE, "late"]
    assert made["spec"] == {
        "model": {"job": "flights"},
        "scale": {"max": 3},
        "decision": {"thresholds": {"late": 0.3}},
    }
    assert "ownerReferences" not in made["metadata"]
    assert world.cluster.objects[names.KIND, "flights"]["status"]["serving"]["name"] == "late"


def test_a_service_that_somebody_deletes_stays_deleted_until_spec_serve_changes(world: World) -> None:
    job = world.job(serve={})
    reconcile_job(world)
    del world.cluster.objects[SERVICE, "flights"]
    reconcile_job(world)
    assert (SERVICE, "flights") not in world.cluster.objects
    job["spec"]["serve"] = {"scale": {"max": 2}}
    reconcile_job(world)
    assert (SERVICE, "flights") in world.cluster.objects


def test_the_next_job_of_a_name_updates_the_service_of_the_one_before(world: World) -> None:
    world.job(serve={"scale": {"max": 2}})
    reconcile_job(world)
    world.job("j2", serve={"scale": {"max": 5}})
    reconcile_job(world)
    assert world.cluster.objects[SERVICE, "flights"]["spec"]["scale"] == {"max": 5}


def test_a_service_that_the_job_has_not_made_stays_as_it_is(world: World) -> None:
    before = world.service()
    world.job(serve={"name": "late", "scale": {"max": 2}})
    reconcile_job(world)
    assert world.cluster.objects[SERVICE, "late"] == before
    assert [reason for reason, _ in world.cluster.events] == ["NotOwned"]


def test_a_search_serves_its_best_trial(world: World) -> None:
    spec = {
        "template": {"spec": {**JOB, "storage": {"endpoint": "http://minio:9000", "bucket": "sapflow"}}},
        "serve": {},
    }
    known = {"uid": "s1", "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z"}
    found = world.cluster.add(names.TUNING_JOB.kind, "search", spec=spec, status={}, metadata=known)
    found["status"] = {
        "conditions": DONE,
        "result": {"uri": "s3://sapflow/jobs/s1/result/model.safetensors", "sha256": "1" * 64},
    }

    async def run() -> None:
        controller = Controller(SETTINGS, world.cluster, TUNING_JOB)
        await controller.reconcile("team", "search")
        await controller.stop()

    asyncio.run(run())
    made = world.cluster.objects[SERVICE, "search"]["spec"]
    assert made["model"] == {"tuning": "search"}
    assert made["storage"]["bucket"] == "sapflow"
