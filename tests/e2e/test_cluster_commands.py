"""The command line against a real cluster, with the kubeconfig of the environment."""

import json
from pathlib import Path
from typing import Any

import yaml
from helpers.commands import Done, finish, run, started
from helpers.kube import Job, owned_store, owner_environment, sample, wait_until


def small(steps: int, **changes: Any) -> dict[str, Any]:
    """The digits sample with one worker and few steps."""
    return sample(
        "digits",
        workers=1,
        merge__structure=[1, 1],
        algorithm__epochs=None,
        algorithm__steps=steps,
        evaluation__everySteps=10,
        **changes,
    )


def write(folder: Path, document: dict[str, Any]) -> Path:
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def cli(*words: object) -> Done:
    return run(*words)


def test_a_submitted_job_is_watched_to_its_result_and_its_status_and_log_stay(
    namespace: str, tmp_path: Path
) -> None:
    path = write(tmp_path, small(20))

    done = cli("submit", path, "-n", namespace, "--watch")

    assert done.code == 0, done.err
    result = Job(namespace, "digits").status["result"]
    assert done.out.startswith(f"digits created in namespace {namespace}\n")
    assert "\nRunning: " in done.out
    assert "\nstep 20/20 (100 %)" in done.out
    assert result["sha256"] in done.out
    assert result["uri"] in done.out

    status = cli("status", "digits", "-n", namespace, "--json").json
    assert (status["state"], status["result"]) == ("Succeeded", result)
    assert status["pods"]["driver"] == {"succeeded": 1}
    events = [json.loads(line) for line in cli("logs", "digits", "-n", namespace).out.splitlines()]
    assert events[-1]["event"] == "succeeded"
    assert events[-1]["sha256"] == result["sha256"]
    assert "digits" in cli("status", "-n", namespace).out
    again = cli("submit", path, "-n", namespace)
    assert again.out.startswith(f"digits unchanged in namespace {namespace}")

    page = tmp_path / "report.html"
    with owned_store() as store:
        done = run(
            "report", "digits", "-n", namespace, "--store", store.url, "-o", page, environ=owner_environment()
        )
    assert done.code == 0, done.err
    assert result["sha256"] in page.read_text(encoding="utf-8")


def test_a_running_job_has_a_status_and_a_log_that_ends_with_it(namespace: str, tmp_path: Path) -> None:
    assert cli("submit", write(tmp_path, small(300)), "-n", namespace).code == 0
    job = Job(namespace, "digits")
    wait_until(lambda: job.pods("driver"), "a driver")
    with started("logs", "digits", "-n", namespace, "--follow") as following:
        job.until_step(1)
        status = cli("status", "digits", "-n", namespace)
        log = finish(following)

    assert "state" in status.out.splitlines()[1]
    assert "Running" in status.out
    assert "worker pods" in status.out
    assert log.code == 0, log.err
    events = [json.loads(line) for line in log.out.splitlines()]
    assert events[-1]["event"] == "succeeded"
    assert events[-1]["sha256"] == job.until_succeeded()["result"]["sha256"]


def test_a_job_that_is_wrong_is_refused_here_and_by_the_api_server(namespace: str, tmp_path: Path) -> None:
    here = cli("submit", write(tmp_path, small(20, memory__worker="lots")), "-n", namespace)
    assert here.code == 2
    assert "spec.memory.worker" in here.err

    suspended = small(20, suspend=True)
    assert cli("submit", write(tmp_path, suspended), "-n", namespace).code == 0
    suspended["spec"]["workers"], suspended["spec"]["merge"] = 2, {"structure": [1, 2]}
    there = cli("submit", write(tmp_path, suspended), "-n", namespace, "--json")
    assert there.code == 2
    assert there.json["error"]["reason"] == "InvalidSpec"
    assert any(each["field"].startswith("spec") for each in there.json["error"]["problems"])


def test_what_is_not_there_is_told_so(namespace: str, tmp_path: Path) -> None:
    for command in ("status", "logs"):
        unknown = cli(command, "nobody", "-n", namespace)
        assert unknown.code == 2
        assert f"there is no job 'nobody' in namespace {namespace}" in unknown.err
    lost = cli("submit", write(tmp_path, small(20)), "-n", f"{namespace}-x")
    assert lost.code == 3
    assert f"kubectl create namespace {namespace}-x" in lost.err
