"""ModelServices as the operator sees them, and what Knative and pods say of them."""

from datetime import UTC, datetime
from typing import Any

from pydantic import SecretStr

from helpers.operator_settings import SETTINGS as BARE
from sapflow.spec.service_document import parse
from sapflow_operator import names
from sapflow_operator.chosen_model import ChosenModel
from sapflow_operator.observed import JobObject
from sapflow_operator.resources import serving_service
from sapflow_operator.service_wanted import ServiceWanted
from sapflow_operator.settings import Image, ObjectStorage
from sapflow_operator.wanted import place_of

Object = dict[str, Any]
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
SETTINGS = BARE.model_copy(
    update={
        "storage": ObjectStorage(
            endpoint="http://minio:9000",
            bucket="sapflow",
            access_key="operator",
            secret_key=SecretStr("secret"),
        ),
        "server_image": Image(name="dev.local/server:1"),
        "worker_image": Image(name="dev.local/worker:1"),
    }
)
MODEL = ChosenModel(
    "s3://sapflow/jobs/j1/result/model.safetensors", "a" * 64, "TrainingJob/flights", torch=False
)
LATER = ChosenModel(
    "s3://sapflow/jobs/j2/result/model.safetensors", "b" * 64, "TrainingJob/flights", torch=False
)


def service(status: Object | None = None, generation: int = 1, **spec: Any) -> JobObject:
    """The ModelService `late` of the job `flights`."""
    body = {"model": {"job": "flights"}, **spec}
    return JobObject("late", "team", "u1", generation, NOW, False, body, status or {}, names.MODEL_SERVICE)


def wanted(of: JobObject, model: ChosenModel = MODEL) -> ServiceWanted:
    """What it asks for with this model."""
    spec = parse(of.document).spec
    place = place_of(spec.storage, SETTINGS)
    return serving_service.named(ServiceWanted(of.name, of.namespace, of.uid, place, SETTINGS, spec, model))


def knative(manifest: Object, ready: str = "", *, failed: str = "") -> Object:
    """A Knative Service as it stands after Knative has seen the manifest; `ready` is the last revision that was."""
    conditions = [{"type": "RoutesReady", "status": "True" if ready else "Unknown"}]
    if failed:
        conditions.append(
            {"type": "ConfigurationsReady", "status": "False", "reason": "RevisionFailed", "message": failed}
        )
    return {
        **manifest,
        "metadata": {**manifest["metadata"], "generation": 1, "uid": "k1"},
        "status": {
            "observedGeneration": 1,
            "url": "http://late-serve.team.example.com",
            "latestCreatedRevisionName": manifest["spec"]["template"]["metadata"]["name"],
            "latestReadyRevisionName": ready,
            "conditions": conditions,
        },
    }


def pod(revision: str, *, ready: bool = True, ended: Object | None = None, name: str = "p1") -> Object:
    """A pod of a revision; `ended` is how its process has ended before."""
    container: Object = {"name": "user-container", "ready": ready, "state": {"running": {}}}
    if ended is not None:
        container |= {"lastState": {"terminated": ended}}
        if not ready:
            container["state"] = {"waiting": {"reason": "CrashLoopBackOff"}}
    return {
        "kind": "Pod",
        "metadata": {
            "name": name,
            "uid": name,
            "creationTimestamp": "2026-05-01T12:00:00Z",
            "labels": {
                names.ROLE_LABEL: names.SERVER,
                names.UID_LABEL: "u1",
                names.KNATIVE_REVISION: revision,
            },
        },
        "status": {"phase": "Running", "podIP": "10.0.0.7", "containerStatuses": [container]},
    }


GOLDEN_ROWS_FAILED = {
    "exitCode": 3,
    "reason": "Error",
    "message": "GoldenRowsFailed: golden row 3 gives the outputs 1, 2, and gave 2, 1 when the model was trained",
}
STORE_AWAY = {
    "exitCode": 2,
    "reason": "Error",
    "message": "StoreUnavailable: http://minio:9000 does not answer",
}
