"""A user's additions to the pods of functions and driver, and jobs that Kueue queues."""

import json
from typing import Any

import pytest
from helpers.operator_settings import SETTINGS
from pydantic import SecretStr

from sapflow.errors import SpecError
from sapflow.spec.document import parse
from sapflow_operator import names
from sapflow_operator.kinds.training_job import TRAINING_JOB
from sapflow_operator.observed import JobObject, Observed
from sapflow_operator.resources import driver_job, functions
from sapflow_operator.settings import ObjectStorage
from sapflow_operator.wanted import Wanted

STORAGE = ObjectStorage(
    endpoint="http://minio:9000", bucket="sapflow", access_key="a", secret_key=SecretStr("b")
)
QUEUE = {"kueue.x-k8s.io/queue-name": "research", "kueue.x-k8s.io/priority-class": "low"}
PODS: dict[str, Any] = {
    "nodeSelector": {"pool": "training"},
    "tolerations": [{"key": "spot", "operator": "Equal", "value": "yes", "effect": "NoSchedule"}],
    "priorityClassName": "batch-low",
    "imagePullSecrets": [{"name": "registry"}, {"name": "charts"}],
    "labels": {"team": "vision", "example.com/cost-centre": "7"},
    "annotations": {"example.com/owner": "Ada Lovelace <ada@example.com>"},
    "env": [
        {"name": "HTTPS_PROXY", "value": "http://proxy:3128"},
        {"name": "API_KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "api"}}},
        {"name": "MODE", "valueFrom": {"configMapKeyRef": {"name": "modes", "key": "m", "optional": True}}},
    ],
}


def document(pods: dict[str, Any] | None, **spec: Any) -> dict[str, Any]:
    base = {"model": {"name": "mlp"}, "data": {"source": "sklearn:digits"}, "workers": 2}
    given = {} if pods is None else {"pods": pods}
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": "a"},
        "spec": base | given | spec,
    }


def wanted(pods: dict[str, Any] | None = None, labels: dict[str, str] | None = None) -> Wanted:
    metadata = {
        "name": "a",
        "namespace": "team",
        "uid": "u1",
        "creationTimestamp": "2026-05-01T12:00:00Z",
        "labels": labels or {},
    }
    job = JobObject.read({"metadata": metadata, "spec": document(pods)["spec"]})
    settings = SETTINGS.model_copy(update={"storage": STORAGE, "image_pull_secrets": ("charts",)})
    return TRAINING_JOB.wanted(job, {}, settings)


def templates(of: Wanted) -> list[dict[str, Any]]:
    """The pods of both roles and of the driver."""
    built = [each["spec"]["template"] for each in functions(of)]
    return [*built, driver_job.build(of)["spec"]["template"]]


def test_every_pod_of_a_job_has_what_its_spec_adds_beside_our_own() -> None:
    plain, added = templates(wanted()), templates(wanted(PODS))
    assert len(added) == 3
    for before, pod in zip(plain, added, strict=True):
        assert pod["metadata"]["labels"] == before["metadata"]["labels"] | PODS["labels"]
        assert pod["metadata"]["annotations"] == before["metadata"]["annotations"] | PODS["annotations"]
        spec = pod["spec"]
        for name in ("nodeSelector", "tolerations", "priorityClassName"):
            assert spec[name] == PODS[name]
            assert name not in before["spec"]
        assert spec["imagePullSecrets"] == [{"name": "charts"}, {"name": "registry"}]
        assert before["spec"]["imagePullSecrets"] == [{"name": "charts"}]
        ours = before["spec"]["containers"][0]["env"]
        assert spec["containers"][0]["env"] == [*ours, *PODS["env"]]
        assert spec["containers"][0]["securityContext"] == before["spec"]["containers"][0]["securityContext"]


def test_what_pods_get_is_neither_in_the_drivers_file_nor_in_the_names_of_jobs() -> None:
    plain, added = wanted(), wanted(PODS)
    assert added.documents == plain.documents
    assert "pods" not in json.loads(added.documents[names.JOB_KEY])["spec"]
    assert "pods" not in parse(document(None)).to_json()["spec"]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("labels", {"sapflow.dev/job": "other"}, r"spec\.pods\.labels.*may have no key"),
        ("labels", {"app.kubernetes.io/name": "mine"}, r"spec\.pods\.labels.*may have no key"),
        ("annotations", {"autoscaling.knative.dev/window": "6s"}, r"annotations.*may have no key"),
        ("annotations", {"prometheus.io/port": "1"}, r"annotations.*may have no key"),
        ("labels", {"my label": "x"}, "must have keys as tier"),
        ("nodeSelector", {"-pool": "x"}, "must have keys as tier"),
        ("labels", {"team": "a b"}, r"spec\.pods\.labels\.team"),
        ("labels", {f"key-{number}": "x" for number in range(17)}, r"spec\.pods\.labels"),
        ("env", [{"name": "SAPFLOW_TOKEN", "value": "x"}], "no variable that Sapflow or Knative sets"),
        ("env", [{"name": "K_SERVICE", "value": "x"}], "no variable that Sapflow or Knative sets"),
        ("env", [{"name": "OMP_NUM_THREADS", "value": "8"}], "no variable that Sapflow or Knative sets"),
        ("env", [{"name": "A"}], "either a value, or valueFrom"),
        ("env", [{"name": "A", "valueFrom": {}}], "either a value, or valueFrom"),
        (
            "env",
            [{"name": "A", "value": "x", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
            "either a value, or valueFrom",
        ),
        ("env", [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}], "each variable once"),
        ("env", [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}], "not a field"),
        ("tolerations", [{"value": "x"}], "must each have a key, or operator Exists"),
        (
            "tolerations",
            [{"key": "a", "operator": "Exists", "value": "x"}],
            "operator Exists without a value",
        ),
        ("securityContext", {"runAsUser": 0}, "is not a field"),
        ("hostNetwork", True, "is not a field"),
    ],
)
def test_what_pods_may_not_have_is_refused_by_field(field: str, value: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        parse(document({field: value}), "kubernetes")


def test_a_toleration_of_every_taint_is_one() -> None:
    parse(document({"tolerations": [{"operator": "Exists"}]}), "kubernetes")


def test_a_local_run_has_no_pods() -> None:
    with pytest.raises(SpecError, match=r"spec\.pods.*a local run has none"):
        parse(document({"labels": {"team": "a"}}), "local")


def test_the_drivers_job_waits_in_the_queue_that_the_jobs_label_names_and_nothing_else_does() -> None:
    of = wanted(labels=QUEUE | {"team": "vision"})
    job = driver_job.build(of)
    assert QUEUE.items() <= job["metadata"]["labels"].items()
    assert "team" not in job["metadata"]["labels"]
    assert "suspend" not in job["spec"], "it is Kueue's"
    assert not any(QUEUE.keys() & template["metadata"]["labels"].keys() for template in templates(of))
    assert not QUEUE.keys() & driver_job.build(wanted(labels={"team": "vision"}))["metadata"]["labels"].keys()


@pytest.mark.parametrize(
    "state", [{"spec": {"suspend": True}}, {"status": {"conditions": [{"type": "Suspended"}]}}]
)
def test_a_driver_that_kueue_holds_is_pending_with_the_queues_name(state: dict[str, Any]) -> None:
    held = driver_job.build(wanted(labels=QUEUE))
    for condition in state.get("status", {}).get("conditions", ()):
        condition["status"] = "True"
    held |= {"status": state.get("status", {}), "spec": held["spec"] | state.get("spec", {})}
    driver = Observed.of([held], ()).driver("a")
    assert driver.state == "pending"
    assert driver.trouble == "its queue of Kueue, research, has suspended the driver's Job"
