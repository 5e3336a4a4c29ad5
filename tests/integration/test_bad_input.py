"""Bad input, each with the answer it gets: the field or file, what is wrong, what to do, and the exit code."""

import gzip
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import Done, Shell, functions_of, here, run, write_job

pytestmark = [pytest.mark.timeout(900), pytest.mark.usefixtures("forked_functions")]
CREDENTIALS = {"SAPFLOW_S3_ACCESS_KEY": "key", "SAPFLOW_S3_SECRET_KEY": "secret"}


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


def refused(done: Done, *texts: str, code: int = 2) -> None:
    """The command said all of these on stderr, without a traceback, and nothing on stdout."""
    assert done.code == code, done
    assert done.out == ""
    assert "Traceback" not in done.err
    for text in texts:
        assert text in done.err


BAD_SPECS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "an unknown field": (
        {"algorithm_step": 3},
        ["spec.algorithm.step: is not a field (do you mean steps?); allowed: name, mode, localSteps,"],
    ),
    "no workers": ({"workers": 0}, ["spec.workers: must be greater than or equal to 1, got 0"]),
    "a structure that has two roots": (
        {"merge_structure": [2, 4]},
        ["spec.merge.structure: starts at 2, it must start at 1: there is one root"],
    ),
    "a structure for other workers": (
        {"merge_structure": [1, 2, 8]},
        ["spec.merge.structure: ends at 8, it must end at the number of workers, 4"],
    ),
    "a level that is too wide": (
        {"merge_structure": [1, 6, 4]},
        ["spec.merge.structure: has 6 mergers above 4: a level may not be wider than the one below"],
    ),
    "two problems": (
        {"workers": 0, "data_batchsize": 3},
        [
            "spec.workers: ",
            "spec.data.batchsize: is not a field (do you mean batchSize?); allowed: source, format, options, batchSize",
        ],
    ),
    "a tree for asynchronous mode": (
        {"workers": 8, "algorithm_mode": "Async", "merge_structure": [1, 2, 8]},
        ["spec.merge.structure: must be [1, workers] with algorithm.mode Async"],
    ),
    "a field for clusters": (
        {"cpu": {"worker": "1"}},
        ["spec.cpu: has no effect here: CPU limits are for the cluster runtime", "leave it out"],
    ),
    "a field for clusters only, and another problem": (
        {"memory_optimize": {"goal": "Cost"}, "workers": 0},
        ["spec.memory.optimize: has no effect here: ", "spec.workers: "],
    ),
    "cells of asynchronous workers": (
        {"algorithm_mode": "Async", "affinity": [{"from": "Worker", "to": "Root", "weight": 100}]},
        ["spec.affinity: is for algorithm.mode Sync only: leave it out with Async"],
    ),
    "cells without affinity": (
        {"placement": {"cells": 2}},
        ["spec.placement: goes with affinity: say which edges are to stay on one node, or leave it out"],
    ),
    "shards for norms of whole tensors": (
        {"optimizer_name": "LAMB", "merge_shards": 2},
        ["spec.merge.shards: must be 1 or left out with LAMB, whose steps need norms of whole tensors"],
    ),
    "a goal without a choice": (
        {"optimizer_name": "LAMB", "limits_goal": "LeastCost"},
        [
            "spec.limits.goal: has nothing to choose: LAMB takes one shard; leave out merge.structure, or the goal"
        ],
    ),
    "a field of another optimizer": (
        {"optimizer_alpha": 0.9},
        ["spec.optimizer.alpha: is for RMSprop only: leave it out, or take one of these optimizers"],
    ),
    "a field of another schedule": (
        {"optimizer_schedule": {"name": "Step", "gamma": 0.5, "stepSize": 2, "patience": 3}},
        ["spec.optimizer.schedule.patience: is for Plateau only: leave it out"],
    ),
    "lengths in two units": (
        {
            "optimizer_schedule": {
                "name": "Step",
                "stepSize": 2,
                "stepEpochs": 1,
                "warmupSteps": 1,
                "warmupEpochs": 1,
            }
        },
        [
            "spec.optimizer.schedule.stepEpochs: is stepSize in epochs: give one of them",
            "spec.optimizer.schedule.warmupEpochs: is warmupSteps in epochs: give one of them",
        ],
    ),
    "a step without its length": (
        {"optimizer_schedule": {"name": "Step"}},
        ["spec.optimizer.schedule.stepSize: or stepEpochs is required for Step"],
    ),
    "a second warm-up": (
        {"optimizer_schedule": {"name": "OneCycle", "warmupEpochs": 1}},
        ["spec.optimizer.schedule.name: OneCycle has a warm-up of its own", "and set pctStart"],
    ),
    "a wait for evaluations that would hold up all": (
        {
            "algorithm_mode": "Async",
            "merge_structure": [1, 4],
            "optimizer_schedule": {"name": "Plateau", "metric": "ValidationLoss"},
        },
        ["spec.optimizer.schedule.metric: must be TrainingLoss with algorithm.mode Async"],
    ),
    "steps for a loss that has evaluations": (
        {"optimizer_schedule": {"name": "Plateau", "metric": "ValidationLoss", "stepEpochs": 1}},
        ["spec.optimizer.schedule.stepSize: goes with metric TrainingLoss"],
    ),
    "an unknown model": ({"model_name": "vgg"}, ["spec.model.name: must be 'mlp', 'cnn' or 'lenet'"]),
    "a name in the wrong case": ({"optimizer_name": "momentum"}, ["got 'momentum' (do you mean Momentum?)"]),
    "a name of Python's": (
        {"data": {"source": "sklearn:digits", "batch_size": 8}},
        ["spec.data.batch_size: is not a field (do you mean batchSize?)"],
    ),
    "a number in quotation marks": (
        {"workers": "4"},
        ["spec.workers: must be a number without quotation marks, got '4'"],
    ),
    "a weight in quotation marks": (
        {"affinity": [{"from": "Worker", "to": "Root", "weight": "100"}]},
        ["spec.affinity[0].weight: must be a number without quotation marks, got '100'"],
    ),
    "widths in quotation marks": (
        {"merge_structure": ["1", "4"]},
        ["spec.merge.structure[1]: must be a number without quotation marks, got '4'"],
    ),
    "a truth value for a number": ({"workers": True}, ["spec.workers: must be a number, got true"]),
    "a number for a truth value": (
        {"merge_reuseWorkers": 1},
        ["spec.merge.reuseWorkers: must be true or false, got 1"],
    ),
    "an entrypoint with a dot for a colon": (
        {"model_entrypoint": "own_model.build"},
        [
            "spec.model.entrypoint: must be package.module:factory, as in own_model:build, got 'own_model.build'"
        ],
    ),
    "no quantity of memory": ({"memory_worker": "1GB"}, ["spec.memory.worker: '1GB'", "did you mean G"]),
}


@pytest.mark.parametrize("command", ["validate", "run"])
@pytest.mark.parametrize("case", BAD_SPECS)
def test_a_bad_field_is_named_with_what_is_allowed(
    case: str, command: str, shell: Shell, tmp_path: Path
) -> None:
    changes, texts = BAD_SPECS[case]
    file = write_job(tmp_path / "job.yaml", **changes)
    refused(shell(command, file), *texts, str(file))


BAD_FITS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "an unknown argument": (
        {"model_args": {"hiden": [3]}},
        ["spec.model.args.hiden: unknown argument; allowed are hidden, activation"],
    ),
    "memory below what the model needs": (
        {"memory_worker": "128Mi"},
        [
            "spec.memory.worker: 128.0 MiB is below the 304.0 MiB needed at least: 304.0 MiB for Python and torch",
            "set at least 320Mi, or lower spec.data.microBatchSize",
        ],
    ),
    "merger memory below what the result needs": (
        {"model_args": {"hidden": [6000, 6000]}, "memory_worker": "2Gi", "memory_merger": "64Mi"},
        ["spec.memory.merger: 64.0 MiB is below the", "for the sum", "set at least "],
    ),
    "more shards than blocks": (
        {"merge_shards": 7},
        ["spec.merge.shards: 67 elements can be cut into 1 to 1 shards, not 7"],
    ),
    "groups of nothing": (
        {"optimizer_groups": [{"match": ["*.bias"]}, {"match": ["2.wieght", "norm*"], "weightDecay": 0}]},
        [
            "spec.optimizer.groups[1].match[0]: '2.wieght' matches none of the model's 4 parameters; "
            "the nearest names are 2.weight",
            "spec.optimizer.groups[1].match[1]: 'norm*' matches none",
        ],
    ),
    "a validation loss with nothing held out": (
        {
            "optimizer_schedule": {"name": "Plateau", "metric": "ValidationLoss"},
            "data_validationFraction": 0,
        },
        ["spec.optimizer.schedule.metric: ValidationLoss needs held-out samples and there are none"],
    ),
    "a model for images": (
        {"model": {"name": "lenet"}},
        ["spec.model: lenet needs images of channels × height × width", "the data has 4"],
    ),
    "a loss for values": (
        {"model_loss": "MSE"},
        ["spec.model.loss: must be CrossEntropy for 3 classes, not MSE"],
    ),
    "a target with nothing held out": (
        {"algorithm_targetAccuracy": 0.9, "data_validationFraction": 0},
        ["spec.algorithm.targetAccuracy: needs held-out samples"],
    ),
    "a metric that the task does not have": (
        {"evaluation_keepBest": "mae", "algorithm_target": {"metric": "acuracy", "value": 0.9}},
        [
            "spec.evaluation.keepBest: there is no metric 'mae': classification of 3 classes has accuracy, macroF1,",
            "spec.algorithm.target.metric: there is no metric 'acuracy'",
        ],
    ),
    "a loss of one's own that is not there": (
        {"model_lossEntrypoint": "no_such_module:loss"},
        ["spec.model.lossEntrypoint: cannot import 'no_such_module'"],
    ),
    "a batch of one for batch norm": (
        {"model_args": {"batchNorm": True}, "data_batchSize": 1},
        ["spec.data.batchSize: leaves a worker with a micro-batch of 1 sample", "120 samples, 4 workers"],
    ),
    "an entrypoint that is not there": (
        {"model": {"entrypoint": "no_such_module:factory"}},
        ["spec.model.entrypoint: cannot import 'no_such_module'"],
    ),
    "an unknown set": (
        {"data_source": "sklearn:roses"},
        ["unknown set sklearn:roses; the bundled sets are digits"],
    ),
    "a missing file": (
        {"data_source": "no/such.npz"},
        ["there is no file at no/such.npz; a source is sklearn"],
    ),
}


@pytest.mark.parametrize("case", BAD_FITS)
def test_a_job_that_does_not_fit_its_data_or_model_is_refused(
    case: str, shell: Shell, tmp_path: Path
) -> None:
    changes, texts = BAD_FITS[case]
    refused(shell("validate", write_job(tmp_path / "job.yaml", **changes)), *texts)


@pytest.mark.parametrize(
    "case",
    [
        "memory below what the model needs",
        "a loss for values",
        "a missing file",
        "an entrypoint that is not there",
    ],
)
def test_a_run_makes_the_same_checks_before_it_starts(case: str, shell: Shell, tmp_path: Path) -> None:
    changes, texts = BAD_FITS[case]
    file, store = write_job(tmp_path / "job.yaml", **changes), tmp_path / "store"
    refused(shell("run", file, "--store", store, "--quiet"), *texts)
    assert not list(store.glob("jobs/*/commits/*"))


def test_several_misfits_are_named_at_once(shell: Shell, tmp_path: Path) -> None:
    file = write_job(tmp_path / "job.yaml", memory_worker="128Mi", merge_shards=7)
    refused(shell("validate", file), "spec.memory.worker: ", "spec.merge.shards: ")


def test_problems_come_as_json_where_that_is_asked(shell: Shell, tmp_path: Path) -> None:
    done = shell("validate", write_job(tmp_path / "job.yaml", workers=0), "--json")
    assert done.code == done.json["error"]["exitCode"] == 2
    assert done.json["error"]["reason"] == "InvalidSpec"
    assert done.json["error"]["problems"][0]["field"] == "spec.workers"


DOCUMENTS = {
    "spec: {model: {name: mlp": "line 1, column",
    "a: 1\nb: [1,\nc: 2\n": "line 2, column 4",
    "a: 1\n---\nb: 2\n": "document 1: must be a TrainingJob or a TuningJob, got None",
    "": "(document): must hold a TrainingJob or a TuningJob, and is empty",
    "- 1\n": "(document): must be a mapping with apiVersion, kind, metadata and spec",
    "kind: Job\nkind: TrainingJob\n": "'kind' is there twice",
    "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {}\n": "kind: must be 'TrainingJob', got 'Pod'",
}


@pytest.mark.parametrize("text", DOCUMENTS)
def test_what_is_no_job_is_told_so(text: str, shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(text)
    refused(shell("run", file), DOCUMENTS[text])


def test_a_job_file_that_is_missing_or_binary_is_told_so(shell: Shell, tmp_path: Path) -> None:
    refused(shell("run", tmp_path / "no.yaml"), "no.yaml cannot be read: No such file or directory")
    (tmp_path / "odd.yaml").write_bytes(b"\xff\xfe\x00")
    refused(shell("run", tmp_path / "odd.yaml"), "odd.yaml is no text file")


def corrupt_npz(path: Path) -> str:
    path.write_bytes(b"PK\x03\x04 and no more")
    return "is no whole .npz archive"


def cut_off_idx(path: Path) -> str:
    path = path.with_name("train-images-idx3-ubyte.gz")
    path.write_bytes(gzip.compress(b"\0\0\x08\x03")[:12])
    return "train-images"


def wrong_shapes(path: Path) -> str:
    np.savez(path, x=np.zeros((10, 4)), y=np.zeros(9, int))
    return "has 10 samples"


def negative_labels(path: Path) -> str:
    np.savez(path, x=np.zeros((10, 4)), y=np.array([0, 1, 2, -1, 0, 1, 2, 0, 1, 2]))
    return "row 3 (the first is 0) has the label -1; labels go from 0"


def features_that_are_no_numbers(path: Path) -> str:
    x = np.ones((10, 4))
    x[4, 1] = np.nan
    np.savez(path, x=x, y=np.zeros(10, int))
    return "row 4 (the first is 0) has the feature nan; features must be finite"


@pytest.mark.parametrize(
    "make", [corrupt_npz, cut_off_idx, wrong_shapes, negative_labels, features_that_are_no_numbers]
)
def test_bad_data_is_found_by_validate_and_run(make: Any, shell: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    text = make(folder / "x.npz")
    file = write_job(tmp_path / "job.yaml", data_source=str(folder))
    refused(shell("validate", file), text)
    refused(shell("run", file, "--quiet", "--store", tmp_path / "store"), text)


def test_labels_beyond_the_number_of_classes_are_refused(shell: Shell, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((10, 4)), y=np.arange(10))
    file = write_job(tmp_path / "job.yaml", data_source=str(tmp_path / "x.npz"), data_options={"classes": 4})
    refused(shell("validate", file), "row 4 (the first is 0) has the label 4; labels go from 0 to 3")


def test_a_store_that_does_not_answer_is_named(shell: Shell, tmp_path: Path) -> None:
    url = "s3://bucket?endpoint=http://127.0.0.1:9"
    done = shell("run", write_job(tmp_path / "job.yaml"), "--store", url, environ=CREDENTIALS)
    refused(done, "http://127.0.0.1:9 gave no answer", "check that the address is right", code=3)


def test_missing_credentials_are_named(shell: Shell, tmp_path: Path) -> None:
    file = write_job(tmp_path / "job.yaml")
    url = "s3://bucket?endpoint=http://127.0.0.1:9"
    done = shell("run", file, "--store", url, environ={})
    refused(done, "needs credentials: set SAPFLOW_S3_ACCESS_KEY, SAPFLOW_S3_SECRET_KEY", code=3)
    half = {"SAPFLOW_S3_ACCESS_KEY": "key"}
    done = shell("run", file, "--store", url, environ=half)
    refused(done, "credentials are incomplete: SAPFLOW_S3_SECRET_KEY is not set", code=3)
    assert shell("status", "--store", tmp_path / "store", environ=half).code == 0, "a directory needs none"


def test_a_store_of_another_kind_is_told_what_there_is(shell: Shell, tmp_path: Path) -> None:
    done = shell("run", write_job(tmp_path / "job.yaml"), "--store", "ftp://host/x")
    refused(done, "'ftp://host/x' is no store: use a directory, file:///path, or s3://", code=3)


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Any]:
    """Mounts a tmpfs with options; skips where that is not allowed."""
    folder = tmp_path / "mounted"
    folder.mkdir()

    def mounted(options: str) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"mounting a file system of one's own needs root: {done.stderr.strip()}")
        return folder

    yield mounted
    if folder.is_mount():
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_read_only_directory_is_no_store(mount: Any, shell: Shell, tmp_path: Path) -> None:
    done = shell("run", write_job(tmp_path / "job.yaml"), "--store", mount("ro") / "store")
    refused(done, "the file system is read-only: store somewhere writable", code=3)


def test_a_directory_without_write_permission_is_no_store(shell: Shell, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    folder = tmp_path / "locked"
    folder.mkdir(0o555)
    done = shell("run", write_job(tmp_path / "job.yaml"), "--store", folder)
    refused(done, "permission denied: let this user read and write there", code=3)


def test_a_full_disk_ends_the_run_which_goes_on_once_there_is_room(mount: Any, tmp_path: Path) -> None:
    store = mount("size=192k")
    # Version 0 has 84 kB, and so has each contribution.
    file = write_job(tmp_path / "job.yaml", model_args={"hidden": [3000]}, algorithm_steps=3)
    full = run("run", "--max-instances", 1, file, "--store", store, "--quiet")
    assert full.code == 3, full
    assert "disk full: free some space there" in full.err
    assert "Traceback" not in full.err
    assert functions_of(store) == []
    subprocess.run(["mount", "-o", "remount,size=64m", str(store)], check=True)
    resumed = here("run", "--max-instances", 1, file, "--store", store, "--json")
    assert resumed.code == 0, resumed.err
    undisturbed = here("run", "--max-instances", 1, file, "--store", tmp_path / "other", "--json")
    assert resumed.json["sha256"] == undisturbed.json["sha256"]


def test_a_loss_that_is_not_finite_fails_the_job_with_its_last_good_step(
    shell: Shell, tmp_path: Path
) -> None:
    changes: dict[str, Any] = {"optimizer": {"learningRate": 1e30}, "algorithm_steps": 4}
    file, store = write_job(tmp_path / "job.yaml", **changes), tmp_path / "store"
    done = here("run", "--max-instances", 1, file, "--store", store, "--quiet")
    refused(done, "has failed (NotFinite)", "step 2: the loss or gradient is not finite", code=1)
    assert "version 1 is the last good checkpoint" in done.err
    assert "spec.algorithm.onNaN: Skip" in done.err
    assert list(store.glob("jobs/*/checkpoints/1.json"))
    status = shell("status", file, "--store", store)
    assert re.search(r"state +Failed\n", status.out)
    assert "NotFinite: step 2" in status.out
    skipping = write_job(tmp_path / "skip.yaml", **changes, algorithm_onNaN="Skip")
    refused(
        here("run", "--max-instances", 1, skipping, "--store", store, "--quiet"),
        "has failed (TooManySkipped)",
        "more than the 1 of spec.limits.skippedSteps (a tenth of the job's 4, where it is left out)",
        code=1,
    )
    more = write_job(tmp_path / "more.yaml", **changes, algorithm_onNaN="Skip", limits={"skippedSteps": 3})
    skipped = here("run", "--max-instances", 1, more, "--store", store, "--json")
    assert (skipped.code, skipped.json["version"], skipped.json["skippedSteps"]) == (0, 4, 3)
    assert re.search(r"skipped +3 steps", shell("status", more, "--store", store).out)
    skipping = more
    tried = shell("predict", skipping, "--store", store)
    refused(tried, "the model gives outputs that are not finite numbers: its training diverged")


def test_a_micro_batch_that_does_not_fit_the_time_limit_fails_the_job_naming_the_limit(
    tmp_path: Path,
) -> None:
    (tmp_path / "slow_net.py").write_text(
        "import time\n"
        "from torch import nn\n"
        "class Slow(nn.Linear):\n"
        "    def forward(self, samples):\n"
        "        if samples.shape[0] > 2:\n"
        "            time.sleep(5)\n"
        "        return super().forward(samples)\n"
        "def factory(inputs, outputs):\n"
        "    return Slow(inputs[0], outputs)\n"
    )
    file = write_job(
        tmp_path / "job.yaml",
        model={"entrypoint": "slow_net:factory"},
        limits={"invocationSeconds": 1, "retries": 1},
        algorithm_steps=1,
    )
    done = here("run", "--max-instances", 1, file, "--store", tmp_path / "store", "--quiet")
    refused(done, "has failed (InvocationTimeout)", "train of version 1, rank", "after 2 tries", code=1)
    assert "does not fit into spec.limits.invocationSeconds (1): raise it, or lower" in done.err


def test_an_own_model_that_fails_is_told_with_its_error(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "broken_net.py").write_text(
        "from torch import nn\n"
        "def raises(inputs, outputs):\n    raise KeyError('no such layer')\n"
        "def narrow(inputs, outputs):\n    return nn.Linear(inputs[0], outputs + 1)\n"
    )
    for factory, text in (
        ("raises", "broken_net:raises failed to build the model: KeyError: 'no such layer'"),
        ("narrow", "gives outputs of shape [2, 4] for 2 samples; the data's targets need [2, 3]"),
        ("missing", "module 'broken_net' has no 'missing'"),
    ):
        file = write_job(tmp_path / "job.yaml", model={"entrypoint": f"broken_net:{factory}"})
        refused(shell("validate", file), f"spec.model.entrypoint: {text}")


def test_an_own_model_that_takes_its_process_along_is_refused_before_the_start(
    shell: Shell, tmp_path: Path
) -> None:
    (tmp_path / "fatal_net.py").write_text("import os\ndef factory():\n    os._exit(7)\n")
    file = write_job(tmp_path / "job.yaml", model={"entrypoint": "fatal_net:factory"})
    done = shell("run", file, "--store", tmp_path / "store", "--quiet")
    refused(done, "spec.model: ended the process that built it (exit code 7)")


def test_a_function_without_a_token_says_so() -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SAPFLOW_")}
    process = subprocess.run(
        [sys.executable, "-m", "sapflow_functions.roles.worker"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.returncode == 2
    assert "SAPFLOW_TOKEN: is not set" in process.stderr


def test_a_model_file_that_is_missing_or_damaged_is_told_so(shell: Shell, tmp_path: Path) -> None:
    refused(shell("predict", tmp_path / "no.safetensors"), "cannot be read: No such file")
    (tmp_path / "odd.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    refused(shell("predict", tmp_path / "odd.safetensors"), "is no model file of Sapflow's, or is damaged")


def test_a_job_that_is_not_in_the_store_is_told_so(shell: Shell, tmp_path: Path) -> None:
    refused(shell("status", "nobody-12345678", "--store", tmp_path), "holds no job 'nobody-12345678'")
    refused(shell("predict", "nobody-12345678", "--store", tmp_path), "holds no job 'nobody-12345678'")
    refused(shell("status", "--store", "s3://bucket?endpoint=http://x"), "are not listed: name one")
    for name in ("mine-0123abcd", "mine-4567ef89", "mine-else", "mine-else-0123abcd"):
        (tmp_path / "jobs" / name).mkdir(parents=True)
    said = "holds 2 jobs called mine…: mine-0123abcd, mine-4567ef89; give more of the name"
    refused(shell("report", "mine", "--store", tmp_path), said)


@pytest.mark.parametrize(
    "arguments",
    [["fly"], ["run"], ["run", "x.yaml", "--max-instances", "0"], ["predict", "x", "--top", "no"]],
)
def test_bad_usage_is_answered_with_the_usage(arguments: list[str], shell: Shell) -> None:
    refused(shell(*arguments), "usage: sapflow", "error: ")
