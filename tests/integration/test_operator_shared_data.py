"""The operator says which jobs share cut data, on a real MinIO: who may read it, who may write it, and when it goes."""

import asyncio
import json
import secrets
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

import pytest
from helpers.memory_cluster import MemoryCluster
from helpers.operator_settings import SETTINGS
from helpers.searches import search_document
from minio.credentials.providers import StaticProvider
from minio.minioadmin import MinioAdmin
from s3_servers import S3Service

from sapflow.data import shared_data
from sapflow.errors import ObjectMissing, StoreError, StoreUnavailable
from sapflow.objects import keys
from sapflow.objects.stores.credentials import Credentials
from sapflow.objects.stores.factory import open_store
from sapflow.objects.stores.protocol import Store
from sapflow_operator import names
from sapflow_operator.controller import Controller
from sapflow_operator.kind import Kind
from sapflow_operator.kinds.training_job import TRAINING_JOB
from sapflow_operator.kinds.tuning_job import TUNING_JOB
from sapflow_operator.observed import JobObject
from sapflow_operator.settings import ObjectStorage
from sapflow_operator.store import shared_data as decided
from sapflow_operator.store.credentials import Issuer
from sapflow_operator.store.policy import SharedGrant
from sapflow_operator.wanted import Place

pytestmark = pytest.mark.s3
SPEC: dict[str, Any] = {"model": {"name": "mlp"}, "workers": 2}


class Team:
    """A namespace with a store and an operator."""

    def __init__(self, minio: S3Service, access: Credentials | None = None) -> None:
        self.minio, self.cluster = minio, MemoryCluster()
        own = access or minio.credentials
        storage = {
            "endpoint": minio.endpoint,
            "bucket": minio.bucket,
            "access_key": own.access_key,
            "secret_key": own.secret_key,
        }
        self.settings = SETTINGS.model_copy(
            update={"storage": ObjectStorage.model_validate(storage), "max_instances": 9}
        )
        self.place = Place(minio.endpoint, minio.bucket, "us-east-1")
        self.store = open_store(self.place.url, minio.credentials)
        self.seed = secrets.randbelow(2**31)
        """Keeps the areas of one test from those of another."""

    def add(self, name: str, source: str = "sklearn:iris", **spec: Any) -> None:
        uid = f"{name}-{secrets.token_hex(8)}"
        algorithm = {"epochs": 1, "seed": self.seed}
        self.cluster.add_job(
            name, {**SPEC, "data": {"source": source}, "algorithm": algorithm, **spec}, uid=uid
        )

    def add_search(self, name: str, **spec: Any) -> None:
        """A search whose template has the data of `add`."""
        template = {
            **SPEC,
            "data": {"source": "sklearn:iris"},
            "algorithm": {"epochs": 1, "seed": self.seed},
            **spec.pop("template", {}),
        }
        rate = {"path": "spec.optimizer.learningRate", "float": {"min": 0.01, "max": 1.0}}
        body = search_document(**{"template": {"spec": template}, "parameters": [rate], **spec})["spec"]
        metadata = {"uid": f"{name}-{secrets.token_hex(8)}", "creationTimestamp": "2026-01-01T00:00:00Z"}
        self.cluster.add(names.TUNING_JOB.kind, name, spec=body, status={}, metadata=metadata)

    def reconcile(self, *jobs: str, kind: Kind[Any] = TRAINING_JOB) -> list[str]:
        """The outcomes of one reconciliation of each job."""

        async def scenario() -> list[str]:
            controller = Controller(self.settings, self.cluster, kind)
            outcomes = [await controller.reconcile("team", job) for job in jobs]
            await controller.stop()
            return outcomes

        return asyncio.run(scenario())

    def delete(self, job: str, kind: Kind[Any] = TRAINING_JOB) -> None:
        async def scenario() -> None:
            controller = Controller(self.settings, self.cluster, kind)
            assert await controller.finalize("team", job)
            await controller.stop()

        asyncio.run(scenario())
        del self.cluster.objects[kind.resource.kind, job]

    def status(self, job: str) -> dict[str, Any]:
        return dict(self.cluster.objects[names.KIND, job]["status"])

    def area(self, job: str) -> str | None:
        found: str | None = self.status(job).get("sharedData", {}).get("digest")
        return found

    def uid(self, job: str) -> str:
        return str(self.cluster.objects[names.KIND, job]["metadata"]["uid"])

    def told(self, job: str) -> dict[str, Any]:
        """The document that the job's driver reads."""
        return dict(json.loads(self.cluster.objects["ConfigMap", f"{job}-spec"]["data"][names.JOB_KEY]))

    def secret(self, job: str) -> bool:
        return ("Secret", names.pool_secret(job)) in self.cluster.objects

    def credentials(self, job: str) -> Credentials:
        data = self.cluster.objects["Secret", names.pool_secret(job)]["data"]
        found = [
            b64decode(data[key]).decode() for key in (names.ACCESS_KEY, names.SECRET_KEY, names.SESSION_TOKEN)
        ]
        return Credentials(*found)

    def users(self, digest: str) -> set[str]:
        folder = keys.area_users(digest)
        return {each.key.removeprefix(folder) for each in self.store.list(folder)}

    def cut(self, digest: str) -> None:
        """What a worker of the job would write."""
        prefix = keys.data(keys.area(digest))
        self.store.create(f"{prefix}train/0", b"block")
        self.store.create(keys.manifest(prefix), b"{}")


@pytest.fixture
def team(minio: S3Service) -> Iterator[Team]:
    made = Team(minio)
    yield made
    made.store.close()


def restricted(minio: S3Service, policy: dict[str, Any]) -> Credentials:
    """Credentials that allow what the policy says."""
    admin = MinioAdmin(
        endpoint=minio.endpoint.removeprefix("http://"),
        credentials=StaticProvider(minio.credentials.access_key, minio.credentials.secret_key),
        secure=False,
    )
    made = json.loads(admin.add_service_account(policy=policy))["credentials"]
    return Credentials(made["accessKey"], made["secretKey"])


def may(store: Store, action: str, key: str) -> bool:
    try:
        getattr(store, action)(*{"read": (key,), "create": (key, b"x"), "delete": ([key],)}[action])
    except ObjectMissing:
        return True
    except StoreError:
        return False
    return True


@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize("clear", [False, True])
def test_credentials_open_the_data_of_one_area_and_nothing_beside_it(
    team: Team, write: bool, clear: bool
) -> None:
    mine, other = secrets.token_hex(16), secrets.token_hex(16)
    for digest in (mine, other):
        team.cut(digest)
        for key in (keys.area_record(digest), keys.area_user(digest, "u"), keys.area_removal(digest)):
            team.store.create(key, b"x")
    issued = Issuer(team.place, team.minio.credentials).issue(
        secrets.token_hex(4), "sklearn:iris", 900, shared=SharedGrant(mine, write, clear)
    )
    store = open_store(team.place.url, issued.credentials)
    data = keys.data(keys.area(mine))
    assert bytes(store.read(keys.manifest(data))) == b"{}"
    assert not store.exists(f"{data}train/9"), "what is not there is told from what may not be read"
    assert may(store, "create", f"{data}train/1") is write
    for key in (f"{data}train/0", keys.manifest(data)):
        assert not may(store, "delete", key)
    team.store.create(keys.parsed(data, 0, 0), b"x")
    assert may(store, "delete", keys.parsed(data, 0, 0)) is clear
    for key in (keys.area_record(mine), keys.area_user(mine, "u"), keys.area_removal(mine)):
        assert not any(
            may(store, action, each) for action in ("read", "create", "delete") for each in (key, f"{key}2")
        )
    beside = keys.data(keys.area(other))
    assert not any(may(store, action, keys.manifest(beside)) for action in ("read", "create", "delete"))
    for prefix in (keys.SHARED, keys.area(mine), keys.area_users(mine), beside):
        with pytest.raises(StoreError):
            list(store.list(prefix))
    store.close()


def test_jobs_of_a_namespace_share_what_the_first_has_cut_until_the_last_is_deleted(team: Team) -> None:
    team.add("one")
    team.add("two", workers=1)
    assert team.reconcile("one") == ["ok"]
    digest = team.area("one")
    assert digest is not None
    assert team.told("one")["sharedArea"] == digest
    assert team.users(digest) == {team.uid("one")}
    first = open_store(team.place.url, team.credentials("one"))
    prefix = keys.data(keys.area(digest))
    assert may(first, "create", f"{prefix}train/0"), "nothing is cut yet"
    team.cut(digest)

    assert team.reconcile("two") == ["ok"]
    assert team.area("two") == digest
    assert team.users(digest) == {team.uid("one"), team.uid("two")}
    second = open_store(team.place.url, team.credentials("two"))
    assert bytes(second.read(keys.manifest(prefix))) == b"{}"
    assert not may(second, "create", f"{prefix}train/1"), "all is cut"

    team.delete("one")
    assert team.users(digest) == {team.uid("two")}
    assert bytes(second.read(keys.manifest(prefix))) == b"{}"
    team.delete("two")
    assert list(team.store.list(keys.area(digest))) == []
    for each in (first, second):
        each.close()


def test_a_search_and_a_job_share_what_either_has_cut(team: Team) -> None:
    team.add_search("search")
    assert team.reconcile("search", kind=TUNING_JOB) == ["ok"]
    body = team.cluster.objects[names.TUNING_JOB.kind, "search"]
    digest, uid = body["status"]["sharedData"]["digest"], body["metadata"]["uid"]
    assert team.told(names.TUNING_JOB.pool("search"))["sharedArea"] == digest
    assert team.users(digest) == {uid}
    prefix = keys.data(keys.area(digest))
    store = open_store(team.place.url, team.credentials(names.TUNING_JOB.pool("search")))
    assert may(store, "create", f"{prefix}train/0"), "nothing is cut yet"
    store.close()
    team.cut(digest)
    team.add("one", workers=1)
    assert team.reconcile("one") == ["ok"]
    assert team.area("one") == digest
    team.delete("one")
    assert team.users(digest) == {uid}
    team.delete("search", TUNING_JOB)
    assert list(team.store.list(keys.area(digest))) == []
    assert list(team.store.list(keys.job(uid))) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"template": {"model": {"entrypoint": "mine:make", "image": "registry.example/mine:1"}}},
        {"search": {"entrypoint": "mine:sample"}},
    ],
    ids=["model", "sampler"],
)
def test_a_search_that_runs_user_code_never_writes_to_a_shared_area(
    team: Team, changes: dict[str, Any]
) -> None:
    team.add_search("search", **changes)
    assert team.reconcile("search", kind=TUNING_JOB) == ["ok"]
    status = team.cluster.objects[names.TUNING_JOB.kind, "search"]["status"]
    assert "completionTime" not in status, status
    assert "sharedData" not in status
    assert "sharedArea" not in team.told(names.TUNING_JOB.pool("search"))


OWN_CODE: list[dict[str, Any]] = [
    {"model": {"entrypoint": "mine:make", "image": "registry.example/mine:1"}},
    {"model": {"name": "mlp", "image": "registry.example/mine:1"}},
    {"model": {"name": "mlp", "lossEntrypoint": "mine:loss", "image": "registry.example/mine:1"}},
    {"pods": {"env": [{"name": "PYTHONPATH", "value": "/mine"}]}},
]


@pytest.mark.parametrize("changes", OWN_CODE[:1] + OWN_CODE[2:])
def test_user_code_reads_a_shared_area_and_never_writes_one(team: Team, changes: dict[str, Any]) -> None:
    team.add("mine", **changes)
    assert team.reconcile("mine") == ["ok"]
    assert team.area("mine") is None, "its functions cut the data, below its own prefix"
    assert "sharedArea" not in team.told("mine")

    team.add("plain")
    assert team.reconcile("plain") == ["ok"]
    digest = team.area("plain")
    assert digest is not None
    team.cut(digest)
    team.add("later", **changes)
    assert team.reconcile("later", "later", "mine") == ["ok"] * 3
    assert team.area("later") == digest
    store = open_store(team.place.url, team.credentials("later"))
    prefix = keys.data(keys.area(digest))
    assert bytes(store.read(keys.manifest(prefix))) == b"{}"
    assert not may(store, "create", f"{prefix}train/7")
    assert team.area("mine") is None, "it stays with what it began with"
    store.close()


def test_user_code_whose_shared_data_went_before_it_began_cuts_its_own(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    team.add("plain")
    assert team.reconcile("plain") == ["ok"]
    digest = team.area("plain")
    assert digest is not None
    team.cut(digest)
    team.add("mine", **OWN_CODE[0])
    # The last user leaves after it was decided, and before the job uses the area.
    monkeypatch.setattr(decided, "use", lambda *_: team.store.delete_prefix(keys.area(digest)))
    assert team.reconcile("mine") == ["Starting"]
    assert not team.secret("mine")
    monkeypatch.undo()
    assert team.reconcile("mine", "mine") == ["ok"] * 2
    assert team.area("mine") is None
    assert team.users(digest) == set()


def test_a_status_that_names_another_area_opens_nothing(team: Team) -> None:
    """A digest is granted only to a job whose spec names what is cut there, in its own namespace."""
    team.add("other", source="sklearn:wine")
    assert team.reconcile("other") == ["ok"]
    stolen = team.area("other")
    assert stolen is not None
    team.cut(stolen)
    team.add("thief")
    team.cluster.objects[names.KIND, "thief"]["status"] = {"sharedData": {"digest": stolen}}
    assert team.reconcile("thief") == ["AlteredObject"]
    assert not team.secret("thief")
    # Nor one that nobody has used yet, and that may be another's some day.
    team.add("early")
    team.cluster.objects[names.KIND, "early"]["status"] = {"sharedData": {"digest": "0" * 32}}
    assert team.reconcile("early") == ["InputsChanged"]
    assert not team.secret("early")


def test_another_namespace_has_another_area_for_the_same_data(team: Team) -> None:
    team.add("one")
    assert team.reconcile("one") == ["ok"]
    kind = TRAINING_JOB.wanted
    body = team.cluster.objects[names.KIND, "one"]
    job = JobObject.read({**body, "metadata": {**body["metadata"], "namespace": "elsewhere"}, "status": {}})
    found = decided.decide(kind(job, {}, team.settings), team.minio.credentials)
    assert found is not None
    assert found.area.digest != team.area("one")


def test_a_job_that_an_earlier_release_started_keeps_its_data_below_its_own_prefix(team: Team) -> None:
    team.add("old")
    team.cluster.objects[names.KIND, "old"]["status"] = {"startTime": "2026-01-01T00:00:00Z"}
    assert team.reconcile("old") == ["ok"]
    assert team.area("old") is None
    assert "sharedArea" not in team.told("old")
    team.delete("old")


def test_files_that_change_are_other_data_and_a_started_job_stays_with_what_it_has(team: Team) -> None:
    folder = f"source-{secrets.token_hex(4)}"
    team.store.create(f"{folder}/a.csv", b"a,b\n1,2\n")
    source = f"s3://{team.minio.bucket}/{folder}"
    team.add("one", source=source)
    assert team.reconcile("one") == ["ok"]
    digest = team.area("one")
    assert digest is not None
    record = json.loads(bytes(team.store.read(keys.area_record(digest))))
    assert [each["name"] for each in record["files"]] == [f"{source}/a.csv"]
    assert record["scope"] == "namespace/team"
    team.store.delete([f"{folder}/a.csv"])
    team.store.create(f"{folder}/a.csv", b"a,b\n1,3\n")
    team.add("two", source=source)
    assert team.reconcile("two", "one") == ["ok"] * 2
    assert team.area("one") == digest
    assert team.area("two") not in (None, digest)


def test_who_may_list_a_source_and_not_read_it_shares_nothing_that_was_cut_of_it(minio: S3Service) -> None:
    folder = f"hidden-{secrets.token_hex(4)}"
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::*"]},
            {
                "Effect": "Deny",
                "Action": ["s3:GetObject"],
                "Resource": [f"arn:aws:s3:::{minio.bucket}/{folder}/*"],
            },
        ],
    }
    open_team, blind = Team(minio), Team(minio, restricted(minio, policy))
    blind.seed = open_team.seed
    open_team.store.create(f"{folder}/a.csv", b"a,b\n1,2\n")
    for each in (open_team, blind):
        each.add("one", source=f"s3://{minio.bucket}/{folder}")
        each.reconcile("one")
    assert open_team.area("one") is not None
    assert blind.area("one") is None
    for each in (open_team, blind):
        each.store.close()


def test_a_source_of_too_many_files_is_cut_for_its_job_alone(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decided, "MOST_FILES", 2)
    folder = f"many-{secrets.token_hex(4)}"
    for number in range(3):
        team.store.create(f"{folder}/{number} #?.csv", b"a,b\n1,2\n")
    source = f"s3://{team.minio.bucket}/{folder}"
    team.add("one", source=source)
    assert team.reconcile("one") == ["ok"]
    assert team.area("one") is None
    monkeypatch.setattr(decided, "MOST_FILES", 3)
    team.add("two", source=source)
    assert team.reconcile("two") == ["ok"]
    assert team.area("two") is not None


def test_of_a_source_of_raw_data_files_in_folders_within_it_count_too(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decided, "MOST_FILES", 2)
    folder = f"nested-{secrets.token_hex(4)}"
    for number in range(3):
        team.store.create(f"{folder}/year={number}/part.csv", b"a,b\n1,2\n")
    data = {
        "source": f"s3://{team.minio.bucket}/{folder}",
        "format": "csv",
        "prepare": {"target": "b", "split": {"fraction": 0}},
    }
    team.add("one", data=data)
    assert team.reconcile("one") == ["ok"]
    assert team.area("one") is None
    monkeypatch.setattr(decided, "MOST_FILES", 3)
    team.add("two", data=data)
    assert team.reconcile("two") == ["ok"]
    assert team.area("two") is not None


def test_who_prepares_raw_data_may_remove_what_only_that_needed_and_nothing_else(team: Team) -> None:
    folder = f"raw-{secrets.token_hex(4)}"
    team.store.create(f"{folder}/part.csv", b"a,b\n1,2\n")
    prepare = {"target": "b", "split": {"fraction": 0}}
    data = {"source": f"s3://{team.minio.bucket}/{folder}", "format": "csv", "prepare": prepare}
    team.add("one", data=data)
    assert team.reconcile("one") == ["ok"]
    digest = team.area("one")
    assert digest is not None
    prefix = keys.data(keys.area(digest))
    team.cut(digest)
    team.store.create(keys.parsed(prefix, 0, 0), b"x")
    team.add("late", data=data, workers=1)
    assert team.reconcile("late") == ["ok"]
    store = open_store(team.place.url, team.credentials("late"))
    assert may(store, "delete", keys.parsed(prefix, 0, 0))
    assert not may(store, "delete", keys.manifest(prefix))
    assert not may(store, "create", f"{prefix}train/1"), "all is prepared"
    store.close()


def test_where_the_operator_may_write_for_jobs_alone_nothing_is_shared(minio: S3Service) -> None:
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": ["s3:*"], "Resource": [f"arn:aws:s3:::{minio.bucket}/jobs/*"]},
            {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": [f"arn:aws:s3:::{minio.bucket}"]},
        ],
    }
    jobs_alone = Team(minio, restricted(minio, policy))
    jobs_alone.add("one")
    jobs_alone.reconcile("one")
    assert jobs_alone.area("one") is None
    assert (
        "startTime" in jobs_alone.status("one")
        or jobs_alone.cluster.condition("one")[1] == "CredentialsRefused"
    )
    jobs_alone.store.close()


def test_a_source_that_is_missing_is_left_to_the_cut_to_tell(team: Team) -> None:
    team.add("one", source=f"s3://{team.minio.bucket}/nothing-{secrets.token_hex(4)}")
    assert team.reconcile("one") == ["ok"]
    assert team.area("one") is None


def test_an_area_has_no_user_that_its_jobs_status_does_not_name(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise an operator that dies in between would leave a user that nobody takes away."""
    team.add("one")

    def away(*_: Any) -> None:
        assert team.area("one") is not None
        raise StoreUnavailable("the store is away")

    monkeypatch.setattr(shared_data, "use", away)
    assert team.reconcile("one") == ["StoreUnavailable"]
    digest = team.area("one")
    assert digest is not None, "it is kept when the job's trouble is told"
    assert team.users(digest) == set()
    monkeypatch.undo()
    assert team.reconcile("one") == ["ok"]
    assert team.area("one") == digest
    assert team.users(digest) == {team.uid("one")}
    assert team.store.exists(keys.area_record(digest))
