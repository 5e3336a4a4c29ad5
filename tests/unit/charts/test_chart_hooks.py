"""The chart's hooks: against an API server in memory and, where they touch the store, a real MinIO."""

import socket
import sys
from collections.abc import Iterator

import pytest
from helpers.api_server import ApiServer, api_server
from pydantic import SecretStr
from s3_servers import S3Service

from sapflow.errors import StoreUnavailable
from sapflow.kube.access import Access
from sapflow.kube.blocking import BlockingApiClient
from sapflow.kube.errors import ClusterError
from sapflow_operator import names
from sapflow_operator.hooks import bucket, check, uninstall
from sapflow_operator.hooks.api import client
from sapflow_operator.settings import ObjectStorage

JOBS = f"/apis/{names.API_VERSION}/namespaces/team/{names.PLURAL}"
OPERATOR = uninstall.Operator("sapflow-system", "sapflow-operator", "component=operator")
SCALE = "/apis/apps/v1/namespaces/sapflow-system/deployments/sapflow-operator/scale"
POD = "/api/v1/namespaces/sapflow-system/pods/operator"
READY = {"conditions": [{"type": "Ready", "status": "True"}]}


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with api_server() as served:
        yield served


def api(server: ApiServer) -> BlockingApiClient:
    return client(Access(server.url))


def put_job(server: ApiServer, name: str) -> str:
    path = f"{JOBS}/{name}"
    server.put(path, finalizers=["someone.else/waits", names.FINALIZER])
    return path


def put_operator(server: ApiServer) -> None:
    """An operator at work: it cleans up after every deletion, and its pod goes when it is scaled to zero."""
    server.put(SCALE)
    server.put(POD)
    server.objects[POD]["status"] = READY

    def react(method: str, path: str) -> None:
        if method == "DELETE" and path in server.objects:
            server.objects[path]["metadata"]["finalizers"] = []
        if path == SCALE:
            server.objects.pop(POD, None)

    server.changed = react


def test_releasing_takes_our_finalizer_off_and_nobody_elses(server: ApiServer) -> None:
    path = put_job(server, "digits")
    assert uninstall.release(api(server), uninstall.jobs(api(server), [])) == ["team/digits"]
    assert server.objects[path]["metadata"]["finalizers"] == ["someone.else/waits"]


def test_releasing_tries_again_where_the_job_changed_meanwhile(server: ApiServer) -> None:
    path = put_job(server, "digits")
    seen = uninstall.jobs(api(server), [])
    server.put(path, finalizers=[names.FINALIZER, "third/one"])
    assert uninstall.release(api(server), seen) == ["team/digits"]
    assert server.objects[path]["metadata"]["finalizers"] == ["third/one"]


def test_releasing_passes_over_a_job_that_is_gone(server: ApiServer) -> None:
    path = put_job(server, "digits")
    seen = uninstall.jobs(api(server), [])
    del server.objects[path]
    uninstall.release(api(server), seen)
    assert path not in server.objects


def test_jobs_are_looked_for_in_the_watched_namespaces_only(server: ApiServer) -> None:
    put_job(server, "digits")
    assert [uninstall.job_name(each) for each in uninstall.jobs(api(server), ["team"])] == ["team/digits"]
    assert uninstall.jobs(api(server), ["another"]) == []


def test_deleting_waits_for_the_operator_to_clean_up(server: ApiServer) -> None:
    put_operator(server)
    for name in ("one", "two"):
        put_job(server, name)
    assert uninstall.delete_all(api(server), [], OPERATOR, patience=30.0) == []
    assert not [path for path in server.objects if path.startswith(JOBS)]


def test_deleting_names_the_jobs_that_are_left_when_time_is_up(server: ApiServer) -> None:
    server.put(POD)
    server.objects[POD]["status"] = READY
    put_job(server, "stuck")
    assert uninstall.delete_all(api(server), [], OPERATOR, patience=0.0) == ["team/stuck"]


def test_without_an_operator_one_is_started_to_clean_up(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put_job(server, "digits")
    server.objects[path]["metadata"]["finalizers"] = [names.FINALIZER]
    # As the operator would: by a process that takes the finalizer off.
    clean = (
        "import sys; from sapflow.kube.access import Access; from sapflow_operator.hooks import uninstall; "
        "from sapflow_operator.hooks.api import client; "
        "api = client(Access(sys.argv[1])); uninstall.release(api, uninstall.jobs(api, []))"
    )
    monkeypatch.setattr(uninstall, "ABSENT_SECONDS", 0.0)
    monkeypatch.setattr(uninstall, "_STAND_IN", (sys.executable, "-c", clean, server.url))
    assert uninstall.delete_all(api(server), [], OPERATOR, patience=60.0) == []
    assert path not in server.objects


def test_the_stand_in_is_the_operator_itself() -> None:
    assert uninstall._STAND_IN[1:] == ("-m", "sapflow_operator")


def test_the_operator_is_stopped_and_one_that_is_gone_is_no_error(server: ApiServer) -> None:
    put_operator(server)
    assert uninstall.stop(api(server), OPERATOR)
    assert server.objects[SCALE]["spec"] == {"replicas": 0}
    server.objects.clear()
    assert uninstall.stop(api(server), OPERATOR)


def test_an_operator_that_does_not_stop_is_not_waited_for_for_ever(server: ApiServer) -> None:
    server.put(POD)
    assert not uninstall.stop(api(server), OPERATOR, patience=0.0)


def test_a_refusal_says_what_was_asked_and_what_was_said(server: ApiServer) -> None:
    with pytest.raises(ClusterError, match=r"GET /api/v1/nothing was refused: .* was not found") as caught:
        api(server).read("/api/v1/nothing")
    assert caught.value.status == 404


# --- helm test


def test_knatives_settings_are_judged_with_the_command_that_mends_them() -> None:
    bad, *notes = check.judge_features({}, "knative-serving")
    assert bad.failed
    assert "kubectl patch configmap config-features -n knative-serving" in str(bad)
    assert '"kubernetes.podspec-securitycontext": "enabled"' in str(bad)
    flags = dict.fromkeys((*check.FEATURES, *check.CELL_FEATURES, *check.POD_FEATURES), "Enabled")
    assert {each.remedy for each in check.judge_features(flags, "knative-serving")} == {""}
    assert len(notes) == len(check.CELL_FEATURES) + len(check.POD_FEATURES)
    assert not any(each.failed for each in notes), "without them, jobs without such fields run"
    assert all(str(each).startswith("note  ") for each in notes)
    assert sum("jobs with affinity need it" in str(each) for each in notes) == len(check.CELL_FEATURES)
    assert sum("jobs with spec.pods." in str(each) for each in notes) == len(check.POD_FEATURES)
    assert '"allow-zero-initial-scale": "true"' in check.judge_autoscaler({}, "k").remedy
    assert check.judge_autoscaler({"allow-zero-initial-scale": "true"}, "k").remedy == ""
    assert check.judge_timeout({}, "k", 600).remedy == ""
    assert "lower that" in check.judge_timeout({}, "k", 900).remedy
    assert check.judge_timeout({"max-revision-timeout-seconds": "900"}, "k", 900).remedy == ""


def test_a_kind_that_is_missing_is_named_with_what_installs_it(server: ApiServer) -> None:
    crd = "services.serving.knative.dev"
    assert check.check_kind(api(server), crd, "install Knative").remedy == "install Knative"
    path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd}"
    server.put(path)
    server.objects[path]["status"] = {"conditions": [{"type": "Established", "status": "True"}]}
    assert check.check_kind(api(server), crd, "install Knative").remedy == ""


def test_settings_that_cannot_be_read_are_a_finding(server: ApiServer) -> None:
    (finding,) = check.check_knative(api(server), "knative-serving", 600)
    assert "set knative.namespace" in finding.remedy


def storage(service: S3Service, name: str) -> ObjectStorage:
    keys = service.credentials
    return ObjectStorage(
        endpoint=service.endpoint,
        bucket=name,
        access_key=keys.access_key,
        secret_key=SecretStr(keys.secret_key),
    )


@pytest.mark.s3
def test_the_bucket_is_made_once_and_the_store_found_safe(minio: S3Service) -> None:
    place = storage(minio, "chart-hooks")
    assert "bucket" in check.check_store(place).remedy
    assert bucket.ensure(place) is True
    assert bucket.ensure(place) is False
    assert check.check_store(place).remedy == ""


def test_a_store_that_never_starts_is_given_up_with_its_address() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
        place = ObjectStorage(endpoint=endpoint, bucket="any", access_key="a", secret_key=SecretStr("b"))
        with pytest.raises(StoreUnavailable, match=endpoint):
            bucket.ensure(place, patience=0.0)


def test_no_store_is_no_fault() -> None:
    assert check.check_store(None).remedy == ""
