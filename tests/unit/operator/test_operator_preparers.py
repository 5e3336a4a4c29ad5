"""A job that prepares raw data has functions of a third role, and says what they do."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.operator_settings import SETTINGS
from helpers.searches import search_job
from test_operator_reconcile import World, killed

from sapflow.planning import placement
from sapflow.planning.extent import Extent
from sapflow.quantities.roles import Role
from sapflow.records.commits import Account
from sapflow.runtimes.cells import CellSender
from sapflow.runtimes.sender import Reply
from sapflow.spec.document import parse
from sapflow.steps.observer import PreparedSoFar
from sapflow_operator import names, resources
from sapflow_operator.driver_pod.progress import ProgressReporter
from sapflow_operator.driver_pod.reports import StatusApi
from sapflow_operator.kinds.training_pool import TrainingPool
from sapflow_operator.kinds.training_status import training_status
from sapflow_operator.kinds.tuning_pool import TuningPool
from sapflow_operator.wanted import Group, place_of

PREPARE = {"target": "late", "steps": [{"impute": {"columns": ["delay"], "strategy": "Mean"}}]}
DATA = {"source": "s3://sapflow/flights/", "format": "csv", "prepare": PREPARE}
GRADED = {
    "seconds": 12.5,
    "secondsRange": [8.0, 20.0],
    "secondsError": 0.25,
    "secondsWithin": True,
    "costUSD": 0.002,
    "costRange": [0.001, 0.003],
    "costError": -0.5,
    "costWithin": False,
    "measuredSeconds": 10.0,
    "measuredUSD": 0.004,
}


def pool(**spec: Any) -> TrainingPool:
    storage = {"endpoint": "http://minio:9000", "bucket": "sapflow", "secretName": "s"}
    base = {"model": {"name": "mlp"}, "data": DATA, "workers": 6, "storage": storage}
    document = {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": "flights"},
        "spec": base | spec,
    }
    job = parse(document, "kubernetes")
    return TrainingPool("flights", "team", "u1", place_of(job.spec.storage, SETTINGS), SETTINGS, job)


def service(of: TrainingPool) -> dict[str, Any]:
    (found,) = [each for each in resources.functions(of) if each["metadata"]["name"] == "flights-preparer"]
    return found


def test_preparers_scale_from_zero_to_as_many_as_there_are_workers() -> None:
    of = pool()
    assert of.groups[-1] == Group("preparer", None, 6)
    annotations = service(of)["spec"]["template"]["metadata"]["annotations"]
    assert annotations["autoscaling.knative.dev/max-scale"] == "6"
    assert annotations["autoscaling.knative.dev/min-scale"] == "0"


@pytest.mark.parametrize("most", [9, 40])
def test_the_preparers_of_a_search_are_as_many_as_the_calls_that_it_may_make_at_once(most: int) -> None:
    parameters = [{"path": "spec.optimizer.learningRate", "float": {"min": 0.01, "max": 1.0}}]
    tuning = search_job(
        template={"spec": pool().job.to_json()["spec"]}, parameters=parameters, maxTrials=4, maxWorkers=most
    )
    assert tuning.template.spec.workers == 6
    assert TuningPool.instances_of(tuning)["preparer"] == most


def test_preparers_have_the_memory_and_the_cpu_that_the_job_names_for_them() -> None:
    (container,) = service(pool())["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["memory"] == "512Mi"
    of = pool(memory={"preparer": "1Gi"}, cpu={"preparer": "2"})
    (container,) = service(of)["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"] == {"cpu": "2", "memory": "1Gi"}
    assert container["image"] == SETTINGS.preparer_image.name


def test_preparers_are_called_and_kept_in_as_the_other_functions_are() -> None:
    policy = next(each for each in resources.foundations(pool()) if each["kind"] == "NetworkPolicy")
    (expression,) = policy["spec"]["podSelector"]["matchExpressions"]
    assert "preparer" in expression["values"]


def test_a_users_image_is_that_of_workers_alone() -> None:
    of = pool(model={"entrypoint": "own:model", "image": "registry.example/own:1"})
    (container,) = service(of)["spec"]["template"]["spec"]["containers"]
    assert container["image"] == SETTINGS.preparer_image.name


def test_a_job_without_preparation_has_none() -> None:
    of = pool(data={"source": "s3://sapflow/flights/", "format": "csv"})
    assert {group.role for group in of.groups} == {"worker", "merger"}
    assert "preparer" not in of.settings.images(of.roles)


def test_the_preparers_of_a_placed_job_are_in_no_cell() -> None:
    affinity = [{"from": "Worker", "to": "Merger", "weight": 100}]
    of = pool(affinity=affinity, placement={"cells": 2}, workers=8, merge={"structure": [1, 2, 8]})
    of = replace(of, packed=placement.of(of.job))
    assert of.groups[-1] == Group("preparer", None, 8)
    assert "flights-preparer" in {each["metadata"]["name"] for each in resources.functions(of)}


def test_the_reason_of_a_job_is_preparing_until_its_data_is_prepared() -> None:
    running = World.at_work()
    stage = "parsing, and learning impute"
    running.status["progress"] = {"preparation": {"stage": stage, "partitions": 12, "partitionsDone": 3}}
    running.settle()
    assert running.reason() == ("Unknown", "Preparing")
    assert stage in running.condition("Succeeded")["message"]
    running.status["progress"] = {"preparation": {"rows": 9}, "step": 1}
    running.settle()
    assert running.reason() == ("Unknown", "Running")


def test_a_preparer_that_is_killed_for_memory_is_named_with_its_own_field() -> None:
    world = World(data=DATA)
    world.settle()
    world.driver_runs()
    world.pods.append(killed("preparer", "512Mi"))
    world.settle()
    assert world.reason("FunctionsReady") == ("False", "OutOfMemory")
    message = world.condition("FunctionsReady")["message"]
    assert "a preparer was killed over its memory limit of 512Mi" in message
    assert "raise spec.memory.preparer, or set spec.memory.growOnOOM" in message


def test_with_grow_on_oom_preparers_are_given_more_and_workers_are_not() -> None:
    world = World(data=DATA, memory={"worker": "512Mi", "growOnOOM": True})
    world.settle()
    world.driver_runs()
    world.pods.append(killed("preparer", "512Mi"))
    world.driver_ends(3, {"reason": "OutOfMemory", "message": "the preparation failed", "version": -1})
    world.settle()
    assert world.status["memory"] == {"worker": "512Mi", "merger": "256Mi", "preparer": "768Mi"}
    container = world.objects["Service", "a-preparer"]["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"]["limits"]["memory"] == "768Mi"
    assert world.condition("Succeeded")["status"] == "Unknown"
    assert world.events.count("MemoryGrown") == 1


def test_a_driver_reports_how_far_a_preparation_is_and_what_it_came_to(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a-token\n")
    job = pool().job
    api = StatusApi(
        "http://127.0.0.1", tmp_path, resource=names.TRAINING_JOB, namespace="n", name="a", uid="u"
    )
    reporter = ProgressReporter(job, api)
    assert "preparation" not in reporter.fields()
    reporter.prepared(PreparedSoFar("parsing", 3, 12, 9_000, 2, Account(cost_usd=0.25)))
    assert reporter.fields()["costUSD"] == 0.25
    reporter.preparation_forecast(GRADED)
    found = reporter.fields()["preparation"]
    assert found == {
        "forecastSeconds": 12.5,
        "forecastSecondsRange": [8.0, 20.0],
        "forecastSecondsError": 0.25,
        "forecastSecondsWithin": True,
        "forecastCostUSD": 0.002,
        "forecastCostRange": [0.001, 0.003],
        "forecastCostError": -0.5,
        "forecastCostWithin": False,
        "stage": "parsing",
        "partitions": 12,
        "partitionsDone": 3,
        "rows": 9_000,
        "rejectedRows": 2,
    }
    allowed = training_status()["properties"]["progress"]["properties"]["preparation"]["properties"]
    assert found.keys() <= allowed.keys()
    reporter.begin(Extent.of(job, 1_000))
    found = reporter.fields()["preparation"]
    assert (found["rows"], found["rejectedRows"]) == (9_000, 2)
    assert "stage" not in found
    assert found["forecastSecondsError"] == 0.25


def test_calls_of_preparers_go_to_functions_outside_of_the_cells() -> None:
    class Named:
        def __init__(self, name: str) -> None:
            self.name, self.closed = name, False

        async def invoke(self, role: Role, request: Any, *, seconds: float) -> Reply:
            return Reply({"by": self.name}, 0.0, cold_seconds=0.0, queue_seconds=0.0)

        async def close(self) -> None:
            self.closed = True

    async def run() -> None:
        cells, outside = [Named("cell 0"), Named("cell 1")], Named("outside")
        sender = CellSender(cells, {"preparer": outside})
        assert (await sender.invoke("preparer", {}, seconds=1)).body["by"] == "outside"
        assert (await sender.invoke("worker", {"cell": 1}, seconds=1)).body["by"] == "cell 1"
        assert (await sender.invoke("merger", {}, seconds=1)).body["by"] == "cell 0"
        await sender.close()
        assert all(each.closed for each in (*cells, outside))

    asyncio.run(run())
