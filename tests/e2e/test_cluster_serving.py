"""A ModelService in a cluster: to zero and back, from version to version, never to one that fails its golden rows."""

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from helpers.departures import departures
from helpers.kube import (
    ONE_CPU,
    SYSTEM,
    Job,
    forwarded,
    kill_pods,
    kubectl,
    namespace_of_its_own,
    owned_store,
    read,
    sample,
    wait_until,
)
from helpers.served_cluster import ROWS, Service, under_load, way_to

from sapflow import Client
from sapflow.objects import keys

pytestmark = pytest.mark.e2e


@dataclass(frozen=True)
class Trained:
    """Two jobs on the same raw rows, of which the second has learnt otherwise."""

    namespace: str
    folder: str
    """A folder of the bucket: copies of their results as `1/` and `2/`; `bad/` has the second's model and the first's
    golden rows."""
    sha256: tuple[str, str]

    def model(self, name: str) -> dict[str, str]:
        sha256 = self.sha256[0] if name == "1" else self.sha256[1]
        return {"uri": f"s3://sapflow/{self.folder}/{name}/model.safetensors", "sha256": sha256}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    made = departures(tmp_path_factory.mktemp("raw") / "flights", rows=3_000)
    folder = f"served-{secrets.token_hex(4)}"
    with namespace_of_its_own() as namespace:
        with owned_store() as store:
            for path in sorted(made.folder.iterdir()):
                store.create(f"{folder}/raw/{path.name}", path.read_bytes())
            found = []
            for number, seed in (("1", 0), ("2", 7)):
                document = sample(
                    "prepare",
                    data__source=f"s3://sapflow/{folder}/raw",
                    algorithm={"steps": 20, "seed": seed},
                    cpu=ONE_CPU,
                    memory={"worker": "512Mi", "merger": "128Mi"},
                )
                job = Job.apply(namespace, document, f"flights-{number}")
                result = job.until_succeeded()["result"]
                uid = job.read()["metadata"]["uid"]
                prefix = keys.result(keys.job(uid), "")
                for each in store.list(prefix):
                    store.create(
                        f"{folder}/{number}/{each.key.removeprefix(prefix)}", bytes(store.read(each.key))
                    )
                found.append(result["sha256"])
            for number, name in (
                ("2", "model.safetensors"),
                ("2", "preparation.safetensors"),
                ("1", keys.GOLDEN_ROWS),
            ):
                store.create(f"{folder}/bad/{name}", bytes(store.read(f"{folder}/{number}/{name}")))
        yield Trained(namespace, folder, (found[0], found[1]))
        # A test has taken the store away meanwhile, and the way to it.
        with owned_store() as store:
            store.delete_prefix(f"{folder}/")


@pytest.fixture
def served(trained: Trained) -> Iterator[Service]:
    """A service of the first model."""
    service = Service.apply(trained.namespace, f"late-{secrets.token_hex(2)}", {"model": trained.model("1")})
    service.until("True", "Serving")
    yield service
    kubectl("delete", "ms", "-n", service.namespace, service.name, "--ignore-not-found", "--timeout=120s")


def test_a_service_goes_to_zero_and_answers_the_first_request_after_it(served: Service) -> None:
    with way_to(served) as way:
        status, answer = way.ask()
        assert (status, answer["version"]) == (200, served.revision)
        assert answer["decisions"][0]["label"] in ("yes", "no")
        for _ in range(3):
            served.until_zero()
            assert way.ask()[0] == 200
    shown = kubectl("get", "ms", "-n", served.namespace, served.name)
    assert all(each in shown for each in ("URL", "READY", "VERSION", "CANARY", "REQUESTS", "ERRORS", "True"))


def test_a_request_without_the_token_is_refused(served: Service) -> None:
    with way_to(served) as way:
        way.token = "another"
        assert way.ask()[0] == 401


def test_a_next_version_takes_over_under_load_without_a_failed_request(
    served: Service, trained: Trained
) -> None:
    first = served.revision
    with way_to(served) as way, under_load(way) as load:
        wait_until(lambda: load.statuses.get(200, 0) > 50, "requests")
        served.patch({"model": trained.model("2")})
        second = served.until_serves(first)
        wait_until(lambda: load.versions.get(second, 0) > 50, "requests of the next version")
    assert load.failed == {}
    assert set(load.versions) == {first, second}


CANARY = {"percent": 25, "stepSeconds": 5, "minRequests": 20, "minAgreement": 0.0}


def test_a_canary_goes_forward_by_itself(served: Service, trained: Trained) -> None:
    first = served.revision
    served.patch({"canary": CANARY})
    with way_to(served) as way, under_load(way) as load:
        served.patch({"model": trained.model("2")})
        wait_until(lambda: served.traffic.get(first) == 75, "the first step", 240)
        assert served.state == ("True", "RollingOut")
        second = served.until_serves(first)
    assert load.failed == {}
    assert load.versions[second] > 20
    reasons = [each["reason"] for each in events_of(served)]
    assert reasons.count("CanaryAdvanced") >= 2


def test_a_canary_that_is_too_slow_goes_back_within_ten_seconds(served: Service, trained: Trained) -> None:
    first = served.revision
    served.patch({"canary": {**CANARY, "stepSeconds": 600, "maxP99Seconds": 0.0005, "minAgreement": None}})
    with way_to(served) as way, under_load(way) as load:
        served.patch({"model": trained.model("2")})
        status = served.until("False", "TooSlow")
        wait_until(lambda: served.traffic == {first: 100}, "all requests where they were", 10)
    assert load.failed == {}
    assert status["rejected"]["reason"] == "TooSlow"
    assert served.revision == first


def test_a_version_that_fails_its_golden_rows_never_gets_a_request(served: Service, trained: Trained) -> None:
    first = served.revision
    with way_to(served) as way, under_load(way, threads=1) as load:
        served.patch({"model": trained.model("bad")})
        served.until("False", "GoldenRowsFailed")
        asked = load.statuses.get(200, 0)
        wait_until(lambda: load.statuses.get(200, 0) > asked + 50, "requests")
        assert served.traffic == {first: 100}
    assert load.failed == {}
    assert set(load.versions) == {first}


def test_a_service_answers_while_its_store_is_away(served: Service) -> None:
    served.patch({"scale": {"min": 1}})
    served.until("True", "Serving")
    served.until_serves()
    with way_to(served) as way:
        assert way.ask()[0] == 200
        kubectl("scale", "statefulset", "-n", SYSTEM, "sapflow-minio", "--replicas=0")
        try:
            wait_until(lambda: not minio_pods(), "no store", 60)
            assert [way.ask()[0] for _ in range(20)] == [200] * 20
            assert served.state[0] == "True"
        finally:
            kubectl("scale", "statefulset", "-n", SYSTEM, "sapflow-minio", "--replicas=1")
            kubectl("rollout", "status", "-n", SYSTEM, "statefulset/sapflow-minio", "--timeout=120s")


def test_pods_that_are_killed_are_replaced_and_replay_their_golden_rows(served: Service) -> None:
    with way_to(served) as way:
        assert way.ask()[0] == 200
        kill_pods(served.namespace, f"sapflow.dev/job={served.name},sapflow.dev/role=server")
        wait_until(lambda: way.ask()[0] == 200, "an answer", 120)


def test_a_service_that_is_deleted_leaves_its_model_and_says_so(served: Service, trained: Trained) -> None:
    kubectl("delete", "ms", "-n", served.namespace, served.name, "--timeout=120s")
    deleted = next(each for each in events_of(served) if each["reason"] == "Deleted")
    assert f"s3://sapflow/{trained.folder}/1/model.safetensors" in deleted["message"]
    label = f"sapflow.dev/job={served.name},sapflow.dev/kind=ModelService"
    kinds = "ksvc,secrets,configmaps,networkpolicies"
    wait_until(
        lambda: not kubectl("get", kinds, "-n", served.namespace, "-l", label, "-o", "name").strip(),
        "nothing left of it",
        120,
    )
    with owned_store() as store:
        assert store.exists(f"{trained.folder}/1/model.safetensors")


def test_spec_serve_makes_a_service_that_outlives_its_job(namespace: str) -> None:
    document = sample("digits", serve={"name": "digits-now", "scale": {"max": 2}}, algorithm__epochs=1)
    job = Job.apply(namespace, document)
    job.until_succeeded()
    service = Service(namespace, "digits-now")
    wait_until(lambda: "digits-now" in kubectl("get", "ms", "-n", namespace, "-o", "name"), "the service", 60)
    service.until("True", "Serving")
    job.delete()
    assert service.state == ("True", "Serving")
    found = read("ms", "-n", namespace, "digits-now")["spec"]
    assert found["model"] == {"job": job.name}
    assert json.dumps(found["scale"]["max"]) == "2"


def test_a_service_answers_from_128_mebibytes_and_a_tenth_of_a_cpu(namespace: str) -> None:
    Job.apply(namespace, sample("digits", algorithm__epochs=1)).until_succeeded()
    spec = sample("serve")["spec"]
    assert spec["resources"] == {"memory": "128Mi", "cpu": "100m"}
    service = Service.apply(namespace, "small", spec)
    service.until("True", "Serving")
    with way_to(service) as way:
        answers = [way.ask(rows=[[0.0] * 64] * count) for count in (1, 100, 1, 100)]
        assert [status for status, _ in answers] == [200] * 4
        assert len(answers[1][1]["decisions"]) == 100
    (pod,) = service.pods()
    (container,) = (each for each in pod["spec"]["containers"] if each["name"] == "user-container")
    assert container["resources"]["limits"] == {"memory": "128Mi", "cpu": "100m"}
    # The chart's PodMonitor asks the port of this name.
    assert [each["name"] for each in container["ports"]] == ["user-port"]
    assert [each["restartCount"] for each in pod["status"]["containerStatuses"]] == [0, 0]
    assert kubectl("logs", "-n", namespace, pod["metadata"]["name"], "-c", "user-container").count(
        '"goldenRows": 16'
    )


def test_a_service_is_asked_by_its_name(served: Service) -> None:
    with forwarded("kourier-system", "deploy/3scale-kourier-gateway", 8081) as port:
        client = Client(served.namespace)
        (made,) = client.predict(served.name, ROWS, gateway=f"http://127.0.0.1:{port}")
    assert made["label"] in ("yes", "no")


def events_of(service: Service) -> list[dict[str, Any]]:
    field = f"involvedObject.kind=ModelService,involvedObject.name={service.name}"
    return list(read("events", "-n", service.namespace, "--field-selector", field)["items"])


def minio_pods() -> list[dict[str, Any]]:
    return list(read("pods", "-n", SYSTEM, "-l", "app.kubernetes.io/component=minio")["items"])
