"""Jobs whose raw data is prepared by functions of this machine: trained, predicted from raw rows, copied."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from helpers.preparations import STEPS, flights, prepared_job
from helpers.server_process import ServerProcess
from helpers.server_process import document as served
from PIL import Image
from s3_servers import S3Service

from sapflow.client import predict
from sapflow.client.run import run as start
from sapflow.client.training_job import TrainingJob
from sapflow.data.blocks import load_manifest
from sapflow.data.manifest import block_key, decode_block
from sapflow.errors import DataError, JobStopped
from sapflow.objects import keys
from sapflow.objects.stores.factory import open_store

ROWS = 10_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with raw rows, a job on them, and its store in which the job has been trained."""
    path = tmp_path_factory.mktemp("prepared")
    job = prepared_job(flights(path / "raw", rows=ROWS), STEPS)
    document = job.to_json()
    document["spec"]["algorithm"] = {"steps": 3, "seed": 1}
    (path / "job.yaml").write_text(json.dumps(document))
    trained = sapflow(path, "run", "job.yaml", "--store", "store", "--json")
    (path / "outcome.json").write_text(trained.stdout)
    return path


def sapflow(
    folder: Path,
    *arguments: str,
    code: int = 0,
    environ: Mapping[str, str] | None = None,
    text: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """A command; it must end with that exit code. `environ` is added to its environment, `text` is its input."""
    command = [sys.executable, "-m", "sapflow", *arguments]
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **(environ or {})},
        capture_output=True,
        input=text,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def outcome(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "outcome.json").read_text())
    return found


def model(folder: Path) -> Path:
    return Path(outcome(folder)["path"])


def blocks(folder: Path) -> np.ndarray:
    """The features of all samples, as training has them."""
    store = open_store(str(folder / "store"))
    area = json.loads((model(folder).parent.parent / "spec.json").read_text())["sharedArea"]
    prefix = keys.data(keys.area(area))
    manifest = load_manifest(store, keys.manifest(prefix))
    found = []
    for part in ("train", "validation"):
        for index, count in enumerate(manifest.blocks(part)):
            key = block_key(prefix, part, index)
            found.append(decode_block(store.read(key), key, manifest, count)[0])
    return np.concatenate(found)


def without_target(folder: Path) -> Path:
    """All raw rows as one file, the columns in another order and the target left out."""
    lines = ["distance,note,carrier,delay"]
    for part in sorted((folder / "raw").iterdir()):
        for line in part.read_text().splitlines()[1:]:
            delay, carrier, distance, note, _ = line.split(",")
            lines.append(",".join([distance, note, carrier, delay]))
    path = folder / "rows.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_features_of_ten_thousand_raw_rows_are_those_of_training_bit_for_bit(folder: Path) -> None:
    found = predict.load(model(folder)).prepared(without_target(folder))
    assert found.rows.tolist() == list(range(ROWS))
    assert found.bad == ()
    trained = blocks(folder)
    assert found.features.dtype == trained.dtype
    assert sorted(map(bytes, found.features)) == sorted(map(bytes, trained))


def test_predictions_of_raw_rows_have_the_words_of_the_classes(folder: Path) -> None:
    done = sapflow(folder, "predict", str(model(folder)), str(without_target(folder)), "--json")
    predictions = json.loads(done.stdout)["predictions"]
    assert [each["row"] for each in predictions] == list(range(ROWS))
    assert {each["label"] for each in predictions} <= {"yes", "no"}


def test_a_row_that_gives_no_sample_is_told_and_the_others_are_predicted(folder: Path) -> None:
    path = folder / "odd.csv"
    path.write_text("delay,carrier,distance,note\n1,AA,2,x\n2,AA,,x\n3,UA,4,x\n")
    done = sapflow(folder, "predict", str(model(folder)), str(path))
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == ["0", "2"]
    assert "no prediction: " in done.stderr
    assert "column distance: is missing" in done.stderr


def test_a_model_without_its_preparation_says_what_is_missing(folder: Path, tmp_path: Path) -> None:
    alone = tmp_path / "model.safetensors"
    alone.write_bytes(model(folder).read_bytes())
    with pytest.raises(DataError, match=r"preparation.safetensors is not beside it"):
        predict.load(alone).prepared(without_target(folder))
    beside = tmp_path / "preparation.safetensors"
    beside.write_bytes(model(folder).with_name("preparation.safetensors").read_bytes() + b" ")
    with pytest.raises(DataError, match="not the preparation that the model was trained with"):
        predict.load(alone).prepared(without_target(folder))


def test_an_exported_model_has_its_preparation_beside_it(folder: Path) -> None:
    sapflow(folder, "export", outcome(folder)["job"], "--store", "store", "-o", "exported.safetensors")
    assert predict.load(folder / "exported.safetensors").preparation().samples.kind == "numbers"


def test_a_job_s_preparation_was_forecast_and_is_graded_in_outcome_and_status(folder: Path) -> None:
    found = json.loads((folder / "outcome.json").read_text())["preparation"]
    assert found["secondsRange"][0] < found["seconds"] < found["secondsRange"][1]
    assert found["secondsError"] == pytest.approx(found["seconds"] / found["measuredSeconds"] - 1)
    assert found["costError"] == pytest.approx(found["costUSD"] / found["measuredUSD"] - 1)
    shown = sapflow(folder, "status", "job.yaml", "--store", "store").stdout
    assert re.search(
        r"preparation +forecast .* of time, (within|outside); .* of cost, (within|outside)", shown
    )


def test_provenance_names_the_preparation(folder: Path) -> None:
    said = json.loads((model(folder).parent / "provenance.json").read_text())
    assert said["data"]["preparation"] == predict.load(model(folder)).description.preparation


def test_data_is_prepared_without_training_and_copied_as_blocks_and_as_tables(folder: Path) -> None:
    sapflow(folder, "prepare", "job.yaml", "--store", "other", "--to", "blocks", "--plain")
    copied = {path.name for path in (folder / "blocks").iterdir() if not path.name.startswith(".")}
    assert copied == {"train", "validation", "manifest.json", "preparation.safetensors"}
    done = sapflow(
        folder, "prepare", "job.yaml", "--store", "other", "--to", "tables", "--format", "parquet", "--json"
    )
    table = pandas.concat([pandas.read_parquet(path) for path in sorted((folder / "tables/train").iterdir())])
    assert len(table) == json.loads(done.stdout)["train"]
    assert list(table.columns) == [*json.loads(done.stdout)["columns"], "target"]
    assert set(table["target"]) == {"yes", "no"}


def test_a_job_without_raw_data_has_nothing_to_prepare(folder: Path) -> None:
    document = json.loads((folder / "job.yaml").read_text())
    document["spec"]["data"] = {"source": "sklearn:iris"}
    (folder / "plain.yaml").write_text(json.dumps(document))
    assert "nothing to prepare" in sapflow(folder, "prepare", "plain.yaml", "--store", "other", code=2).stderr


def test_validate_tells_the_samples_of_raw_data(folder: Path) -> None:
    assert "of 8, classification, 2 classes" in sapflow(folder, "validate", "job.yaml").stdout


def search_file(folder: Path, name: str, **spec: Any) -> str:
    """The YAML of a search over the job's learning rate."""
    template = json.loads((folder / "job.yaml").read_text())
    search = {
        "apiVersion": template["apiVersion"],
        "kind": "TuningJob",
        "metadata": {"name": "search"},
        "spec": {
            "template": {"spec": template["spec"]},
            "objective": {"metric": "loss", "direction": "Minimize"},
            "parameters": [{"path": "spec.optimizer.learningRate", "float": {"min": 0.01, "max": 0.1}}],
            "maxTrials": 2,
            "maxWorkers": 4,
            **spec,
        },
    }
    (folder / name).write_text(json.dumps(search))
    return name


@pytest.mark.timeout(600)
def test_a_search_prepares_once_for_all_of_its_trials_and_pays_for_it(folder: Path) -> None:
    done = sapflow(folder, "run", search_file(folder, "search.yaml"), "--store", "searched", "--plain")
    assert done.stdout.count("preparing /") == 1
    assert "has ended" in done.stdout
    assert done.stdout.index("preparing /") < done.stdout.index("searching search-")
    (record,) = (folder / "searched" / "jobs").glob("*/result/outcome.json")
    body = json.loads(record.read_text())
    (said,) = (folder / "searched" / "jobs").glob("*/forecast.json")
    before = json.loads(said.read_text())
    assert before["secondsBefore"] > 0
    assert 0 < before["costUSDBefore"] < body["account"]["costUSD"]
    trials = body["account"]["costUSD"] - before["costUSDBefore"] - before["rehearsalCostUSD"]
    assert 0 < body["forecast"]["measuredUSD"] <= trials * (1 + 1e-9)
    (result,) = (folder / "searched" / "jobs").glob("search-*/result")
    with ServerProcess(result, served(needsGoldenRows=True, asksToken=False)) as process:
        assert process.get("/v2/models/late")["name"] == "late"
    assert '"goldenRows": 16' in process.log


def test_the_budget_of_a_search_bounds_its_preparation(folder: Path) -> None:
    name = search_file(folder, "poor.yaml", budgetUSD=1e-6)
    failed = json.loads(sapflow(folder, "run", name, "--store", "poor", "--json", code=1).stdout)["error"]
    assert failed["reason"] == "BudgetExceeded"
    assert "spec.budgetUSD (1e-06) is used up" in failed["message"]
    assert not list((folder / "poor").rglob("manifest.json"))


@pytest.mark.timeout(600)
def test_the_deadline_of_a_job_ends_its_preparation_and_counts_what_earlier_runs_took(tmp_path: Path) -> None:
    job = prepared_job(flights(tmp_path / "raw", rows=400_000, files=4)).to_json()
    job["spec"]["algorithm"] = {"steps": 2}

    def run(deadline: int, code: int) -> dict[str, Any]:
        job["spec"]["limits"] = {"deadlineSeconds": deadline}
        (tmp_path / "job.yaml").write_text(json.dumps(job))
        done = sapflow(tmp_path, "run", "job.yaml", "--store", "store", "--json", code=code)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    failed = run(1, 1)["error"]
    assert failed["reason"] == "DeadlineExceeded"
    assert "spec.limits.deadlineSeconds (1) is reached before the data was prepared" in failed["message"]
    shown = json.loads(sapflow(tmp_path, "status", "job.yaml", "--store", "store", "--json").stdout)
    assert (shown["state"], shown["failure"]["reason"]) == ("Failed", "DeadlineExceeded")
    done = run(600, 0)
    assert done["account"]["costUSD"] > shown["costUSD"]
    assert done["state"] == "Succeeded"
    assert done["account"]["seconds"] > 1


def test_a_run_of_a_program_stops_in_the_middle_of_a_preparation(tmp_path: Path) -> None:
    job = TrainingJob.from_document(prepared_job(flights(tmp_path / "raw", rows=200_000)).to_json())
    run = start(job, store=tmp_path / "store", progress=False)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "store").rglob("work/survey.json")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    run.stop()
    assert run.state == "Stopped"
    with pytest.raises(JobStopped):
        run.wait(1)
    assert not list((tmp_path / "store").rglob("manifest.json"))


def test_a_plan_forecasts_the_preparation_and_what_it_gives(folder: Path) -> None:
    planned = json.loads(sapflow(folder, "plan", "job.yaml", "--json").stdout)
    said = planned["preparation"]
    assert (said["files"], said["partitions"], said["rehearsedPartitions"]) == (2, 1, 1)
    assert 0 < said["seconds"]["p10"] <= said["seconds"]["p50"] <= said["seconds"]["p90"]
    assert said["costUSD"]["p50"] > 0
    assert planned["steps"] == 3
    shown = sapflow(folder, "plan", "job.yaml", "--instances", "3").stdout
    assert "prepared   2 files of " in shown
    assert "1 partition, parsed once and read 3 times, by 3 preparers at once" in shown


def test_a_plan_of_a_search_forecasts_its_preparation_beside_its_trials(folder: Path) -> None:
    name = search_file(folder, "planned.yaml", budgetUSD=5.0)
    planned = json.loads(sapflow(folder, "plan", name, "--json").stdout)
    assert planned["preparation"]["partitions"] == 1
    assert planned["costUSDBefore"] == planned["preparation"]["costUSD"]["p50"] > 0
    assert planned["secondsBefore"] == planned["preparation"]["seconds"]["p50"]
    assert planned["trials"]["finished"]["p50"] == 2


def test_raw_rows_of_a_program_and_of_standard_input_are_predicted(folder: Path) -> None:
    loaded = predict.load(model(folder))
    frame = pandas.DataFrame(
        {"distance": [10.5, 700.0], "note": ["x", "x"], "carrier": ["AA", "UA"], "delay": [3.0, None]}
    )
    expected = [str(label) for label in loaded.predict(frame)]
    text = "distance;note;carrier;delay\n10.5;x;AA;3\n700;x;UA;NA\n"
    done = sapflow(folder, "predict", str(model(folder)), "-", "--delimiter", ";", "--json", text=text)
    assert [each["label"] for each in json.loads(done.stdout)["predictions"]] == expected


@pytest.mark.timeout(600)
def test_images_are_predicted_by_their_files(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    for number in range(12):
        place = tmp_path / "raw" / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (9, 9, 3), np.uint8)).save(place / f"{number:02d}.png")
    steps = [
        {"encode": {"columns": ["label"], "method": "Classes"}},
        {"image": {"column": "image", "resize": [4, 4], "channels": 1}},
    ]
    job = prepared_job(tmp_path / "raw").to_json()
    job["spec"]["data"] |= {"format": "images", "prepare": {"target": "label", "steps": steps}}
    job["spec"]["algorithm"] = {"steps": 2}
    (tmp_path / "job.yaml").write_text(json.dumps(job))
    done = json.loads(sapflow(tmp_path, "run", "job.yaml", "--store", "store", "--json").stdout)
    shown = sapflow(tmp_path, "predict", done["path"], "raw").stdout.splitlines()
    assert (len(shown), shown[0].partition(":")[0]) == (12, "raw/a/00.png")
    alone = sapflow(tmp_path, "predict", done["path"], "raw/b/01.png", "--json")
    (one,) = json.loads(alone.stdout)["predictions"]
    assert (one["row"], one["file"], one["label"] in "ab") == (0, "raw/b/01.png", True)


def test_formats_of_raw_rows_alone_are_trained_on(tmp_path: Path) -> None:
    rows = [
        {"x": number / 7, "of": {"kind": "abc"[number % 3]}, "y": "uv"[number % 2]} for number in range(200)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    steps = [
        {"encode": {"columns": ["of.kind"], "method": "OneHot"}},
        {"encode": {"columns": ["y"], "method": "Classes"}},
    ]
    job = prepared_job(tmp_path / "rows.jsonl", steps, columns={"x": "Number"}, target="y").to_json()
    job["spec"]["data"]["format"] = "jsonl"
    job["spec"]["algorithm"] = {"steps": 2}
    (tmp_path / "job.yaml").write_text(json.dumps(job))
    done = json.loads(sapflow(tmp_path, "run", "job.yaml", "--store", "store", "--json").stdout)
    predicted = sapflow(tmp_path, "predict", done["path"], "rows.jsonl")
    assert len(predicted.stdout.splitlines()) == 200


@pytest.mark.s3
def test_raw_rows_in_a_bucket_are_prepared_into_the_bytes_of_those_on_disk(
    folder: Path, tmp_path: Path, minio: S3Service
) -> None:
    with closing(minio.open()) as store:
        for path in sorted((folder / "raw").iterdir()):
            store.create(f"raw-flights/{path.name}", path.read_bytes())
    job = json.loads((folder / "job.yaml").read_text())
    job["spec"]["data"]["source"] = minio.url("raw-flights/")
    (tmp_path / "job.yaml").write_text(json.dumps(job))
    credentials = {
        "SAPFLOW_S3_ACCESS_KEY": minio.credentials.access_key,
        "SAPFLOW_S3_SECRET_KEY": minio.credentials.secret_key,
    }
    sapflow(
        tmp_path,
        "prepare",
        "job.yaml",
        "--store",
        minio.url("prepared-jobs"),
        "--to",
        "copy",
        environ=credentials,
    )
    sapflow(folder, "prepare", "job.yaml", "--store", "store", "--to", "local")
    for part in ("train/0", "validation/0", "preparation.safetensors"):
        assert (tmp_path / "copy" / part).read_bytes() == (folder / "local" / part).read_bytes()


def test_a_job_whose_preparation_has_failed_says_so_and_offers_no_model(tmp_path: Path) -> None:
    job = prepared_job(
        flights(tmp_path / "raw", rows=200), [{"impute": {"columns": ["carrier"], "strategy": "Mean"}}]
    )
    (tmp_path / "job.yaml").write_text(json.dumps(job.to_json()))
    failed = sapflow(tmp_path, "run", "job.yaml", "--store", "store", code=2)
    assert "spec.data.prepare.steps[0].impute.columns: column carrier is of type Text" in failed.stderr
    assert "name its type in prepare.columns" in failed.stderr
    assert "export" not in failed.stderr
    shown = json.loads(sapflow(tmp_path, "status", "job.yaml", "--store", "store", "--json").stdout)
    assert (shown["state"], shown["failure"]["reason"]) == ("Failed", "InvalidSpec")


def test_status_and_report_tell_how_many_rows_were_rejected_and_where_they_are(tmp_path: Path) -> None:
    good = "".join(f"{number % 7},{'yes' if number % 2 else 'no'}\n" for number in range(300))
    (tmp_path / "rows.csv").write_text(f"delay,late\n{good}soon,yes\n")
    job = prepared_job(
        tmp_path / "rows.csv",
        [{"encode": {"columns": ["late"], "method": "Classes"}}],
        columns={"delay": "Number"},
        target="late",
        maxBadRows=3,
    ).to_json()
    job["spec"]["algorithm"] = {"steps": 2}
    (tmp_path / "job.yaml").write_text(json.dumps(job))
    sapflow(tmp_path, "run", "job.yaml", "--store", "store")
    shown = json.loads(sapflow(tmp_path, "status", "job.yaml", "--store", "store", "--json").stdout)
    assert (shown["prepared"]["rows"], shown["prepared"]["rejectedRows"]) == (301, 1)
    assert (
        "301 rows prepared, 1 rejected" in sapflow(tmp_path, "status", "job.yaml", "--store", "store").stdout
    )
    (kept,) = (tmp_path / "store" / shown["prepared"]["rejected"]).rglob("*.jsonl")
    assert json.loads(kept.read_text())["line"] == 302
    sapflow(tmp_path, "report", "job.yaml", "--store", "store", "--output", "page.html")
    assert "301 rows read, 1 rejected" in (tmp_path / "page.html").read_text()


def test_a_job_says_what_to_install_where_preparers_lack_a_package(tmp_path: Path) -> None:
    """Functions run without it as the driver does."""
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "duckdb.py").write_text("raise ModuleNotFoundError('no duckdb here')\n")
    path = os.pathsep.join([str(tmp_path / "without"), *filter(None, [os.environ.get("PYTHONPATH")])])
    job = prepared_job(flights(tmp_path / "raw", rows=200), STEPS)
    (tmp_path / "job.yaml").write_text(json.dumps(job.to_json()))
    for command in ("validate", "run"):
        store = [] if command == "validate" else ["--store", "store"]
        failed = sapflow(tmp_path, command, "job.yaml", *store, code=2, environ={"PYTHONPATH": path})
        assert "pip install 'sapflow[preparer]'" in failed.stderr
        assert "Traceback" not in failed.stderr


def test_golden_rows_lie_beside_the_model_and_a_server_answers_them(folder: Path) -> None:
    with ServerProcess(model(folder).parent, served(needsGoldenRows=True, asksToken=False)) as process:
        rows = pandas.read_csv(next((folder / "raw").iterdir())).drop(columns="late").head(50)
        given = json.loads(rows.to_json(orient="records"))
        made = process.post("/predict", given)["decisions"]
        text = process.text("/metrics")
    assert '"goldenRows": 16' in process.log
    loaded = predict.load(model(folder))
    (folder / "first.csv").write_text(rows.to_csv(index=False))
    prepared = loaded.prepared(folder / "first.csv")
    assert [each["label"] for each in made] == loaded.predict(prepared.features).tolist()
    assert 'sapflow_server_unseen_categories_total{column="carrier"} 0' in text
    assert 'sapflow_server_values_out_of_range_total{column="distance"} 0' in text
