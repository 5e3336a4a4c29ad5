"""What a TrainingJob may say, to a local run and to a cluster."""

from typing import Any

import pytest
import yaml

from sapflow.errors import SpecError
from sapflow.spec.document import load, parse
from sapflow.spec.training_job import CLUSTER_ONLY


def document(**spec: Any) -> dict[str, Any]:
    base: dict[str, Any] = {"model": {"name": "mlp"}, "data": {"source": "sklearn:digits"}, "workers": 8}
    return {
        "apiVersion": "sapflow.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": "digits"},
        "spec": base | spec,
    }


def problems(runtime: Any, **spec: Any) -> dict[str, str]:
    with pytest.raises(SpecError) as caught:
        parse(document(**spec), runtime)
    return dict(caught.value.problems)


STORAGE = {"endpoint": "http://minio:9000", "bucket": "sapflow"}
AFFINITY = [{"from": "Worker", "to": "Merger", "weight": 100}]
CLUSTER: dict[str, dict[str, Any]] = {
    "spec.model.image": {"model": {"entrypoint": "mine:model", "image": "mine:1"}},
    "spec.memory.growOnOOM": {"memory": {"growOnOOM": True}},
    "spec.memory.optimize": {"memory": {"optimize": {"goal": "Cost"}}},
    "spec.cpu": {"cpu": {"worker": "500m"}},
    "spec.pods": {"pods": {"labels": {"team": "vision"}}},
    "spec.storage.shareCredentials": {"storage": STORAGE | {"shareCredentials": True, "secretName": "mine"}},
    "spec.storage.deletionPolicy": {"storage": STORAGE | {"deletionPolicy": "Delete"}},
    "spec.placement.storageClassName": {"affinity": AFFINITY, "placement": {"storageClassName": "local"}},
    "spec.placement.size": {"affinity": AFFINITY, "placement": {"size": "1Gi"}},
    "spec.serve.name": {"serve": {"name": "decider"}},
    "spec.serve.scale": {"serve": {"scale": {"min": 1}}},
    "spec.serve.resources": {"serve": {"resources": {"memory": "256Mi"}}},
    "spec.serve.canary": {"serve": {"canary": {"percent": 20}}},
    "spec.suspend": {"suspend": True},
    "spec.ttlSecondsAfterFinished": {"ttlSecondsAfterFinished": 60},
}


@pytest.mark.parametrize("path", CLUSTER_ONLY)
def test_what_only_a_cluster_honours_is_refused_by_a_local_run_and_taken_by_a_cluster(path: str) -> None:
    spec = CLUSTER[path]
    assert "leave it out" in problems("local", **spec)[path]
    parse(document(**spec), "kubernetes")


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan"])
@pytest.mark.parametrize(
    "path",
    [
        "optimizer.learningRate",
        "optimizer.weightDecay",
        "optimizer.schedule.warmupEpochs",
        "limits.budgetUSD",
        "algorithm.target.value",
        "model.huberDelta",
    ],
)
def test_numbers_that_are_not_finite_are_refused_wherever_they_stand(path: str, value: str) -> None:
    spec: dict[str, Any] = {"algorithm": {"epochs": 1, "target": {"metric": "loss", "value": 1}}}
    *parents, last = path.split(".")
    inner = spec
    for parent in parents:
        inner = inner.setdefault(parent, {})
    inner[last] = yaml.safe_load(value)
    if path == "model.huberDelta":
        spec["model"] |= {"name": "mlp", "loss": "Huber"}
    assert "must be a finite number" in problems("local", **spec)[f"spec.{path}"]


def test_the_defaults_of_cluster_fields_are_no_reason_to_refuse() -> None:
    job = parse(document(storage=STORAGE))
    assert parse(job.to_json()) == job


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("/data/mnist", "no path of yours"),
        ("data.npz", "no path of yours"),
        ("s3://bucket/jobs/0d5a", "below jobs/"),
        ("s3://bucket/jobs", "below jobs/"),
        ("s3://bucket/jobs?endpoint=http://minio:9000", "below jobs/"),
        ("s3://bucket/shared", "an area in it"),
        ("s3://bucket/shared/?endpoint=http://minio:9000", "an area in it"),
        ("s3://bucket/shared/" + "0a" * 16, "an area in it"),
        ("s3://bucket/shared/" + "0a" * 16 + "/data/train", "an area in it"),
        ("s3://bucket//jobs/0d5a", "single slashes"),
        ("s3://bucket/./jobs/0d5a", "begins with a dot"),
        ("s3://bucket/a/../jobs/0d5a", "begins with a dot"),
        ("s3://bucket/job*", "s3://bucket/prefix"),
        ("s3://bucket/${aws:username}", "s3://bucket/prefix"),
        ("s3://bucket/", "s3://bucket/prefix"),
        ("s3://bucket/data\n", "s3://bucket/prefix"),
    ],
)
def test_a_cluster_takes_no_path_and_no_source_that_could_reach_other_jobs(source: str, said: str) -> None:
    assert said in problems("kubernetes", data={"source": source})["spec.data.source"]


@pytest.mark.parametrize(
    "source",
    [
        "s3://bucket/jobsites/a.npz",
        "s3://bucket/data/jobs",
        "s3://bucket/shared/cifar",
        "s3://bucket/data/shared",
        "s3://bucket/shared/" + "0a" * 15,
        "s3://bucket/data/?endpoint=http://minio:9000&region=eu-1",
        "synthetic:binary?samples=100",
    ],
)
def test_a_cluster_takes_data_beside_the_jobs(source: str) -> None:
    parse(document(data={"source": source}), "kubernetes")


def test_names_begin_with_a_letter_where_they_begin_those_of_services() -> None:
    named = document() | {"metadata": {"name": "7digits"}}
    parse(named)
    with pytest.raises(SpecError, match="begin with a letter"):
        parse(named, "kubernetes")


@pytest.mark.parametrize(
    ("spec", "path", "said"),
    [
        ({"model": {}}, "spec.model", "either name or entrypoint"),
        ({"model": {"name": "mlp", "image": "a:1"}}, "spec.model.image", "entrypoint"),
        ({"algorithm": {"epochs": 1, "steps": 1}}, "spec.algorithm", "either epochs or steps"),
        ({"merge": {"structure": [1, 9, 8]}}, "spec.merge.structure", "wider"),
        ({"memory": {"worker": "32Mi"}}, "spec.memory.worker", "at least 64Mi"),
        ({"memory": {"merger": "256mb"}}, "spec.memory.merger", "did you mean"),
        ({"memory": {"optimize": {"min": "32Mi"}}}, "spec.memory.optimize.min", "at least 64Mi"),
        ({"memory": {"optimize": {"min": "1Gi"}}}, "spec.memory.optimize.min", "at most memory.worker"),
        ({"memory": {"optimize": {"max": "256Mi"}}}, "spec.memory.optimize.max", "at least memory.worker"),
        ({"memory": {"optimize": {"max": "2gb"}}}, "spec.memory.optimize.max", "did you mean"),
        ({"memory": {"optimize": {"maxUpdates": 21}}}, "spec.memory.optimize.maxUpdates", "20"),
        (
            {"memory": {"optimize": {}}, "cpu": {"worker": "1"}},
            "spec.memory.optimize",
            "leave cpu.worker out",
        ),
        (
            {"memory": {"optimize": {}}, "algorithm": {"steps": 1, "mode": "Async"}},
            "spec.memory.optimize",
            "Sync only",
        ),
        ({"cpu": {"worker": "fast"}}, "spec.cpu.worker", "must be a number of CPUs"),
        ({"optimizer": {"name": "SGD", "momentum": 0.9}}, "spec.optimizer.momentum", "Momentum and Nesterov"),
        ({"optimizer": {"schedule": {"name": "Step"}}}, "spec.optimizer.schedule.stepSize", "required"),
        (
            {"algorithm": {"steps": 1, "mode": "Async", "localSteps": 2}},
            "spec.algorithm.localSteps",
            "must be 1",
        ),
        ({"storage": STORAGE | {"shareCredentials": True}}, "spec.storage.shareCredentials", "secretName"),
    ],
)
def test_what_does_not_fit_together_is_named_by_its_field(spec: dict[str, Any], path: str, said: str) -> None:
    assert said in problems("kubernetes", **spec)[path]


def test_load_hands_the_runtime_on() -> None:
    text = "{apiVersion: sapflow.dev/v1alpha1, kind: TrainingJob, metadata: {name: a}, spec: {model: {name: mlp}, "
    text += "data: {source: 'sklearn:digits'}, workers: 2, suspend: true}}"
    assert load(text, "kubernetes").spec.suspend
    with pytest.raises(SpecError, match="suspending is for the cluster runtime"):
        load(text)


@pytest.mark.parametrize("rate", ["1e-3", "1E-3", "1.0e-3", ".1e-2", "+1e-3", "0.001"])
def test_numbers_are_those_of_kubectl(rate: str) -> None:
    text = yaml.safe_dump(document(optimizer={"name": "SGD", "learningRate": 0.5})).replace("0.5", rate)
    assert load(text).spec.optimizer.learning_rate == 0.001


def test_a_name_that_looks_like_too_large_a_number_is_a_name() -> None:
    text = yaml.safe_dump(document()).replace("name: digits", "name: a12e4567").replace("a12e4567", "12e4567")
    assert load(text, "local").metadata.name == "12e4567"
