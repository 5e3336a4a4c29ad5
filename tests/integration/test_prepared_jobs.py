"""Jobs whose raw data is prepared by functions of this machine: trained, predicted from raw rows, copied."""

import json
import os
import subprocess
import sys
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
from s3_servers import S3Service

from sapflow.client import predict
from sapflow.data.blocks import load_manifest
from sapflow.data.manifest import block_key, decode_block
from sapflow.errors import DataError
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
    folder: Path, *arguments: str, code: int = 0, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """A command; it must end with that exit code. `environ` is added to its environment."""
    command = [sys.executable, "-m", "sapflow", *arguments]
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **(environ or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
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


def test_a_search_prepares_once_for_all_of_its_trials(folder: Path) -> None:
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
        },
    }
    (folder / "search.yaml").write_text(json.dumps(search))
    done = sapflow(folder, "run", "search.yaml", "--store", "searched", "--plain")
    assert done.stdout.count("preparing /") == 1
    assert "has ended" in done.stdout
    (result,) = (folder / "searched" / "jobs").glob("search-*/result")
    with ServerProcess(result, served(needsGoldenRows=True, asksToken=False)) as process:
        assert process.get("/v2/models/late")["name"] == "late"
    assert '"goldenRows": 16' in process.log


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
