"""The model of a job that was stopped, failed, or is one of several versions."""

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.cluster_api import cluster_api, running, trainingjob
from helpers.commands import Shell
from helpers.functions import Functions
from helpers.jobs import Place, document, make_place, tiny_job

import sapflow
from sapflow.client import predict, versions
from sapflow.client.cluster_errors import JobUnknown
from sapflow.client.session import Session, find_session
from sapflow.driver.driver import Driver
from sapflow.driver.plans import Environment
from sapflow.errors import DataError, JobFailed
from sapflow.objects import keys
from sapflow.spec.resolved import ResolvedJob

pytestmark = pytest.mark.usefixtures("forked_functions")

FEATURES = np.array([[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]])


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


def write(folder: Path, **changes: Any) -> Path:
    file = folder / "job.yaml"
    file.write_text(json.dumps(document(**changes)))
    return file


def test_a_job_that_a_limit_has_stopped_leaves_a_model_that_predicts(
    tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = tmp_path / "store"
    whole = shell("run", write(tmp_path, algorithm_steps=8), "--store", store, "--json").json
    file = write(tmp_path, algorithm_steps=80, limits={"budgetUSD": whole["account"]["costUSD"] / 2})
    stopped = shell("run", file, "--store", store)
    assert stopped.code == 1
    assert "`sapflow export` gives its model" in stopped.err
    assert "Its model as it stands: sapflow export tiny-" in stopped.err
    done = shell("export", file, "--store", store, "--json").json
    path = Path(done["path"])
    assert path == tmp_path / f"{done['job']}@{done['version']}.safetensors"
    assert done["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert predict.load(path).predict(FEATURES).shape == (2,)
    np.save(tmp_path / "x.npy", FEATURES)
    refused = shell("predict", file, tmp_path / "x.npy", "--store", store)
    assert f"{file}@{done['version']}" in refused.err
    by_version = shell("predict", f"{file}@{done['version']}", tmp_path / "x.npy", "--store", store, "--json")
    assert [row["class"] for row in by_version.json["predictions"]] == predict.load(path).predict(
        FEATURES
    ).tolist()


def test_a_version_exports_as_the_result_of_a_job_that_ends_there(tmp_path: Path, shell: Shell) -> None:
    short, long, store = tmp_path / "short", tmp_path / "long", tmp_path / "store"
    short.mkdir()
    long.mkdir()
    first = shell("run", write(short, algorithm_steps=4), "--store", store, "--json").json
    file = write(long, algorithm_steps=6, checkpoint={"everySteps": 2, "keep": 2})
    second = shell("run", file, "--store", store, "--json").json
    out = tmp_path / "m.safetensors"
    result = shell("export", file, "--store", store, "-o", out, "--json").json
    assert (result["version"], result["sha256"]) == (6, second["sha256"])
    at_four = shell("export", f"{second['job']}@4", "--store", store, "-o", out, "--json").json
    assert (at_four["version"], at_four["sha256"]) == (4, first["sha256"])
    gone = shell("export", f"{file}@1", "--store", store, "-o", out)
    assert gone.code != 0
    assert "version 1 of job" in gone.err
    assert "is not kept: its store has 4, 6" in gone.err
    unknown = shell("export", f"{file}@7", "--store", store, "-o", out)
    assert "has no version 7: its last is 6" in unknown.err


def test_a_report_of_a_version_shows_the_job_as_it_was(tmp_path: Path, shell: Shell) -> None:
    file, store, page = write(tmp_path, algorithm_steps=6), tmp_path / "store", tmp_path / "page.html"
    assert shell("run", file, "--store", store).code == 0
    done = shell("report", f"{file}@3", "--store", store, "-o", page)
    assert done.code == 0
    assert "version 3" in done.out
    assert "has no version 9" in shell("report", f"{file}@9", "--store", store, "-o", page).err


def session_of_run(run: sapflow.Run) -> Session:
    return find_session(run.uid, {}, store=run.store)


def test_python_exports_a_run_that_was_stopped(tmp_path: Path) -> None:
    job = sapflow.TrainingJob.from_yaml(json.dumps(document(algorithm_steps=400)))
    run = sapflow.run(job, store=tmp_path / "store", progress=False)
    for progress in run:
        if progress.step >= 2:
            break
    run.stop()
    path = run.export(tmp_path / "m.safetensors")
    assert sapflow.load_model(path).predict(FEATURES).shape == (2,)
    with pytest.raises(DataError, match="has no version 9999"):
        run.predictor(version=9999)
    done = predict.decode(memoryview(path.read_bytes()), "m")
    with session_of_run(run) as opened:
        last, parts = versions.read(opened, None)
    assert b"".join(parts) == path.read_bytes()
    assert run.predictor(version=last).predict(FEATURES).tolist() == done.predict(FEATURES).tolist()


def test_python_exports_a_job_of_a_cluster_as_the_command_does(
    tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    done = shell("run", write(tmp_path, algorithm_steps=4), "--store", store, "--json").json
    job = trainingjob("digits", **running(4))
    job["metadata"]["uid"] = done["job"]
    with cluster_api() as api:
        monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(tmp_path)))
        api.jobs["team", "digits"] = job
        client = sapflow.Client()
        path = client.export("digits", tmp_path / "python.safetensors", store=str(store))
        out = tmp_path / "command.safetensors"
        said = shell("export", "digits", "-n", "team", "--store", store, "-o", out, "--json").json
        with pytest.raises(DataError, match="has no version 9"):
            client.export("digits", out, store=str(store), version=9)
        with pytest.raises(JobUnknown):
            client.export("other", out, store=str(store))
        unnamed = shell("export", "digits", "-n", "team")
    assert path.read_bytes() == out.read_bytes()
    assert hashlib.sha256(path.read_bytes()).hexdigest() == said["sha256"] == done["sha256"]
    assert "whose store cannot be told from here" in unnamed.err


def test_a_job_without_a_version_says_so(tmp_path: Path) -> None:
    place = make_place(tmp_path, tiny_job())
    session = Session(place.uid, place.job, place.store, "")
    with pytest.raises(DataError, match="has no version yet"):
        versions.read(session, None)


def test_in_a_cluster_the_driver_leaves_the_model_of_a_job_that_a_limit_stops(tmp_path: Path) -> None:
    def driver_of(place: Place) -> Driver:
        area = place.resolved.area
        place.store.delete([keys.spec(keys.job(place.uid))])
        resolved = ResolvedJob(place.job, keys.job(place.uid), "kubernetes", area=area)
        environment = Environment("kubernetes", None, 0)
        return Driver(resolved, place.manifest, place.store, Functions(place.store), environment=environment)

    whole = make_place(tmp_path / "whole", tiny_job())
    spent = asyncio.run(driver_of(whole).run())["account"]["costUSD"]
    assert not any("stopped-" in name for name in whole.listing())
    place = make_place(tmp_path / "limited", tiny_job(limits={"budgetUSD": spent / 2}))
    with pytest.raises(JobFailed) as caught:
        asyncio.run(driver_of(place).run())
    failure = caught.value
    assert (failure.reason, failure.version > 0) == ("BudgetExceeded", True)
    assert "status.checkpoint.uri" in str(failure)
    key = keys.result(keys.job(place.uid), f"stopped-{failure.version}.safetensors")
    assert failure.model == f"{place.store.url}/{key}"
    model = predict.decode(place.store.read(key), key)
    assert model.predict(FEATURES).shape == (2,)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("job.yaml", ("job.yaml", None)),
        ("j@3", ("j", 3)),
        ("a@b/j@0", ("a@b/j", 0)),
        ("a@b/j", ("a@b/j", None)),
        ("@3", ("@3", None)),
    ],
)
def test_a_version_is_named_behind_an_at_sign(name: str, expected: tuple[str, int | None]) -> None:
    assert versions.split(name) == expected
