"""`sapflow run` for real: functions as processes, interruptions, and what is said at the end."""

import contextlib
import hashlib
import json
import os
import pty
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from helpers.commands import (
    Done,
    Shell,
    finish,
    functions_of,
    here,
    newest_commit,
    run,
    send,
    started,
    wait_for_commit,
    wait_until_no_function_of,
    write_job,
)
from s3_servers import S3Service

from sapflow.client import predict
from sapflow.client.session import find_session

SAMPLES = Path(__file__).resolve().parents[2] / "manifests" / "samples"
pytestmark = [pytest.mark.timeout(900), pytest.mark.usefixtures("forked_functions")]
LONG = {"algorithm_steps": 80, "evaluation_everySteps": 40}


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Done]:
    """A job's file, its store, and what running it gave."""
    folder = tmp_path_factory.mktemp("finished")
    file, store = write_job(folder / "job.yaml", algorithm_steps=40), folder / "store"
    return file, store, run("run", "--max-instances", 1, file, "--store", store)


def test_a_run_without_a_terminal_prints_plain_lines_and_a_summary(
    finished: tuple[Path, Path, Done],
) -> None:
    _, store, done = finished
    assert done.code == 0, done.err
    assert re.search(r"step 40/40 \(100 %\)  loss \d\.\d{4}  accuracy", done.out)
    assert re.search(r"validation accuracy +\d+\.\d\d %", done.out)
    assert re.search(r"steps +40 in ", done.out)
    assert re.search(r"cost +\$0\.\d+ at AWSLambda prices of \d{4}-\d\d-\d\d", done.out)
    assert re.search(r"cold starts?, 0 repeated, 0 hedged", done.out)
    assert "\x1b" not in done.out
    assert "\r" not in done.out
    assert done.err == ""
    assert functions_of(store) == []


def test_the_summary_names_the_model_its_digest_and_a_command_that_works(
    finished: tuple[Path, Path, Done], shell: Shell
) -> None:
    _, _, done = finished
    path = re.search(r"model +(/\S+model\.safetensors)\n", done.out)
    digest = re.search(r"SHA-256 +([0-9a-f]{64})\n", done.out)
    command = re.search(r"^  sapflow (predict .*)$", done.out, re.MULTILINE)
    assert path is not None
    assert digest is not None
    assert command is not None
    assert hashlib.sha256(Path(path[1]).read_bytes()).hexdigest() == digest[1]
    tried = shell(*command[1].split())
    assert tried.code == 0
    assert re.match(r"0: class [012] \(\d+\.\d %\)   truth [012]\n", tried.out)


def test_a_finished_job_is_not_trained_twice_unless_asked(
    finished: tuple[Path, Path, Done], shell: Shell, tmp_path: Path
) -> None:
    file, store, done = finished
    again = shell("run", file, "--store", store)
    assert again.code == 0
    assert "has finished already" in again.out
    assert "--again" in again.out
    assert again.out.partition("\n\n")[2] == done.out.partition("has finished.\n\n")[2]


def test_again_trains_a_finished_job_anew_to_the_same_weights(shell: Shell, tmp_path: Path) -> None:
    file, store = write_job(tmp_path / "job.yaml", algorithm_steps=3), tmp_path / "store"
    first = here("run", "--max-instances", 1, file, "--store", store, "--json")
    second = here("run", "--max-instances", 1, file, "--store", store, "--json", "--again")
    assert (first.code, second.code) == (0, 0)
    assert second.json["sha256"] == first.json["sha256"]
    assert second.json["account"]["seconds"] != first.json["account"]["seconds"]
    events = [json.loads(line) for line in second.err.splitlines()]
    assert {"stage", "data", "progress", "evaluated"} <= {event["event"] for event in events}


def test_status_tells_of_a_finished_job_by_file_by_name_and_in_the_list(
    finished: tuple[Path, Path, Done], shell: Shell
) -> None:
    file, store, _ = finished
    by_file = shell("status", file, "--store", store, "--json")
    body = by_file.json
    assert by_file.code == 0
    assert (body["state"], body["done"], body["total"]) == ("Succeeded", 40, 40)
    assert body["evaluation"]["version"] == 40
    assert body["costUSD"] > 0
    assert body["structure"][0] == 1
    assert set(body["forecast"]) == {"seconds", "costUSD", "secondsError", "costError"}
    words = shell("status", file, "--store", store).out
    assert re.search(r"^  merge tree +\[1, ", words, re.MULTILINE)
    assert re.search(r"^  forecast .+% too (much|little) of time, cold starts included", words, re.MULTILINE)
    assert shell("status", body["job"], "--store", store, "--json").json == body
    listed = shell("status", "--store", store)
    assert re.match(rf"{body['job']}  Succeeded +step 40/40  validation accuracy", listed.out)
    assert shell("status", "--store", store, "--json").json == {"jobs": [body]}


def test_a_model_file_predicts_what_the_data_says(
    finished: tuple[Path, Path, Done], shell: Shell, tmp_path: Path
) -> None:
    file, store, _ = finished
    path = next(store.glob("jobs/*/result/model.safetensors"))
    from sklearn.datasets import load_iris

    features, labels = load_iris(return_X_y=True)
    model = predict.load(path)
    assert np.mean(model.predict(features) == labels) > 0.8
    assert model.probabilities(features).sum(axis=1) == pytest.approx(1.0)
    np.save(tmp_path / "x.npy", features[:5])
    np.savetxt(tmp_path / "x.csv", features[:5], delimiter=",", header="a,b,c,d", comments="")
    by_array = shell("predict", path, tmp_path / "x.npy", "--json", "--top", "3").json
    by_table = shell("predict", file, tmp_path / "x.csv", "--json", "--top", "3", "--store", store).json
    assert by_array == by_table
    assert [row["class"] for row in by_array["predictions"]] == model.predict(features[:5]).tolist()
    assert sum(each["probability"] for each in by_array["predictions"][0]["top"]) == pytest.approx(1.0)


@pytest.mark.slow
def test_a_run_that_is_killed_and_stopped_ends_with_the_weights_of_one_that_is_not(tmp_path: Path) -> None:
    file, store, other = write_job(tmp_path / "job.yaml", **LONG), tmp_path / "store", tmp_path / "other"
    command = ("run", file, "--store", store, "--max-instances", 1)
    with started(*command) as process:
        wait_for_commit(store, 5, process)
        send(process, signal.SIGKILL)
        finish(process)
    wait_until_no_function_of(store)
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        reached = newest_commit(store)
        with started(*command) as process:
            wait_for_commit(store, reached + 5, process)
            send(process, number)
            done = finish(process)
        assert done.code == code
        assert functions_of(store) == []
        assert f"going on from step {reached}" in done.out
        assert re.search(r"was stopped after step \d+ of 80", done.err)
        assert f"sapflow run {file} --store {store} --max-instances 1\n" in done.err
        assert "Traceback" not in done.err
    unfinished = here("status", file, "--store", store, "--json").json
    assert unfinished["state"] == "Unfinished"
    assert reached < unfinished["done"] < 80
    resumed = here(*command, "--json")
    undisturbed = here("run", "--max-instances", 1, file, "--store", other, "--json")
    assert resumed.code == undisturbed.code == 0
    assert resumed.json["sha256"] == undisturbed.json["sha256"]


def test_a_run_on_a_terminal_draws_progress_tree_and_functions(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    file = write_job(tmp_path / "job.yaml", algorithm_steps=60)
    process = subprocess.Popen(
        [sys.executable, "-m", "sapflow", "run", str(file), "--store", str(tmp_path / "store")],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"},
    )
    os.close(theirs)
    shown = b""
    # The end of a terminal nobody has open any more is an error on Linux.
    with contextlib.suppress(OSError):
        while piece := os.read(ours, 65536):
            shown += piece
    os.close(ours)
    assert process.wait(timeout=60) == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert re.search(r"step \d+/60 +[━╸╺]+ +\d+ %", text)
    assert re.search(r"loss \d\.\d{4}   training accuracy \d+\.\d\d %", text)
    assert re.search(r"\$0\.\d+ at AWSLambda prices", text)
    assert re.search(r"└─ 2 mergers, each of", text)
    assert re.search(r"\d workers? +[●◌]+ +.*(busy|warm|starting)", text)
    assert "SHA-256" in text
    assert b"\x1b[?25h" in shown, "the cursor is back"


def test_a_model_beside_the_yaml_is_found_by_run_and_predict(tmp_path: Path, shell: Shell) -> None:
    folder, elsewhere = tmp_path / "job", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    (folder / "my_net.py").write_text(
        "from torch import nn\n"
        "def factory(inputs, outputs, width):\n"
        "    return nn.Sequential(nn.Linear(inputs[0], width), nn.Tanh(), nn.Linear(width, outputs))\n"
    )
    model = {"entrypoint": "my_net:factory", "args": {"width": 5}}
    file = write_job(folder / "job.yaml", model=model, algorithm_steps=2)
    done = run("run", "--max-instances", 1, file, "--store", "here", "--json", cwd=elsewhere)
    assert done.code == 0, done.err
    assert (elsewhere / "here" / "jobs").is_dir()
    assert run("predict", file, "--store", "here", cwd=elsewhere).code == 0
    lost = run("predict", done.json["path"], cwd=elsewhere)
    assert lost.code == 2
    assert "consent with --entrypoint my_net:factory" in lost.err
    lost = run("predict", done.json["path"], "--entrypoint", "my_net:factory", cwd=elsewhere)
    assert lost.code == 2
    assert "cannot import 'my_net'" in lost.err


@pytest.mark.s3
def test_a_job_in_an_object_store_ends_with_the_weights_of_one_in_a_directory(
    minio: S3Service, finished: tuple[Path, Path, Done], shell: Shell
) -> None:
    file, directory, _ = finished
    keys = minio.credentials
    environ = {"SAPFLOW_S3_ACCESS_KEY": keys.access_key, "SAPFLOW_S3_SECRET_KEY": keys.secret_key}
    store = minio.url(f"cli-{secrets.token_hex(4)}")
    done = here("run", "--max-instances", 1, file, "--store", store, environ=environ)
    assert done.code == 0, done.err
    local = shell("status", file, "--store", directory, "--json").json
    assert local["result"]["sha256"] in done.out
    assert f"sapflow predict {local['job']} --store '{store}'\n" in done.out
    tried = shell("predict", local["job"], "--store", store, environ={**os.environ, **environ})
    assert tried.code == 0
    assert tried.out == shell("predict", local["job"], "--store", directory).out
    status = shell("status", local["job"], "--store", store, "--json", environ={**os.environ, **environ})
    assert status.json["state"] == "Succeeded"
    again = shell("run", file, "--store", store, environ={**os.environ, **environ})
    assert "has finished already" in again.out


@pytest.mark.parametrize("name", sorted(path.stem for path in SAMPLES.glob("*.yaml")))
def test_every_sample_is_valid(name: str) -> None:
    from sapflow.spec import document, service_document, tuning_document

    first, *others = document.documents((SAMPLES / f"{name}.yaml").read_text())
    if service_document.is_service(first):
        assert service_document.parse(first).spec.model.job == "digits"
    elif tuning_document.is_tuning(first):
        assert tuning_document.parse(first).spec.max_trials == (12 if others else 32)
    else:
        assert document.parse(first).metadata.name == name
    assert [document.parse(each).metadata.name for each in others] == ["flights"] * len(others)


def test_the_sample_with_an_own_model_is_valid_to_the_last_check(shell: Shell) -> None:
    done = shell("validate", SAMPLES / "own-model.yaml", "--json")
    assert done.code == 0, done.err
    assert done.json["model"]["parameters"] > 10_000


@pytest.mark.slow
def test_the_digits_sample_recognises_96_of_100(tmp_path: Path) -> None:
    job = yaml.safe_load((SAMPLES / "digits.yaml").read_text())
    assert (job["spec"]["workers"], job["spec"]["merge"]["structure"]) == (8, [1, 2, 8])
    done = here("run", "--max-instances", 1, SAMPLES / "digits.yaml", "--store", tmp_path / "store", "--json")
    assert done.code == 0, done.err
    assert done.json["validationAccuracy"] >= 0.96


@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_job_whose_removal_is_interrupted_has_finished_still_or_not_begun(
    after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, store = write_job(tmp_path / "job.yaml"), tmp_path / "store"
    first = here("run", file, "--store", store, "--json").json
    with find_session(first["job"], os.environ, store=str(store)) as session:
        left = [after]

        def interrupted(method: Callable[[Any], None]) -> Callable[[Any], None]:
            def call(what: Any) -> None:
                if left[0] == 0:
                    raise KeyboardInterrupt
                left[0] -= 1
                method(what)

            return call

        for name in ("delete", "delete_prefix"):
            monkeypatch.setattr(session.store, name, interrupted(getattr(session.store, name)))
        with pytest.raises(KeyboardInterrupt):
            session.forget()
    assert here("run", file, "--store", store, "--again", "--json").json["sha256"] == first["sha256"]


def test_a_half_done_job_goes_on_with_another_number_of_workers(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"algorithm_steps": None, "algorithm_epochs": 20, "merge_structure": None}
    file, store = write_job(tmp_path / "job.yaml", **changes), tmp_path / "store"
    command = ("run", file, "--store", store, "--max-instances", 1)
    early = here(*command, "--workers", 2)
    assert early.code == 2
    assert "--workers: is for a job that is half done, and this one has not begun" in early.err
    with started(*command) as process:
        wait_for_commit(store, 10, process)
        send(process, signal.SIGINT)
        finish(process)
    done = here(*command, "--workers", 2, "--json")
    assert done.code == 0, done.err
    last = json.loads(max(store.glob("jobs/*/commits/*.json"), key=lambda path: int(path.stem)).read_text())
    assert last["cursor"]["epoch"] == 20
    plan = json.loads(next(store.glob(f"jobs/*/plans/{last['plan']}.json")).read_text())
    assert plan["structure"][-1] == 2
    assert last["lengths"]["steps"] == last["version"] == done.json["version"]
    again = here(*command, "--workers", 3)
    assert again.code == 0
    assert "has finished already" in again.out
