"""What the operator makes, changes and leaves alone, on a real API server."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.knative_kind import KNATIVE
from helpers.operator_settings import SETTINGS
from helpers.real_api_server import api_server_with
from s3_servers import S3Service

from sapflow.kube.access import Access
from sapflow.kube.client import ApiClient
from sapflow.kube.errors import ClusterError
from sapflow_operator import names
from sapflow_operator.api.cluster import KINDS, Cluster
from sapflow_operator.controller import Controller
from sapflow_operator.kinds.training_job import TRAINING_JOB
from sapflow_operator.settings import ObjectStorage

pytestmark = [pytest.mark.s3, pytest.mark.timeout(600)]
Object = dict[str, Any]
CHARTED = Path(__file__).parents[2] / "charts" / "sapflow" / "files" / "crds"
CRDS = [yaml.safe_load(path.read_text()) for path in sorted(CHARTED.glob("*.yaml"))]


@pytest.fixture(scope="module")
def access(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Access]:
    with api_server_with(
        [KNATIVE, *CRDS], [KINDS[kind] for kind in ("Service", names.KIND)], tmp_path_factory.mktemp("api")
    ) as found:
        yield found


class Bench:
    """A namespace of an API server, and an operator that is asked to reconcile."""

    def __init__(self, access: Access, minio: S3Service) -> None:
        self.api, self.cluster = ApiClient(access), Cluster(access)
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
        self.controller = Controller(settings, self.cluster, TRAINING_JOB)

    async def job(self, name: str = "digits") -> Object:
        spec = {"model": {"name": "mlp"}, "data": {"source": "sklearn:digits"}, "workers": 2}
        return await self.make(names.KIND, name, names.API_VERSION, spec=spec)

    async def make(self, kind: str, name: str, version: str = "v1", **fields: Any) -> Object:
        metadata = {"name": name, "namespace": self.namespace, **fields.pop("metadata", {})}
        body = {"apiVersion": version, "kind": kind, "metadata": metadata, **fields}
        return await self.api.create(KINDS[kind].path(self.namespace), body)

    async def get(self, kind: str, name: str) -> Object:
        found = await self.cluster.get(kind, self.namespace, name)
        assert found is not None, f"there is no {kind} {name}"
        return found

    async def reconcile(self, times: int = 3) -> None:
        for _ in range(times):
            await self.controller.reconcile(self.namespace, "digits")

    async def reason(self, type: str = "Succeeded") -> str:
        job = await self.get(names.KIND, "digits")
        return str(next(each["reason"] for each in job["status"]["conditions"] if each["type"] == type))

    async def children(self) -> list[tuple[str, str]]:
        """Everything of the operator's in the namespace."""
        found = []
        for kind in sorted(set(KINDS) - {"Event", "Node", "PersistentVolume", names.KIND}):
            mine = "app.kubernetes.io/managed-by=sapflow-operator"
            for each in await self.cluster.list(kind, self.namespace, mine):
                found.append((kind, each["metadata"]["name"]))
        return found


def on(access: Access, minio: S3Service, work: Callable[[Bench], Awaitable[None]]) -> None:
    async def scenario() -> None:
        bench = Bench(access, minio)
        await bench.api.create(
            "/api/v1/namespaces",
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": bench.namespace}},
        )
        try:
            await work(bench)
        finally:
            await bench.controller.stop()
            await bench.api.close()

    asyncio.run(scenario())


def test_a_users_secret_of_a_childs_name_is_neither_changed_nor_owned_nor_deleted(
    access: Access, minio: S3Service
) -> None:
    async def work(bench: Bench) -> None:
        before = await bench.make("Secret", "digits-pool", data={"mine": "c2VjcmV0"})
        await bench.job()
        await bench.reconcile()
        assert await bench.reason() == await bench.reason("Planned") == "NotOwned"
        assert await bench.children() == []

        assert await bench.controller.finalize(bench.namespace, "digits")
        after = await bench.get("Secret", "digits-pool")
        assert (after["data"], after["metadata"]) == (before["data"], before["metadata"])

        await bench.cluster.delete("Secret", bench.namespace, "digits-pool")
        await bench.reconcile()
        assert await bench.reason() == "Starting"
        assert ("Secret", "digits-pool") in await bench.children()

    on(access, minio, work)


@pytest.mark.parametrize(
    ("kind", "version", "name", "fields"),
    [
        ("Service", "serving.knative.dev/v1", "digits-merger", {"spec": {"template": {"mine": True}}}),
        ("ConfigMap", "v1", "digits-spec", {"data": {"mine": "x"}}),
        ("ServiceAccount", "v1", "digits-driver", {}),
    ],
)
def test_other_objects_of_childrens_names_are_left_alone_too(
    access: Access, minio: S3Service, kind: str, version: str, name: str, fields: Object
) -> None:
    async def work(bench: Bench) -> None:
        before = await bench.make(kind, name, version, **fields)
        await bench.job()
        await bench.reconcile()
        assert await bench.reason() == "NotOwned"
        after = await bench.get(kind, name)
        assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
        assert await bench.controller.finalize(bench.namespace, "digits")
        await bench.get(kind, name)

    on(access, minio, work)


def test_a_users_secret_that_replaced_the_jobs_own_outlives_its_renewal_and_its_job(
    access: Access, minio: S3Service
) -> None:
    async def work(bench: Bench) -> None:
        await bench.job()
        await bench.reconcile()
        await bench.cluster.delete("Secret", bench.namespace, "digits-pool")
        await bench.make("Secret", "digits-pool", data={"mine": "c2VjcmV0"})
        await bench.reconcile()
        assert await bench.reason() == "NotOwned"
        assert await bench.controller.finalize(bench.namespace, "digits")
        assert (await bench.get("Secret", "digits-pool"))["data"] == {"mine": "c2VjcmV0"}

    on(access, minio, work)


def test_objects_of_an_earlier_job_of_the_same_name_are_waited_for(access: Access, minio: S3Service) -> None:
    async def work(bench: Bench) -> None:
        earlier = names.owner(names.TRAINING_JOB, "digits", "an-earlier-uid")
        standing = await bench.make("Secret", "digits-pool", metadata={"ownerReferences": [earlier]})
        service = await bench.make(
            "Service", "digits-worker", "serving.knative.dev/v1", metadata={"ownerReferences": [earlier]}
        )
        await bench.job()
        await bench.reconcile()
        assert await bench.reason() == "Starting"
        await bench.cluster.delete("Secret", bench.namespace, "digits-pool", standing["metadata"]["uid"])
        await bench.reconcile()
        assert await bench.reason() == "Starting"
        found = await bench.get("Service", "digits-worker")
        assert found["metadata"]["resourceVersion"] == service["metadata"]["resourceVersion"]
        await bench.cluster.delete("Service", bench.namespace, "digits-worker")
        await bench.reconcile()
        uid = (await bench.get(names.KIND, "digits"))["metadata"]["uid"]
        for kind, name in (("Secret", "digits-pool"), ("Service", "digits-worker")):
            (owner,) = (await bench.get(kind, name))["metadata"]["ownerReferences"]
            assert owner["uid"] == uid

    on(access, minio, work)


def test_a_field_that_a_later_manifest_leaves_out_goes_and_a_users_own_field_stays(
    access: Access, minio: S3Service
) -> None:
    async def work(bench: Bench) -> None:
        def manifest(**data: str) -> Object:
            metadata = {"name": "a", "namespace": bench.namespace, "labels": {"x": "y"}}
            return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}

        await bench.cluster.create(manifest(one="1", two="2"))
        uid = (await bench.get("ConfigMap", "a"))["metadata"]["uid"]
        path = KINDS["ConfigMap"].path(bench.namespace, "a")
        await bench.api.patch(path, {"data": {"theirs": "3"}})
        await bench.cluster.change(manifest(one="1"), uid)
        assert (await bench.get("ConfigMap", "a"))["data"] == {"one": "1", "theirs": "3"}
        await bench.cluster.change(manifest(two="2"), uid)
        assert (await bench.get("ConfigMap", "a"))["data"] == {"two": "2", "theirs": "3"}

        await bench.cluster.delete("ConfigMap", bench.namespace, "a")
        with pytest.raises(ClusterError) as refused:
            await bench.cluster.change(manifest(two="2"), uid)
        assert refused.value.status == 404
        await bench.make("ConfigMap", "a", data={"mine": "x"})
        with pytest.raises(ClusterError) as refused:
            await bench.cluster.change(manifest(two="2"), uid)
        assert refused.value.status == 422, "a uid is immutable"
        assert (await bench.get("ConfigMap", "a"))["data"] == {"mine": "x"}

    on(access, minio, work)


def test_a_job_that_is_left_alone_comes_to_rest(access: Access, minio: S3Service) -> None:
    async def work(bench: Bench) -> None:
        await bench.job()
        await bench.reconcile()
        before = {
            (kind, name): (await bench.get(kind, name))["metadata"]["resourceVersion"]
            for kind, name in await bench.children()
        }
        assert len(before) == 9
        await bench.reconcile()
        for (kind, name), version in before.items():
            assert (await bench.get(kind, name))["metadata"]["resourceVersion"] == version

    on(access, minio, work)
