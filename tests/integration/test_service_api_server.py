"""ModelServices on a real API server and a real store: what is accepted, what is made, and what may be read."""

import asyncio
import secrets
from base64 import b64decode
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.knative_kind import KNATIVE
from helpers.operator_settings import SETTINGS
from helpers.real_api_server import api_server_with
from helpers.served import model_file
from s3_servers import S3Service

from sapflow.errors import SapflowError
from sapflow.kube.access import Access
from sapflow.kube.client import ApiClient
from sapflow.objects import keys
from sapflow.objects.stores.credentials import Credentials
from sapflow.objects.stores.factory import open_store
from sapflow_operator import names
from sapflow_operator.api.cluster import KINDS, Cluster
from sapflow_operator.controller import Controller
from sapflow_operator.kinds.training_job import TRAINING_JOB
from sapflow_operator.serving.controller import ServiceController
from sapflow_operator.settings import ObjectStorage

pytestmark = [pytest.mark.s3, pytest.mark.timeout(600)]
Object = dict[str, Any]
CHARTED = Path(__file__).parents[2] / "charts" / "sapflow" / "files" / "crds"
CRDS = [yaml.safe_load(path.read_text()) for path in sorted(CHARTED.glob("*.yaml"))]
SERVICE = names.MODEL_SERVICE.kind
ABOUT = {"inputs": [4], "outputs": 3, "task": "classification", "classes": 3}


@pytest.fixture(scope="module")
def access(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Access]:
    with api_server_with(
        [KNATIVE, *CRDS],
        [KINDS[kind] for kind in ("Service", SERVICE, names.KIND)],
        tmp_path_factory.mktemp("api"),
    ) as found:
        yield found


class Bench:
    """A namespace of an API server, a bucket, and an operator that is asked to reconcile."""

    def __init__(self, access: Access, minio: S3Service) -> None:
        self.api, self.cluster, self.minio = ApiClient(access), Cluster(access), minio
        storage = ObjectStorage.model_validate(
            {
                "endpoint": minio.endpoint,
                "bucket": minio.bucket,
                "access_key": minio.credentials.access_key,
                "secret_key": minio.credentials.secret_key,
            }
        )
        settings = SETTINGS.model_copy(update={"storage": storage, "max_instances": 9})
        self.namespace = f"team-{secrets.token_hex(4)}"
        self.services = ServiceController(settings, self.cluster)
        self.jobs = Controller(settings, self.cluster, TRAINING_JOB)

    @property
    def url(self) -> str:
        return f"s3://{self.minio.bucket}?endpoint={self.minio.endpoint}"

    async def make(self, kind: str, name: str, spec: Object) -> Object:
        body = {"apiVersion": names.API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}
        return await self.api.create(KINDS[kind].path(self.namespace), body)

    async def trained(self, **spec: Any) -> str:
        """A job that has ended with a model, as its driver and operator leave it; its uid."""
        body = {"model": {"name": "mlp"}, "data": {"source": "sklearn:digits"}, "workers": 2, **spec}
        job = await self.make(names.KIND, "flights", body)
        uid = str(job["metadata"]["uid"])
        key = keys.result(keys.job(uid), "model.safetensors")
        store = open_store(self.url, self.minio.credentials)
        store.create(key, model_file({"hidden": [8]}, ABOUT))
        store.create("elsewhere/model.safetensors", b"not theirs")
        store.close()
        condition = {"type": "Succeeded", "status": "True", "reason": "Completed"}
        status = {
            "conditions": [condition],
            "startTime": "2026-01-01T00:00:00Z",
            "result": {"uri": f"s3://{self.minio.bucket}/{key}", "sha256": "1" * 64},
        }
        await self.api.patch(KINDS[names.KIND].path(self.namespace, "flights", "status"), {"status": status})
        return uid

    async def get(self, kind: str, name: str) -> Object:
        found = await self.cluster.get(kind, self.namespace, name)
        assert found is not None, f"there is no {kind} {name}"
        return found

    async def ready(self) -> str:
        """Knative has found the newest revision ready."""
        found = await self.get("Service", "late-serve")
        revision = str(found["spec"]["template"]["metadata"]["name"])
        status = {
            "observedGeneration": found["metadata"]["generation"],
            "url": "http://late-serve.example.com",
            "latestReadyRevisionName": revision,
            "latestCreatedRevisionName": revision,
            "conditions": [{"type": "RoutesReady", "status": "True"}],
        }
        await self.api.patch(
            KINDS["Service"].path(self.namespace, "late-serve", "status"), {"status": status}
        )
        return revision

    async def serve(self) -> str:
        revision = ""
        for _ in range(3):
            await self.services.reconcile(self.namespace, "late")
            revision = await self.ready()
        await self.services.reconcile(self.namespace, "late")
        return revision

    async def condition(self) -> tuple[str, str]:
        status = (await self.get(SERVICE, "late"))["status"]
        found = next(each for each in status["conditions"] if each["type"] == "Ready")
        return found["status"], found["reason"]


def on(access: Access, minio: S3Service, work: Callable[[Bench], Awaitable[None]]) -> None:
    async def scenario() -> None:
        bench = Bench(access, minio)
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": bench.namespace}}
        await bench.api.create("/api/v1/namespaces", namespace)
        try:
            await work(bench)
        finally:
            await bench.services.stop()
            await bench.jobs.stop()
            await bench.api.close()

    asyncio.run(scenario())


def test_a_service_serves_with_credentials_that_only_read_its_model(access: Access, minio: S3Service) -> None:
    async def work(bench: Bench) -> None:
        uid = await bench.trained()
        await bench.make(SERVICE, "late", {"model": {"job": "flights"}})
        revision = await bench.serve()
        assert await bench.condition() == ("True", "Serving")
        found = await bench.get("Service", "late-serve")
        assert found["spec"]["traffic"] == [
            {"revisionName": revision, "percent": 100, "latestRevision": False}
        ]
        data = (await bench.get("Secret", "late-serve-pool"))["data"]
        text = {name: b64decode(value).decode() for name, value in data.items()}
        given = Credentials(text["access-key"], text["secret-key"], text["session-token"] or None)
        store = open_store(bench.url, given)
        folder = keys.result(keys.job(uid), "")
        assert bytes(store.read(f"{folder}model.safetensors"))
        for act in (
            lambda: store.read("elsewhere/model.safetensors"),
            lambda: store.create(f"{folder}other", b"x"),
            lambda: store.delete([f"{folder}model.safetensors"]),
        ):
            with pytest.raises(SapflowError):
                act()
        store.close()

    on(access, minio, work)


def test_a_second_version_and_a_canary_are_accepted_and_a_look_without_news_writes_nothing(
    access: Access, minio: S3Service
) -> None:
    async def work(bench: Bench) -> None:
        await bench.trained()
        await bench.make(SERVICE, "late", {"model": {"job": "flights"}, "canary": {"percent": 20}})
        first = await bench.serve()
        before = await bench.get(SERVICE, "late")
        await bench.services.reconcile(bench.namespace, "late")
        assert (await bench.get(SERVICE, "late"))["metadata"]["resourceVersion"] == before["metadata"][
            "resourceVersion"
        ]
        path = KINDS[SERVICE].path(bench.namespace, "late")
        await bench.api.patch(path, {"spec": {"scale": {"min": 0, "max": 2, "concurrency": 4}}})
        second = await bench.serve()
        traffic = (await bench.get("Service", "late-serve"))["spec"]["traffic"]
        assert {each["revisionName"]: each["percent"] for each in traffic} == {first: 80, second: 20}
        status = (await bench.get(SERVICE, "late"))["status"]
        assert (status["canary"]["percent"], status["version"]["revision"]) == (20, first)
        assert await bench.condition() == ("True", "RollingOut")

    on(access, minio, work)


def test_spec_serve_makes_a_service_that_the_api_server_accepts(access: Access, minio: S3Service) -> None:
    async def work(bench: Bench) -> None:
        await bench.trained(serve={"name": "late", "scale": {"max": 3}, "canary": {"percent": 5}})
        await bench.jobs.reconcile(bench.namespace, "flights")
        made = await bench.get(SERVICE, "late")
        assert made["spec"]["model"] == {"job": "flights"}
        assert (await bench.get(names.KIND, "flights"))["status"]["serving"]["name"] == "late"
        await bench.serve()
        assert await bench.condition() == ("True", "Serving")
        assert await bench.services.finalize(bench.namespace, "late")
        assert await bench.cluster.get("Secret", bench.namespace, "late-serve-pool") is None

    on(access, minio, work)
