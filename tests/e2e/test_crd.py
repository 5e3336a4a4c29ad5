"""The API server itself answers bad TrainingJobs, with words that say what to do. Needs no operator.

Runs against the cluster that KUBECONFIG names; kubectl is on the PATH.
"""

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.e2e

CRD = Path(__file__).parents[2] / "manifests" / "crds" / "sapflow.dev_trainingjobs.yaml"
GOOD: dict[str, Any] = {
    "apiVersion": "sapflow.dev/v1alpha1",
    "kind": "TrainingJob",
    "metadata": {"name": "digits"},
    "spec": {
        "model": {"name": "mlp", "args": {"hidden": [100, 100]}},
        "data": {"source": "sklearn:digits"},
        "workers": 8,
        "suspend": True,
    },
}
AFFINITY = {"from": "Worker", "to": "Merger", "weight": 100}
REMOVED = object()


def job(changes: dict[str, Any]) -> dict[str, Any]:
    """A good job with fields at dotted paths changed, or taken away."""
    document = deepcopy(GOOD)
    for path, value in changes.items():
        *parents, last = path.split(".")
        place = document
        for parent in parents:
            place = place.setdefault(parent, {})
        if value is REMOVED:
            del place[last]
        else:
            place[last] = value
    return document


BAD: tuple[tuple[dict[str, Any], str], ...] = (
    ({"metadata.name": "x" * 41}, "metadata.name must have at most 40 characters"),
    ({"metadata.name": "1digits"}, "metadata.name must begin with a letter"),
    ({"metadata.name": "di.gits"}, "metadata.name must begin with a letter and hold lower-case letters"),
    ({"spec.workers": REMOVED}, "spec.workers: Required value"),
    ({"spec.workers": 0}, "spec.workers in body should be greater than or equal to 1"),
    ({"spec.workers": 10_001}, "spec.workers in body should be less than or equal to 10000"),
    ({"spec.workers": "eight"}, 'spec.workers in body must be of type integer: "string"'),
    ({"spec.learningRate": 1}, 'unknown field "spec.learningRate"'),
    ({"spec.model.name": "resnet"}, 'spec.model.name: Unsupported value: "resnet": supported values: "mlp"'),
    ({"spec.model.name": REMOVED}, "needs either name or entrypoint"),
    ({"spec.model.entrypoint": "mine:model"}, "needs either name or entrypoint"),
    ({"spec.model.image": "mine:1"}, "spec.model.image: Invalid value"),
    ({"spec.model.loss": "MSE", "spec.model.lossEntrypoint": "mine:loss"}, "takes the place of loss"),
    ({"spec.model.huberDelta": 2}, "is for loss Huber only"),
    ({"spec.model.classWeights": {}}, "needs either policy or values, not both"),
    (
        {"spec.model.lossEntrypoint": "mine:loss", "spec.model.classWeights": {"policy": "Balanced"}},
        "weighs samples itself",
    ),
    ({"spec.model.lossEntrypoint": "mine:loss", "spec.model.labelSmoothing": 0.1}, "smooths targets itself"),
    ({"spec.model.loss": "Hinge", "spec.model.labelSmoothing": 0.1}, "is for losses of probabilities"),
    ({"spec.evaluation.keepBest": "macro F1"}, "spec.evaluation.keepBest in body should match"),
    (
        {"spec.algorithm": {"steps": 5, "targetAccuracy": 0.9, "target": {"metric": "auc", "value": 0.9}}},
        "says what targetAccuracy says for accuracy",
    ),
    ({"spec.algorithm": {"steps": 5, "earlyStopping": {}}}, "earlyStopping.patience: Required value"),
    ({"spec.data.source": REMOVED}, "spec.data.source: Required value"),
    ({"spec.data.source": "/data/mnist"}, "functions in a cluster see no path of yours"),
    (
        {"spec.data.source": "s3://sapflow/jobs/0d5a/data"},
        "must not be below jobs/, where jobs keep their state",
    ),
    ({"spec.data.source": "s3://sapflow/*"}, "must be s3://bucket/prefix"),
    ({"spec.data.source": "s3://sapflow"}, "must be s3://bucket/prefix"),
    ({"spec.data.source": "s3://sapflow/a/../jobs/0d5a"}, "no part begins with a dot"),
    ({"spec.data.batchSize": 8, "spec.data.microBatchSize": 9}, "must be at most batchSize"),
    ({"spec.data.validationFraction": 1.0}, "spec.data.validationFraction in body should be less than 1"),
    ({"spec.data.validation": {"source": "/data/held"}}, "functions in a cluster see no path of yours"),
    ({"spec.data.validation": {"source": "s3://sapflow/jobs/0d5a"}}, "no other job's objects"),
    ({"spec.data.validation": {"source": "sklearn:iris"}}, "have no second part"),
    (
        {"spec.data.validation": {"source": "s3://data/held"}, "spec.data.validationFraction": 0.3},
        "leave validationFraction out",
    ),
    (
        {"spec.data.validation": {"source": "s3://data/held"}, "spec.data.split": "Stratified"},
        "data.validation names them instead",
    ),
    ({"spec.data.split": "Stratified", "spec.data.validationFraction": 0}, "holds none out"),
    ({"spec.algorithm": {"epochs": 1, "steps": 5}}, "needs either epochs or steps, not both"),
    ({"spec.algorithm": {"seed": 1}}, "needs either epochs or steps, not both"),
    ({"spec.merge.structure": [2, 8]}, "must start at 1: there is one root"),
    ({"spec.merge.structure": [1, 2, 7]}, "must end at the number of workers"),
    ({"spec.merge.structure": [1, 9, 2, 8]}, "may not have a level wider than the one below it"),
    ({"spec.merge.structure": [1]}, "spec.merge.structure in body should have at least 2 items"),
    ({"spec.merge.structure": [1] * 8 + [8]}, "must have at most 8 items"),
    (
        {"spec.algorithm": {"steps": 5, "mode": "Async"}, "spec.merge.structure": [1, 2, 8]},
        "must be [1, workers]",
    ),
    (
        {"spec.algorithm": {"steps": 5, "mode": "Async"}, "spec.merge.shards": 2},
        "must be 1 with algorithm.mode Async",
    ),
    (
        {"spec.algorithm": {"steps": 5, "mode": "Async"}, "spec.merge.reuseWorkers": True},
        "is for algorithm.mode Sync",
    ),
    (
        {"spec.algorithm": {"steps": 5, "mode": "Async", "localSteps": 2}},
        "spec.algorithm.localSteps: Invalid value",
    ),
    (
        {"spec.algorithm": {"steps": 5, "maxStaleness": 2}},
        "is for algorithm.mode Async only: leave it out with Sync",
    ),
    ({"spec.algorithm": {"steps": 5, "localState": "Average"}}, "Average and Keep need localSteps above 1"),
    ({"spec.optimizer": {"name": "Adam", "momentum": 0.9}}, "is for Momentum and Nesterov and RMSprop only"),
    ({"spec.optimizer": {"name": "SGD", "beta1": 0.9}}, "is for Adam and AdamW and Lion and LAMB only"),
    ({"spec.optimizer.learningRate": 0}, "spec.optimizer.learningRate in body should be greater than 0"),
    ({"spec.optimizer.schedule": {"name": "Step"}}, "is required for Step"),
    ({"spec.optimizer.schedule": {"name": "Cosine", "gamma": 0.5}}, "is for Step and Exponential only"),
    (
        {"spec.optimizer.schedule": {"name": "Step", "gamma": 0.5, "stepSize": 1, "stepEpochs": 1}},
        "give one of them",
    ),
    ({"spec.optimizer.schedule": {"warmupSteps": 1, "warmupEpochs": 0.5}}, "is warmupSteps in epochs"),
    (
        {"spec.optimizer.schedule": {"name": "OneCycle", "warmupSteps": 1}},
        "OneCycle has a warm-up of its own",
    ),
    (
        {"spec.optimizer.schedule": {"name": "Plateau", "metric": "ValidationLoss", "stepSize": 1}},
        "goes with metric TrainingLoss",
    ),
    (
        {
            "spec.optimizer.schedule": {"name": "Plateau", "metric": "ValidationLoss"},
            "spec.algorithm": {"steps": 5, "mode": "Async"},
        },
        "must be TrainingLoss with algorithm.mode Async",
    ),
    ({"spec.optimizer": {"name": "LAMB"}, "spec.merge.shards": 2}, "must be 1 or left out with LAMB"),
    (
        {
            "spec.optimizer": {"name": "LAMB"},
            "spec.limits": {"goal": "LeastCost"},
            "spec.merge.structure": [1, 8],
        },
        "LAMB takes one shard; leave out merge.structure, or the goal",
    ),
    ({"spec.optimizer.groups": [{"weightDecay": 0}]}, "spec.optimizer.groups[0].match: Required value"),
    ({"spec.optimizer.groups": []}, "spec.optimizer.groups in body should have at least 1 items"),
    ({"spec.memory.worker": "64"}, "must be at least 64Mi"),
    ({"spec.memory.worker": "512mb"}, "spec.memory.worker in body should match"),
    ({"spec.cpu.worker": "many"}, "spec.cpu.worker in body should match"),
    ({"spec.memory.optimize": {"goal": "Speed"}}, 'Unsupported value: "Speed"'),
    ({"spec.memory.optimize": {"maxUpdates": 21}}, "should be less than or equal to 20"),
    ({"spec.memory.optimize": {"min": "1Gi"}}, "must be at most memory.worker, where the search starts"),
    ({"spec.memory.optimize": {"max": "256Mi"}}, "must be at least memory.worker, where the search starts"),
    ({"spec.memory.optimize": {"min": "1"}}, "spec.memory.optimize.min: Invalid value"),
    ({"spec.memory.optimize": {}, "spec.cpu.worker": "1"}, "leave cpu.worker out"),
    ({"spec.cpu": {"policy": "Lambda"}}, 'Unsupported value: "Lambda"'),
    ({"spec.pods": {"labels": {"sapflow.dev/job": "x"}}}, "may have no key that Sapflow or Knative sets"),
    (
        {"spec.pods": {"annotations": {"autoscaling.knative.dev/window": "6s"}}},
        "may have no key that Sapflow",
    ),
    ({"spec.pods": {"labels": {f"k{number}": "x" for number in range(17)}}}, "must have at most 16 items"),
    ({"spec.pods": {"labels": {"team": "a b"}}}, "spec.pods.labels.team in body should match"),
    (
        {"spec.pods": {"env": [{"name": "SAPFLOW_STORE", "value": "x"}]}},
        "no variable that Sapflow or Knative",
    ),
    ({"spec.pods": {"env": [{"name": "A"}]}}, "either a value, or valueFrom"),
    (
        {"spec.pods": {"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}},
        "may name each variable once",
    ),
    ({"spec.pods": {"tolerations": [{"value": "x"}]}}, "must each have a key, or operator Exists"),
    ({"spec.pods": {"hostNetwork": True}}, 'unknown field "spec.pods.hostNetwork"'),
    (
        {"spec.cpu": {"policy": "ByMemory", "worker": "1", "merger": "1"}},
        "is for functions without a CPU limit of their own",
    ),
    (
        {"spec.algorithm": {"steps": 5, "mode": "Async"}, "spec.memory.optimize": {}},
        "is for algorithm.mode Sync only",
    ),
    ({"spec.affinity": [{"from": "Worker"}]}, "spec.affinity[0].to: Required value"),
    ({"spec.affinity": [AFFINITY, AFFINITY | {"weight": 1}]}, "names a pair of from and to twice"),
    (
        {"spec.affinity": [AFFINITY], "spec.algorithm": {"steps": 5, "mode": "Async"}},
        "is for algorithm.mode Sync only",
    ),
    ({"spec.placement": {"cells": 2}}, "goes with affinity"),
    ({"spec.affinity": [AFFINITY], "spec.placement": {"cells": 60}}, "must be at most workers"),
    (
        {"spec.affinity": [AFFINITY], "spec.placement": {"cells": 2, "workersPerCell": 1}},
        "times cells must be at least workers",
    ),
    ({"spec.storage": {"bucket": "sapflow"}}, "spec.storage.endpoint: Required value"),
    (
        {"spec.storage": {"endpoint": "http://minio:9000", "bucket": "sapflow", "shareCredentials": True}},
        "needs secretName: only credentials of your own can be shared",
    ),
    ({"spec.prices.platform": "Node"}, "goes with platform Node, and Node needs it"),
    (
        {"spec.prices.custom": {"usdPerGiBSecond": 1}},
        "goes with platform Custom, and Custom needs it",
    ),
    ({"spec.prices.platform": "Cloud9"}, 'spec.prices.platform: Unsupported value: "Cloud9"'),
    (
        {"spec.limits.deadlineSeconds": -1},
        "spec.limits.deadlineSeconds in body should be greater than or equal to 1",
    ),
    (
        {"spec.ttlSecondsAfterFinished": -1},
        "spec.ttlSecondsAfterFinished in body should be greater than or equal to 0",
    ),
)
CHANGES: tuple[tuple[dict[str, Any], str], ...] = (
    ({"spec.model.args": {"hidden": [1]}}, "spec.model: Invalid value"),
    ({"spec.data.options": {"samples": 1}}, "spec.data: Invalid value"),
    ({"spec.optimizer.name": "Adam"}, "spec.optimizer: Invalid value"),
    ({"spec.memory.worker": "1Gi"}, "spec.memory: Invalid value"),
    ({"spec.storage": {"endpoint": "http://x", "bucket": "bucket"}}, "cannot be changed: delete the job"),
    (
        {"spec.cpu": {"worker": "1"}},
        "only checkpoint, limits, serve, suspend, ttlSecondsAfterFinished can be changed",
    ),
)


def kubectl(*arguments: str, body: object = None) -> subprocess.CompletedProcess[str]:
    text = None if body is None else json.dumps(body)
    return subprocess.run(
        ["kubectl", *arguments], input=text, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture(scope="module")
def namespace() -> Iterator[str]:
    """A namespace of this module's own, in a cluster that knows TrainingJobs."""
    if not os.environ.get("KUBECONFIG") or not shutil.which("kubectl"):
        pytest.skip("KUBECONFIG names no cluster, or there is no kubectl")
    applied = kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRD))
    assert applied.returncode == 0, applied.stderr
    kubectl("wait", "--for=condition=Established", "crd/trainingjobs.sapflow.dev", "--timeout=30s")
    name = f"crd-{secrets.token_hex(3)}"
    assert kubectl("create", "namespace", name).returncode == 0
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.mark.parametrize(("changes", "said"), BAD, ids=[said[:50] for _, said in BAD])
def test_a_bad_job_is_refused_with_words_that_help(
    namespace: str, changes: dict[str, Any], said: str
) -> None:
    made = kubectl("create", "-n", namespace, "--dry-run=server", "-f", "-", body=job(changes))
    assert made.returncode != 0, made.stdout
    assert said in made.stderr


@pytest.fixture(scope="module")
def standing(namespace: str) -> str:
    """The name of a job that is there, suspended."""
    made = kubectl("create", "-n", namespace, "-f", "-", body=GOOD)
    assert made.returncode == 0, made.stderr
    return "digits"


@pytest.mark.parametrize(("changes", "said"), CHANGES, ids=[said[:50] for _, said in CHANGES])
def test_what_is_immutable_cannot_be_changed(
    namespace: str, standing: str, changes: dict[str, Any], said: str
) -> None:
    patch = json.dumps({"spec": job(changes)["spec"]})
    changed = kubectl(
        "patch", "-n", namespace, "tj", standing, "--type=merge", "--dry-run=server", "-p", patch
    )
    assert changed.returncode != 0, changed.stdout
    assert said in changed.stderr


@pytest.mark.parametrize(
    "change",
    [
        {"suspend": False},
        {"workers": 9},
        {"ttlSecondsAfterFinished": 60},
        {"limits": {"budgetUSD": 0.5}},
        {"checkpoint": {"everySteps": 5}},
    ],
    ids=str,
)
def test_what_is_mutable_can_be_changed(namespace: str, standing: str, change: dict[str, Any]) -> None:
    patch = json.dumps({"spec": change})
    changed = kubectl(
        "patch", "-n", namespace, "tj", standing, "--type=merge", "--dry-run=server", "-p", patch
    )
    assert changed.returncode == 0, changed.stderr


def test_defaults_are_filled_in_and_free_form_maps_keep_what_they_hold(namespace: str, standing: str) -> None:
    found = kubectl("get", "-n", namespace, "tj", standing, "-o", "json")
    spec = json.loads(found.stdout)["spec"]
    assert spec["algorithm"] == {
        "epochs": 10,
        "name": "SGD",
        "mode": "Sync",
        "localSteps": 1,
        "localState": "Reset",
        "seed": 0,
        "onNaN": "Fail",
    }
    assert spec["model"]["args"] == {"hidden": [100, 100]}
    assert spec["optimizer"]["schedule"] == {"name": "Constant", "warmupSteps": 0}


def test_kubectl_shows_the_columns_by_short_name_and_category(namespace: str, standing: str) -> None:
    for name in ("tj", "sapflow"):
        shown = kubectl("get", "-n", namespace, name)
        assert shown.stdout.split("\n")[0].split() == [
            "NAME", "SUCCEEDED", "REASON", "STEP", "LOSS", "WORKERS", "COST", "AGE",
        ]  # fmt: skip
