"""Documents that somebody else put into a job's place in the store: they are refused, and nothing of them runs."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from helpers.commands import Shell
from helpers.functions import Functions
from helpers.jobs import Place, document, make_place, tiny_job

from sapflow.client.session import Session, train_by, uid_of
from sapflow.data.cut import write_spec
from sapflow.data.manifest import manifest_key
from sapflow.driver.data_cut import cut_by_worker
from sapflow.errors import AlteredObject, JobFailed
from sapflow.messages.documents import Document
from sapflow.objects import keys
from sapflow.objects.stores.factory import open_store
from sapflow.objects.stores.protocol import Store
from sapflow.spec.resolved import ResolvedJob
from sapflow.training.loaded import JobCache

pytestmark = pytest.mark.usefixtures("forked_functions")


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


def replace(store: Store, key: str, content: bytes) -> None:
    store.delete([key])
    assert store.create(key, content)


def planted(place_of: Path, uid: str, **changes: Any) -> bytes:
    """Put the spec of another job under this name; its bytes."""
    other = ResolvedJob(tiny_job(**changes), keys.job(uid))
    body = json.dumps(other.to_json()).encode()
    assert open_store(str(place_of)).create(keys.spec(keys.job(uid)), body)
    return body


def test_a_planted_spec_is_refused_before_anything_of_it_runs(tmp_path: Path, shell: Shell) -> None:
    """Its uid follows from the YAML, so everybody knows it."""
    (tmp_path / "stranger.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    file, store = tmp_path / "job.yaml", tmp_path / "store"
    file.write_text(json.dumps(document(algorithm_steps=1)))
    planted(
        store, uid_of(tiny_job(algorithm_steps=1)), algorithm_steps=1, model={"entrypoint": "stranger:make"}
    )
    done = shell("run", file, "--store", store)
    assert done.code == 1
    assert "is not the spec of this job: it differs in spec.model.args" in done.err
    assert "spec.model.entrypoint" in done.err
    assert "--again" in done.err
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"spec": 1}'])
def test_what_is_no_spec_is_refused_too(content: bytes, directory_store: Store) -> None:
    resolved = ResolvedJob(tiny_job(), keys.job("u"))
    directory_store.create(keys.spec(resolved.prefix), content)
    with pytest.raises(AlteredObject, match="is no spec of this job"):
        write_spec(resolved, directory_store)


@pytest.mark.parametrize(
    "changes",
    [
        {"limits": {"deadlineSeconds": 9}},
        {"checkpoint": {"everySteps": 2}},
        {"memory": {"worker": "768Mi"}},
    ],
)
def test_what_may_change_between_two_drivers_is_no_other_spec(
    changes: dict[str, Any], directory_store: Store
) -> None:
    prefix = keys.job("u")
    first = write_spec(ResolvedJob(tiny_job(), prefix), directory_store)
    assert write_spec(ResolvedJob(tiny_job(**changes), prefix), directory_store) == first


def test_a_cluster_refuses_a_planted_spec_before_it_calls_a_function(directory_store: Store) -> None:
    job = ResolvedJob(tiny_job(), keys.job("u"), "kubernetes")
    other = ResolvedJob(tiny_job(model={"entrypoint": "stranger:make"}), keys.job("u"), "kubernetes")
    directory_store.create(keys.spec(job.prefix), json.dumps(other.to_json()).encode())
    functions = Functions(directory_store)
    with pytest.raises(AlteredObject, match="delete the job and what lies under its prefix"):
        asyncio.run(cut_by_worker(job, directory_store, functions))
    assert functions.log == []


@pytest.mark.parametrize("which", ["spec", "manifest"])
def test_a_function_refuses_a_document_that_its_driver_has_not_read(which: str, tmp_path: Path) -> None:
    place = make_place(tmp_path, tiny_job())
    found = {"spec": keys.spec(place.resolved.prefix), "manifest": manifest_key(place.resolved.data_prefix)}
    spec, manifest = (Document.of(key, place.store.read(key)) for key in found.values())
    JobCache(place.store).get(spec, manifest)
    key = found[which]
    replace(place.store, key, bytes(place.store.read(key)) + b" ")
    with pytest.raises(AlteredObject, match="not the one that the driver has read"):
        JobCache(place.store).get(spec, manifest)


class Replaced(Functions):
    """Functions whose store gets another spec after the driver has read its own."""

    place: Place
    done = False

    async def invoke(self, *args: Any, **kwargs: Any) -> Any:
        if not self.done:
            self.done = True
            body = json.loads(bytes(self.place.store.read(keys.spec(self.place.resolved.prefix))))
            body["spec"]["model"] = {"entrypoint": "stranger:make"}
            replace(self.place.store, keys.spec(self.place.resolved.prefix), json.dumps(body).encode())
        return await super().invoke(*args, **kwargs)


def test_a_spec_that_is_replaced_while_the_job_runs_fails_it(tmp_path: Path) -> None:
    place = make_place(tmp_path, tiny_job(limits={"retries": 0}))
    functions = Replaced(place.store)
    functions.place = place
    session = Session(place.uid, place.job, place.store, tmp_path.as_uri())
    with pytest.raises(JobFailed, match="somebody has replaced it") as caught:
        asyncio.run(train_by(session, place.manifest, functions))
    assert caught.value.reason == "AlteredObject"
