"""What lies beside a model: the preparation that its data was made by, and golden rows where a worker can make them."""

import asyncio
import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from sapflow.data.manifest import Manifest
from sapflow.driver.model_files import ModelFiles
from sapflow.errors import AlteredObject, JobFailed
from sapflow.messages.documents import Document
from sapflow.messages.replies import KeepReply
from sapflow.messages.requests import KeepRequest
from sapflow.messages.vectors import Sizes
from sapflow.objects.stores.directory import DirectoryStore
from sapflow.records.commits import Commit
from sapflow.steps.calls import Caller

CONTENT = b"what the steps have learnt"
SHA = hashlib.sha256(CONTENT).hexdigest()


def files(folder: Path, preparation: str | None = SHA) -> ModelFiles:
    store = DirectoryStore(str(folder))
    store.create("jobs/a/data/preparation.safetensors", CONTENT)
    store.create("jobs/a/data/profile.safetensors", b"rows")
    manifest = cast(Manifest, SimpleNamespace(preparation=preparation))
    return ModelFiles(store, manifest, "jobs/a/data/", "jobs/a/")


class Worker:
    """Takes calls; `fails` is what each of them raises, `rows` what it could keep."""

    def __init__(self, fails: JobFailed | None = None, rows: int = 16) -> None:
        self.fails, self.rows, self.requests = fails, rows, list[KeepRequest]()

    async def call(self, role: str, request: KeepRequest, kind: object) -> KeepReply:
        assert role == "worker"
        self.requests.append(request)
        if self.fails is not None:
            raise self.fails
        return KeepReply(done=True, rows=self.rows)


def keep(found: ModelFiles, worker: Worker) -> None:
    commit = cast(
        Commit, SimpleNamespace(version=7, params=[], sizes=Sizes(parameters=1, averaged=0, block=1))
    )
    documents = (Document.of("jobs/a/spec.json", b"{}"), Document.of("jobs/a/data/manifest.json", b"{}"))
    caller = cast(Caller, worker)
    asyncio.run(found.keep_golden_rows(caller, "a", commit, documents, None, {"sapflow": "{}"}, SHA))


def test_the_preparation_is_copied_beside_the_model(tmp_path: Path) -> None:
    asyncio.run(files(tmp_path).copy_preparation())
    assert (tmp_path / "jobs/a/result/preparation.safetensors").read_bytes() == CONTENT


def test_a_preparation_that_somebody_has_replaced_is_not_copied(tmp_path: Path) -> None:
    with pytest.raises(AlteredObject, match="somebody has replaced it"):
        asyncio.run(files(tmp_path, "0" * 64).copy_preparation())


def test_a_worker_is_asked_for_the_rows_that_a_preparation_has_kept_or_for_samples(tmp_path: Path) -> None:
    worker = Worker()
    keep(files(tmp_path), worker)
    (request,) = worker.requests
    assert (request.version, request.profile, request.model) == (7, "jobs/a/data/profile.safetensors", SHA)
    assert request.output == "jobs/a/result/golden.safetensors"
    keep(files(tmp_path, None), worker)
    assert worker.requests[1].profile is None


def test_without_a_profile_of_prepared_rows_no_worker_is_asked(tmp_path: Path) -> None:
    worker, found = Worker(), files(tmp_path)
    (tmp_path / "jobs/a/data/profile.safetensors").unlink()
    keep(found, worker)
    assert worker.requests == []


def test_where_a_model_does_not_repeat_its_outputs_the_log_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keep(files(tmp_path), Worker(rows=0))
    assert [record.message for record in caplog.records] == ["no golden rows"]


def test_a_model_is_not_lost_where_there_is_no_money_for_golden_rows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keep(files(tmp_path), Worker(JobFailed("no dollar is left", reason="BudgetExceeded", version=7)))
    (record,) = caplog.records
    fields: dict[str, Any] = vars(record)["fields"]
    assert (record.message, fields["reason"]) == ("no golden rows", "BudgetExceeded")
