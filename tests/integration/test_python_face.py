"""Jobs run from Python for real: in notebooks' loops, from objects, interrupted, with the bits of the command line."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from helpers.commands import (
    finish,
    functions_of,
    here,
    newest_commit,
    run,
    send,
    wait_for_commit,
    wait_until_no_function_of,
)
from helpers.jobs import document
from torch.utils.data import TensorDataset

import sapflow
from sapflow import JobFailed, JobStopped, SpecError, TrainingJob

pytestmark = [pytest.mark.timeout(900), pytest.mark.usefixtures("forked_functions")]

X = np.random.default_rng(1).normal(size=(96, 4)).astype(np.float32)
Y = (X[:, 0] + X[:, 1] > 0).astype(np.int64) + (X[:, 2] > 1)


def fields(**changes: Any) -> dict[str, Any]:
    """A job of two workers on X and Y, with a tree of its own: its bits do not depend on what is measured."""
    given: dict[str, Any] = {
        "model": {"name": "mlp", "args": {"hidden": [8]}},
        "data": {"source": (X, Y), "batch_size": 8},
        "workers": 2,
        "algorithm": {"steps": 6, "seed": 3},
        "optimizer": {"name": "Momentum", "learning_rate": 0.1},
        "merge": {"structure": [1, 2], "shards": 1},
    }
    return given | changes


def of_file(folder: Path) -> Path:
    """The same job as YAML, its samples in a file."""
    np.savez(folder / "samples.npz", x=X, y=Y)
    body = document(
        workers=2,
        algorithm_steps=6,
        data_source=str(folder / "samples.npz"),
        merge_structure=[1, 2],
        merge_shards=1,
        evaluation=None,
        limits=None,
    )
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(body))
    return path


@pytest.fixture(scope="module")
def by_command(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What `sapflow run` says of that file."""
    folder = tmp_path_factory.mktemp("command")
    done = here("run", of_file(folder), "--store", folder / "store", "--json", "--max-instances", 1)
    assert done.code == 0, done.err
    return done.json


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> sapflow.Run:
    """A job of arrays, run within a running event loop, as notebooks have one."""
    store = tmp_path_factory.mktemp("face") / "store"

    async def main() -> sapflow.Run:
        made = sapflow.run(TrainingJob("tiny", **fields()), store=store, max_instances=1, progress=False)
        made.wait()
        return made

    return asyncio.run(main())


def test_arrays_in_python_and_a_file_by_the_command_line_have_the_same_weights(
    by_command: Any, finished: sapflow.Run
) -> None:
    assert finished.result.sha256 == by_command["sha256"]


def test_a_yaml_is_the_same_job_for_both_with_the_same_weights(by_command: Any, tmp_path: Path) -> None:
    folder = Path(by_command["path"]).parents[4]
    job = TrainingJob.from_yaml(folder / "job.yaml")
    there = sapflow.run(job, store=folder / "store")
    assert (there.uid, there.state, there.result.sha256) == (
        by_command["job"],
        "Succeeded",
        by_command["sha256"],
    )
    anew = sapflow.run(job, store=tmp_path / "store", max_instances=1).wait()
    assert (anew.uid, anew.sha256) == (by_command["job"], by_command["sha256"])


def test_the_result_says_what_the_outcome_record_says(finished: sapflow.Run) -> None:
    result = finished.result
    assert result.path is not None
    assert result.path.is_file()
    assert result.version == 6
    assert result.accuracy == result.outcome["validationAccuracy"] == result.metrics["validationAccuracy"]
    assert result.loss == result.metrics["validationLoss"]
    assert (result.seconds > 0, result.cost_usd > 0, result.target_reached) == (True, True, False)
    assert repr(finished) == f"<Run {finished.uid}: Succeeded, step 6 of 6>"


def test_progress_comes_after_each_step_and_again_to_who_asks_late(finished: sapflow.Run) -> None:
    before = signal.getsignal(signal.SIGINT)
    found = list(finished)
    assert signal.getsignal(signal.SIGINT) is before
    assert [each.step for each in found] == sorted(each.step for each in found)
    assert {each.step for each in found} == {1, 2, 3, 4, 5, 6}
    assert all(each.steps == 6 and each.loss is not None for each in found)
    assert found[-1].validation_accuracy == finished.result.accuracy
    assert found == list(finished)


def test_the_model_predicts_as_a_module_and_on_what_the_data_had(finished: sapflow.Run) -> None:
    model = finished.model()
    assert not model.training
    scaled = finished.predictor().scaled(X)
    with torch.inference_mode():
        by_module = model(torch.from_numpy(scaled)).argmax(dim=1).numpy()
    assert np.array_equal(finished.predict(X), by_module)
    assert np.array_equal(sapflow.load_model(str(finished.result.path)).predict(X), by_module)


def test_the_report_is_a_page_also_where_a_loop_is_running(finished: sapflow.Run, tmp_path: Path) -> None:
    async def main() -> str:
        return finished.report(tmp_path / "report.html", prediction=False)

    page = asyncio.run(main())
    assert page == (tmp_path / "report.html").read_text()
    assert finished.uid in page


def test_a_finished_job_is_not_trained_twice_unless_asked(finished: sapflow.Run) -> None:
    job, store = TrainingJob("tiny", **fields()), finished.store
    before = finished.result.seconds
    assert sapflow.run(job, store=store).wait().seconds == before
    anew = sapflow.run(job, store=store, max_instances=1, again=True).wait()
    assert anew.sha256 == finished.result.sha256
    assert anew.seconds != before


def test_a_job_of_samples_goes_on_by_the_command_line_in_its_store_and_nowhere_else(
    finished: sapflow.Run, tmp_path: Path
) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(TrainingJob("tiny", **fields()).to_yaml())
    there = here("run", path, "--store", finished.store, "--json")
    assert (there.code, there.json["sha256"]) == (0, finished.result.sha256)
    elsewhere = here("run", path, "--store", tmp_path / "other")
    assert elsewhere.code == 2
    assert "was handed over in Python, and its blocks lie only in the store" in elsewhere.err


def test_a_dataset_trains_to_the_weights_of_its_arrays(finished: sapflow.Run, tmp_path: Path) -> None:
    dataset = TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    job = TrainingJob("tiny", **fields(data={"source": dataset, "batch_size": 8}))
    result = sapflow.run(job, store=tmp_path / "store", max_instances=1).wait()
    assert (result.uid, result.sha256) == (finished.uid, finished.result.sha256)


def test_what_is_wrong_with_the_model_is_raised_where_it_is_waited_for(tmp_path: Path) -> None:
    job = TrainingJob("tiny", **fields(model="helpers.none:build"))
    run = sapflow.run(job, store=tmp_path / "store")
    with pytest.raises(SpecError, match=r"spec\.model\.entrypoint: cannot import 'helpers\.none'"):
        run.wait()
    with pytest.raises(SpecError, match=r"cannot import"):
        list(run)
    assert run.state == "Failed"


def test_what_only_a_cluster_honours_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"spec\.cpu: has no effect here"):
        sapflow.run(TrainingJob("tiny", **fields(cpu={"worker": "1"})), store=tmp_path / "store")


def test_a_job_that_fails_says_why(tmp_path: Path) -> None:
    failing = fields(limits={"budget_usd": 1e-9})
    run = sapflow.run(TrainingJob("tiny", **failing), store=tmp_path / "store", max_instances=1)
    with pytest.raises(JobFailed, match=r"spec\.limits\.budgetUSD") as caught:
        run.wait()
    assert caught.value.reason == "BudgetExceeded"
    assert run.state == "Failed"


def fail_at(run: sapflow.Run, step: int) -> None:
    """A program's own error while it looks on."""
    for progress in run:
        assert 1 / (step - progress.step)


def test_a_run_that_is_stopped_goes_on_when_run_again(finished: sapflow.Run, tmp_path: Path) -> None:
    job, store = TrainingJob("tiny", **fields()), tmp_path / "store"
    with pytest.raises(ZeroDivisionError), sapflow.run(job, store=store, max_instances=1) as run:
        fail_at(run, 2)
    assert run.state == "Stopped"
    assert functions_of(store) == []
    with pytest.raises(
        JobStopped, match=rf"{run.uid} was stopped after step \d of 6; nothing of it runs any more"
    ):
        run.wait()
    assert 2 <= newest_commit(store) < 6
    assert sapflow.run(job, store=store, max_instances=1).wait().sha256 == finished.result.sha256


def interrupt_at(run: sapflow.Run, step: int) -> None:
    """Ctrl-C, which strikes in the body of a loop."""
    for progress in run:
        if progress.step == step:
            signal.raise_signal(signal.SIGINT)


def test_ctrl_c_in_the_body_of_a_loop_stops_the_run_too(tmp_path: Path) -> None:
    run = sapflow.run(TrainingJob("tiny", **fields(algorithm={"steps": 3000})), store=tmp_path / "store")
    with pytest.raises(KeyboardInterrupt):
        interrupt_at(run, 2)
    with pytest.raises(JobStopped, match="was stopped after step"):
        run.wait()


def test_a_wait_that_is_over_leaves_the_run_alone(tmp_path: Path) -> None:
    run = sapflow.run(TrainingJob("tiny", **fields()), store=tmp_path / "store", max_instances=1)
    with pytest.raises(TimeoutError, match="has not finished within 0 s; it goes on"):
        run.wait(timeout=0.0)
    assert run.wait().version == 6


SCRIPT = """\
import sys

import numpy as np
from torch import nn

import sapflow

WIDTH = 5


class Net(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(inputs[0], WIDTH), nn.Tanh(), nn.Linear(WIDTH, outputs))

    def forward(self, features):
        return self.layers(features)


def build(inputs, outputs):
    return Net(inputs, outputs)


print("this script is run", flush=True)
x = np.random.default_rng(1).normal(size=(96, 4))
job = sapflow.TrainingJob(
    "script",
    model=build,
    data={"source": (x, x[:, 0] > 0), "batch_size": 8},
    workers=2,
    algorithm={"steps": int(sys.argv[2])},
    merge={"structure": [1, 2], "shards": 1},
)
run = sapflow.run(job, store=sys.argv[1], max_instances=1)
print("started", flush=True)
if sys.argv[3] == "iterate":
    for progress in run:
        pass
print(run.wait().sha256, type(run.model()).__name__, flush=True)
"""


@contextmanager
def script(folder: Path, *arguments: object) -> Iterator["subprocess.Popen[str]"]:
    path = folder / "script.py"
    path.write_text(SCRIPT)
    environ = {**os.environ, "PYTHONPATH": ""}
    process = subprocess.Popen(
        [sys.executable, str(path), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environ,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The store of the script's job, and the words of a run to its end."""
    folder = tmp_path_factory.mktemp("script")
    with script(folder, folder / "store", 40, "wait") as process:
        done = finish(process)
    assert (done.code, done.err) == (0, "")
    return folder / "store", done.out


def test_a_factory_in_a_script_is_trained_without_running_the_script_again(
    undisturbed: tuple[Path, str], tmp_path: Path
) -> None:
    store, words = undisturbed
    assert words.startswith("this script is run\nstarted\n")
    assert words.endswith(" Net\n")
    model = next(store.glob("jobs/*/result/model.safetensors"))
    refused = run("predict", model, cwd=tmp_path)
    assert refused.code == 2
    (consent,) = re.findall(r"--entrypoint (sapflow_model_\w+:\w+)", refused.err)
    predicted = run("predict", model, "--entrypoint", consent, "--json", cwd=tmp_path)
    assert predicted.code == 0, predicted.out
    assert len(json.loads(predicted.out)["predictions"]) == 10


@pytest.mark.parametrize("how", ["wait", "iterate"])
def test_ctrl_c_stops_in_order_and_run_again_it_ends_with_the_same_bits(
    how: str, undisturbed: tuple[Path, str], tmp_path: Path
) -> None:
    store = tmp_path / "store"
    with script(tmp_path, store, 40, how) as process:
        wait_for_commit(store, 2, process)
        send(process, signal.SIGINT)
        stopped = finish(process)
    assert stopped.code == -signal.SIGINT
    assert "was stopped after step" in stopped.err
    assert textwrap.dedent(stopped.err).rstrip().endswith("KeyboardInterrupt")
    assert functions_of(store) == []
    assert 2 <= newest_commit(store) < 40
    with script(tmp_path, store, 40, how) as process:
        done = finish(process)
    assert done.out == undisturbed[1]


def test_a_program_that_does_not_wait_stops_its_run_and_is_told_so(tmp_path: Path) -> None:
    store, path = tmp_path / "store", tmp_path / "hasty.py"
    path.write_text(SCRIPT.partition("if sys.argv[3]")[0] + "next(iter(run))\n")
    done = subprocess.run(
        [sys.executable, str(path), str(store), "40"],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0
    assert "was stopped, because the program has ended: wait() for it" in done.stderr
    assert "Traceback" not in done.stderr
    wait_until_no_function_of(store)
    assert newest_commit(store) < 40
