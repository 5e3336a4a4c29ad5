"""`validate`, `run` and `status` of searches, as far as no function is started."""

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.commands import Shell
from helpers.search_runs import iris_search

from sapflow.client.tuning import uid_of
from sapflow.spec.resolved_search import RAISABLE
from sapflow.spec.tuning_job import TuningJob


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


def written(path: Path, job: TuningJob, **spec: Any) -> Path:
    document = job.to_json()
    document["spec"].update(spec)
    path.write_text(json.dumps(document))
    return path


def test_validate_checks_a_search_and_its_template(tmp_path: Path, shell: Shell) -> None:
    file = written(tmp_path / "tune.yaml", iris_search())
    done = shell("validate", file)
    assert done.code == 0, done.err
    assert "is valid" in done.out
    assert "Random, 6 trials, ASHA prunes" in done.out
    found = shell("validate", file, "--json").json
    assert found["valid"] is True
    assert found["parameters"] == ["spec.optimizer.learningRate"]


def test_what_is_wrong_with_a_search_is_named_by_its_field(tmp_path: Path, shell: Shell) -> None:
    file = written(tmp_path / "tune.yaml", iris_search(), maxWorkers=0)
    for command in ("validate", "run", "status"):
        done = shell(command, file)
        assert done.code == 2
        assert "spec.maxWorkers" in done.err
        assert str(file) in done.err


def test_what_is_wrong_with_a_template_is_named_by_its_field_in_the_search(
    tmp_path: Path, shell: Shell
) -> None:
    job = iris_search().to_json()
    job["spec"]["template"]["spec"]["data"]["source"] = str(tmp_path / "missing.npz")
    file = tmp_path / "tune.yaml"
    file.write_text(json.dumps(job))
    assert shell("validate", file).code == 2
    tight = iris_search().to_json()
    tight["spec"]["template"]["spec"]["memory"] = {"worker": "64Mi", "merger": "256Mi"}
    file.write_text(json.dumps(tight))
    done = shell("validate", file)
    assert done.code == 2
    assert "spec.template.spec.memory.worker" in done.err


@pytest.mark.parametrize("option", [("--workers", "2"), ("--metrics", "127.0.0.1:0")])
def test_options_of_jobs_are_refused_for_a_search(tmp_path: Path, shell: Shell, option: Any) -> None:
    file = written(tmp_path / "tune.yaml", iris_search())
    done = shell("run", file, "--store", tmp_path / "store", *option)
    assert done.code == 2
    assert option[0] in done.err
    assert not (tmp_path / "store").exists()


def test_the_status_of_a_search_that_has_not_begun_is_pending(tmp_path: Path, shell: Shell) -> None:
    file = written(tmp_path / "tune.yaml", iris_search())
    (tmp_path / "store").mkdir()
    found = shell("status", file, "--store", tmp_path / "store", "--json").json
    assert found["state"] == "Pending"
    assert found["trials"]["begun"] == 0


def test_a_search_keeps_its_name_where_only_limits_change() -> None:
    job = iris_search()
    changed = {
        "maxTrials": 9, "maxFailedTrials": 2, "maxWorkers": 9, "parallelTrials": 2, "budgetUSD": 1.5,
        "deadlineSeconds": 77,
    }  # fmt: skip
    assert {*changed} == {*RAISABLE}
    assert uid_of(iris_search(**changed)) == uid_of(job)
    assert uid_of(iris_search(search={"name": "Random", "seed": 3})) != uid_of(job)
