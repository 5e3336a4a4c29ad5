"""What a deleted job leaves in a real MinIO."""

import json
import secrets
from contextlib import closing

import pytest
from s3_servers import S3Service

from sapflow.objects import keys
from sapflow.objects.stores.factory import open_store
from sapflow_operator.store import objects
from sapflow_operator.wanted import Place

pytestmark = pytest.mark.s3


def standing(minio: S3Service, uid: str) -> set[str]:
    with closing(minio.open()) as store:
        return {each.key.removeprefix(keys.job(uid)) for each in store.list(keys.job(uid))}


@pytest.fixture
def uid(minio: S3Service) -> str:
    """A job with two checkpoints, a result and remains of a step."""
    uid = secrets.token_hex(8)
    place = Place(minio.endpoint, minio.bucket, "us-east-1")
    store = open_store(place.url, minio.credentials)
    for version in (0, 2, 10):
        params = keys.params(keys.job(uid), version, "aa", 0)
        store.create(params, b"p")
        store.create(keys.commit(keys.job(uid), version), json.dumps({"plan": "pp"}).encode())
        body = {"params": [{"key": params}], "optimizer": []}
        if version:
            store.create(keys.checkpoint(keys.job(uid), version), json.dumps(body).encode())
    for key in (
        keys.spec(keys.job(uid)),
        keys.plan(keys.job(uid), "pp"),
        keys.plan(keys.job(uid), "old"),
        keys.data(keys.job(uid)) + "manifest.json",
    ):
        store.create(key, b"{}")
    store.create(keys.contribution(keys.job(uid), 11, "bb", 0, 0, 0), b"left")
    store.create(keys.result(keys.job(uid), "model.safetensors"), b"model")
    store.create(keys.result(keys.job(uid), "outcome.json"), b'{"version": 10}')
    store.create(keys.spec(keys.job(f"{uid}-b")), b"the neighbour's")
    store.close()
    return uid


def test_retain_leaves_the_result_and_all_that_the_last_checkpoint_stands_on(
    minio: S3Service, uid: str
) -> None:
    place = Place(minio.endpoint, minio.bucket, "us-east-1")
    for _ in range(2):
        objects.remove(place, minio.credentials, uid, keep=True)
        assert standing(minio, uid) == {
            "result/model.safetensors",
            "result/outcome.json",
            "checkpoints/10.json",
            "commits/0.json",
            "commits/10.json",
            "params/10-aa.0",
            "plans/pp.json",
            "spec.json",
        }
    assert objects.read_outcome(place, minio.credentials, uid) == {"version": 10}


def test_a_search_leaves_its_result_and_nothing_of_its_trials(minio: S3Service) -> None:
    place, uid = Place(minio.endpoint, minio.bucket, "us-east-1"), secrets.token_hex(8)
    prefix = keys.job(uid)
    with closing(minio.open()) as store:
        for trial in range(3):
            own = keys.trial(prefix, trial)
            for key in (
                keys.spec(own),
                keys.commit(own, 0),
                keys.params(own, 4, "aa", 0),
                keys.result(own, "outcome.json"),
            ):
                store.create(key, b"{}")
        for key in (
            keys.search_record(prefix, 0),
            keys.spec(prefix),
            keys.result(prefix, "model.safetensors"),
        ):
            store.create(key, b"{}")
    objects.remove(place, minio.credentials, uid, keep=True)
    assert standing(minio, uid) == {"result/model.safetensors"}
    objects.remove(place, minio.credentials, uid, keep=False)
    assert standing(minio, uid) == set()


def test_where_the_bucket_is_gone_there_is_nothing_left_to_remove(minio: S3Service) -> None:
    place = Place(minio.endpoint, "no-such-bucket", "us-east-1")
    objects.remove(place, minio.credentials, "an-uid", keep=True)


def test_delete_leaves_nothing_of_the_job_and_all_of_its_neighbours(minio: S3Service, uid: str) -> None:
    place = Place(minio.endpoint, minio.bucket, "us-east-1")
    objects.remove(place, minio.credentials, uid, keep=False)
    assert standing(minio, uid) == set()
    assert standing(minio, f"{uid}-b") == {"spec.json"}
    assert objects.read_outcome(place, minio.credentials, uid) == {}
