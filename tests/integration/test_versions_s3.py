"""Forks and verification on a real MinIO, with the credentials that a job of a cluster has."""

import asyncio
import secrets
from pathlib import Path
from typing import Any

import pytest
from helpers.commands import Shell
from helpers.jobs import Place as JobPlace
from helpers.jobs import Simulation, document, tiny_job
from helpers.search_runs import RATE, iris_search
from s3_servers import S3Service

from sapflow.client.session import Session, uid_of
from sapflow.driver.fork import find_parent
from sapflow.errors import ObjectMissing, SpecError, StoreError
from sapflow.objects import keys
from sapflow.objects.stores.factory import open_store
from sapflow.objects.stores.protocol import Store
from sapflow.spec.document import parse
from sapflow.spec.resolved_search import ResolvedSearch
from sapflow.tuning import spec_record
from sapflow.tuning.actions import Finished
from sapflow.tuning.entries import Begin, Train
from sapflow.tuning.log import Log
from sapflow.tuning.warm_start import warm_results
from sapflow_operator.origin import granted, results_of
from sapflow_operator.store.credentials import Issuer
from sapflow_operator.store.origin import read_origin
from sapflow_operator.wanted import Place

pytestmark = [pytest.mark.s3, pytest.mark.usefixtures("forked_functions")]


def job_in(store: Store, url: str, path: Path, body: dict[str, Any]) -> JobPlace:
    """A job in a store, its data cut."""
    job = parse(body)
    session = Session(uid_of(job), job, store, url)
    return JobPlace(job, session.uid, session.cut_data(), store, path)


def changes(**more: Any) -> dict[str, Any]:
    return {"algorithm_steps": 6, "checkpoint": {"everySteps": 3, "keep": 5}, **more}


def test_a_fork_reads_its_version_with_a_jobs_own_credentials_and_nothing_else_of_the_other_job(
    minio: S3Service, tmp_path: Path
) -> None:
    place = Place(minio.endpoint, minio.bucket, "us-east-1")
    owner = open_store(place.url, minio.credentials)
    # With two shards and states of ranks, so that patterns are needed.
    more = {
        "model_args": {"hidden": [600]},
        "merge_shards": 2,
        "algorithm_localSteps": 2,
        "algorithm_localState": "Keep",
        "algorithm_seed": secrets.randbelow(2**31),
    }
    parent = job_in(owner, place.url, tmp_path, document(**changes(**more)))
    Simulation(parent).run()
    found = read_origin(place, minio.credentials, parent.uid, 3)
    prefix = keys.job(parent.uid)
    body = document(**changes(**more))
    body["spec"]["from"] = {"job": parent.uid, "version": 3}
    uid = uid_of(parse(body))
    readable = [f"{prefix}{name}" for name in found.objects]
    issued = Issuer(place, minio.credentials).issue(uid, "sklearn:iris", 900, (), "", readable)
    assert issued.kind == "session"
    own = open_store(place.url, issued.credentials)
    forked = job_in(own, place.url, tmp_path, body)
    outcome = Simulation(forked).run()
    assert outcome["version"] == 6
    assert forked.commit(6).sha256 == parent.commit(6).sha256
    for key in (
        keys.commit(prefix, 6),
        *(part.key for part in parent.commit(6).params),
        keys.result(prefix, "model.safetensors"),
        keys.manifest(parent.resolved.data_prefix),
    ):
        with pytest.raises(StoreError):
            own.read(key)
    with pytest.raises(StoreError):
        own.create(f"{prefix}params/3-new.0", b"")
    with pytest.raises(StoreError):
        own.delete([parent.commit(3).params[0].key])
    with pytest.raises(SpecError, match="does not keep version 4 any more: name its last, 6"):
        read_origin(place, minio.credentials, parent.uid, 4)
    asked = asyncio.run(find_parent(own, forked.resolved))
    assert asked is not None
    own.close()
    owner.close()


@pytest.mark.timeout(600)
def test_versions_in_a_bucket_are_computed_again_by_real_functions_and_nothing_is_written_there(
    minio: S3Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = minio.url(secrets.token_hex(4))
    store = open_store(url, minio.credentials)
    job = tiny_job(**changes(workers=2, merge={"structure": [1, 2]}))
    place = job_in(store, url, tmp_path, job.to_json())
    Simulation(place).run()
    before = [(each.key, each.size, each.tag) for each in store.list("")]
    environ = {
        "SAPFLOW_S3_ACCESS_KEY": minio.credentials.access_key,
        "SAPFLOW_S3_SECRET_KEY": minio.credentials.secret_key,
        "TMPDIR": str(tmp_path),
    }
    shell = Shell(capsys)
    done = shell("verify", place.uid, "--store", url, "--versions", "5..6", "--json", environ=environ)
    assert done.code == 0, done.err
    assert (done.json["same"], done.json["differs"], done.json["warnings"]) == (2, 0, {})
    assert [(each.key, each.size, each.tag) for each in store.list("")] == before
    assert list(tmp_path.glob("sapflow-verify-*")) == []
    store.close()


def test_a_later_search_reads_the_log_of_an_earlier_one_to_its_end_and_nothing_else_of_it(
    minio: S3Service,
) -> None:
    place = Place(minio.endpoint, minio.bucket, "us-east-1")
    owner = open_store(place.url, minio.credentials)
    earlier, later = (f"search-{secrets.token_hex(8)}" for _ in range(2))
    prefix = keys.job(earlier)

    async def write() -> None:
        log = Log(owner, prefix)
        await log.append([Begin(0, {RATE: 0.1}), Train(0, 4)])
        await log.append([Finished(0, {"loss": 0.5}, 4, 8)])

    asyncio.run(write())
    spec_record.write_spec(ResolvedSearch(iris_search(), prefix), owner)
    owner.create(keys.commit(keys.trial(prefix, 0), 0), b"{}")
    issued = Issuer(place, minio.credentials).issue(
        later, "sklearn:iris", 900, (), "", granted({"uid": earlier, "objects": results_of(earlier)})
    )
    mine = open_store(place.url, issued.credentials)
    search = ResolvedSearch(iris_search(warmStartFrom=earlier), keys.job(later))
    assert asyncio.run(warm_results(mine, search, earlier)) == [({RATE: 0.1}, (0.5,))]
    with pytest.raises(StoreError) as caught:
        mine.read(keys.commit(keys.trial(prefix, 0), 0))
    assert not isinstance(caught.value, ObjectMissing)
    with pytest.raises(StoreError):
        mine.create(keys.search_record(prefix, 2), b"[]")
    for store in (mine, owner):
        store.close()
