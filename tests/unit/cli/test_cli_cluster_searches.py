"""`submit`, `status` and `logs` of searches in a cluster."""

import io
import json
from collections import deque
from pathlib import Path
from typing import Any

import pytest
from helpers.cluster_api import (
    ClusterApi,
    Object,
    condition,
    not_found,
    pod,
    refusal,
    running,
    searched,
    searching,
    trainingjob,
    trial,
    tuningjob,
)
from helpers.cluster_cli import ClusterCli
from helpers.searches import search_document
from rich.console import Console

from sapflow.cli.search_live import SearchDisplay
from sapflow.client import cluster_search


def written(folder: Path, **spec: Any) -> Path:
    path = folder / "tune.yaml"
    path.write_text(json.dumps(search_document(**spec)))
    return path


def changes(*statuses: Object, name: str = "search", uid: str = "uid") -> list[Object]:
    """What a watch of a search gives: it with each of the statuses."""
    found = []
    for status in statuses:
        search = tuningjob(name, **status)
        search["metadata"]["uid"] = uid
        found.append({"type": "MODIFIED", "object": search})
    return found


FAILED = {
    **searching(3, failed=2),
    "conditions": [condition("Succeeded", "False", "TooManyFailed", "4 trials have failed")],
}


def test_a_search_is_submitted_as_it_was_written(cli: ClusterCli, api: ClusterApi, tmp_path: Path) -> None:
    done = cli("submit", written(tmp_path))
    assert done.code == 0, done.err
    assert "search created in namespace team" in done.out
    assert "sapflow status tune/search -n team --watch" in done.out
    (asked,) = [each for each in api.asked if each.method == "PATCH"]
    assert asked.path.endswith("/namespaces/team/tuningjobs/search")
    assert asked.body == search_document()
    again = cli("submit", written(tmp_path, maxTrials=32), "--json").json
    assert (again["action"], again["kind"]) == ("configured", "TuningJob")


def test_what_is_wrong_with_a_search_is_said_before_anything_is_sent(
    cli: ClusterCli, api: ClusterApi, tmp_path: Path
) -> None:
    done = cli("submit", written(tmp_path, maxWorkers=1))
    assert done.code == 2
    assert "spec.maxWorkers" in done.err
    causes = [{"field": "spec.maxTrials", "message": "may be raised, and not lowered"}]
    api.refusals.append(("/search", not_found("tuningjobs", "search")))
    api.refusals.append(("/search", refusal(422, "is invalid", name="search", causes=causes)))
    done = cli("submit", written(tmp_path))
    assert done.code == 2
    assert "spec.maxTrials: may be raised, and not lowered" in done.err


def test_a_submitted_search_is_followed_to_its_result(
    cli: ClusterCli, api: ClusterApi, tmp_path: Path
) -> None:
    api.watches["tuningjobs"] = deque([changes({}, searching(3, pruned=1), searched())])
    done = cli("submit", written(tmp_path), "--watch")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[:3] == [
        "search created in namespace team",
        "Running: the driver is at work",
        "3 of 8 ended: 3 finished, 1 pruned, 2 running  "
        "best accuracy 60.00 % (trial 2: learningRate=0.125, name=Adam)  $0.000300",
    ]
    assert "  best trial  7, accuracy 85.00 %" in lines
    assert "  SHA-256     5ca1ab1e" in lines


def test_a_search_that_fails_while_it_is_followed_has_exit_code_1(cli: ClusterCli, api: ClusterApi) -> None:
    api.put(tuningjob(**searching(1)))
    api.watches["tuningjobs"] = deque(
        [changes(searching(2), FAILED, name="digits-search", uid="uid-of-digits-search")]
    )
    done = cli("status", "digits-search", "--watch", "--json")
    assert done.code == 1
    assert (done.json["state"], done.json["reason"]) == ("Failed", "TooManyFailed")
    told = [json.loads(line) for line in done.err.splitlines()]
    assert [each["ended"] for each in told if each["event"] == "trials"] == [1, 3]


def test_a_search_whose_limit_was_just_raised_is_followed_on(cli: ClusterCli, api: ClusterApi) -> None:
    ended = tuningjob(**searched())
    ended["spec"]["maxTrials"] = 16
    api.put(ended)
    found = changes(searched(), searching(8), searched(), name="digits-search", uid="uid-of-digits-search")
    found[0]["object"]["spec"]["maxTrials"] = found[1]["object"]["spec"]["maxTrials"] = 16
    api.watches["tuningjobs"] = deque([found])
    done = cli("status", "digits-search", "--watch")
    assert done.code == 0
    assert "Running: the driver is at work" in done.out
    assert not cluster_search.finished(ended)


def test_the_status_of_a_search_has_counts_the_best_and_what_failed(cli: ClusterCli, api: ClusterApi) -> None:
    failures = [{"trial": 5, "reason": "NotFinite", "message": "the loss is nan"}]
    api.put(tuningjob(**searching(3, failed=1, failures=failures, budgetUSD=0.5)))
    api.pods["team"] = [pod("driver-a"), pod("worker-a", "worker")]
    done = cli("status", "digits-search")
    assert done.code == 0, done.err
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    for said in (
        "digits-search in namespace team",
        "state Running",
        "trials 3 of 8 ended: 3 finished, 1 failed, 2 running",
        "best trial 2, accuracy 60.00 %",
        "parameters learningRate=0.125, name=Adam",
        "cost $0.000300 of $0.500",
        "failed trial 5: NotFinite: the loss is nan",
        "driver pods 1 running",
    ):
        assert said in lines
    found = cli("status", "digits-search", "--json").json
    assert found["kind"] == "TuningJob"
    assert found["progress"]["best"]["parameters"]["spec.optimizer.learningRate"] == 0.125
    selectors = [each.query["labelSelector"] for each in api.asked if each.path.endswith("/pods")]
    assert set(selectors) == {"sapflow.dev/job=digits-search,sapflow.dev/kind=TuningJob"}


def test_a_job_and_a_search_of_one_name_are_told_apart(cli: ClusterCli, api: ClusterApi) -> None:
    api.put(trainingjob("digits", **running(3)))
    api.put(tuningjob("digits", **searching(3)))
    assert cli("status", "digits", "--json").json["kind"] == "TrainingJob"
    assert cli("status", "tj/digits", "--json").json["kind"] == "TrainingJob"
    assert cli("status", "tune/digits", "-n", "team", "--json").json["kind"] == "TuningJob"
    selectors = {each.query["labelSelector"] for each in api.asked if each.path.endswith("/pods")}
    assert selectors == {
        "sapflow.dev/job=digits,!sapflow.dev/kind",
        "sapflow.dev/job=digits,sapflow.dev/kind=TuningJob",
    }


def test_jobs_and_searches_of_a_namespace_are_listed(cli: ClusterCli, api: ClusterApi) -> None:
    api.put(trainingjob("digits", **running(3)))
    api.put(tuningjob("found", **searched()))
    api.put(tuningjob("early"))
    done = cli("status", "-n", "team")
    jobs, searches = done.out.split("\n\n")
    assert jobs.splitlines()[0].split()[:2] == ["NAME", "STATE"]
    rows = [line.split() for line in searches.splitlines()]
    assert rows[0] == ["SEARCH", "STATE", "TRIALS", "RUNNING", "BEST", "COST"]
    assert sorted(rows[1:]) == [
        ["early", "Pending", "-", "-", "-", "-"],
        ["found", "Succeeded", "8/8", "0", "85.00", "%", "$0.000800"],
    ]
    kinds = [each["kind"] for each in cli("status", "-A", "--json").json["jobs"]]
    assert sorted(kinds) == ["TrainingJob", "TuningJob", "TuningJob"]


def test_a_cluster_without_searches_lists_its_jobs(cli: ClusterCli, api: ClusterApi) -> None:
    api.put(trainingjob("digits", **running(3)))
    api.refusals.append(("/tuningjobs", (404, {})))
    done = cli("status", "-n", "team")
    assert done.code == 0, done.err
    assert "digits" in done.out


def test_the_log_of_a_search_is_that_of_its_driver(cli: ClusterCli, api: ClusterApi) -> None:
    api.put(tuningjob(**searched()))
    api.pods["team"] = [pod("driver-a", phase="Succeeded")]
    api.logs["driver-a"] = deque([['{"event": "trial finished", "trial": 3}']])
    done = cli("logs", "digits-search", "--raw")
    assert (done.code, done.out.strip()) == (0, '{"event": "trial finished", "trial": 3}')


def test_a_followed_log_ends_with_its_search(cli: ClusterCli, api: ClusterApi) -> None:
    api.put(tuningjob(**searching(1)))
    api.pods["team"] = [pod("driver-a", phase="Succeeded")]
    api.logs["driver-a"] = deque([["2026-01-01T00:00:01Z one", "2026-01-01T00:00:02Z two"]])
    api.watches["tuningjobs"] = deque([changes(searched(), name="digits-search", uid="uid-of-digits-search")])
    done = cli("logs", "tune/digits-search", "--follow", "--raw")
    assert (done.code, done.out.split()) == (0, ["one", "two"])


@pytest.mark.parametrize("command", ["status", "logs"])
def test_what_is_neither_job_nor_search_is_said_so(command: str, cli: ClusterCli) -> None:
    done = cli(command, "nothing", *(["-n", "team"] if command == "status" else []))
    assert done.code != 0
    assert "there is no job 'nothing' in namespace team" in done.err


def test_the_status_of_a_trial_is_what_the_cluster_shows_of_it(cli: ClusterCli, api: ClusterApi) -> None:
    api.put(tuningjob(**searched()))
    api.put(trial(7, objective=0.85))
    api.put(trial(3, "Failed", reason="NotFinite: the loss is nan"))
    done = cli("status", "digits-search/trials/best", "-n", "team")
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    assert lines[0] == "digits-search/trials/7 in namespace team"
    assert "objective accuracy 85.00 %" in lines
    assert "parameters learningRate=0.125, name=Adam" in lines
    found = cli("status", "digits-search/trials/3", "-n", "team", "--json").json
    assert (found["job"], found["state"]) == ("digits-search/trials/3", "Failed")
    assert "NotFinite: the loss is nan" in cli("status", "digits-search/trials/3", "-n", "team").out
    done = cli("status", "digits-search/trials/4", "-n", "team")
    assert done.code == 2
    assert "digits-search shows no trial 4" in done.err
    assert "--watch follows a whole search" in cli("status", "digits-search/trials/3", "--watch").err
    api.put(tuningjob("early"))
    assert "no trial of early has a value yet" in cli("status", "early/trials/best", "-n", "team").err


def test_a_trial_of_a_cluster_needs_its_store(cli: ClusterCli, api: ClusterApi) -> None:
    api.put(tuningjob(**searched()))
    done = cli("export", "digits-search/trials/best", "-n", "team")
    assert done.code == 2
    assert "digits-search is a search of the cluster (namespace team)" in done.err
    assert "--store" in done.err


def test_the_live_display_shows_counts_the_best_trials_and_functions() -> None:
    stream = io.StringIO()
    display = SearchDisplay(stream, "digits-search in team: at most 4 calls at once")
    event = cluster_search.progress_event(tuningjob(**searching(3)))
    assert event is not None
    display.emit(event)
    display.emit({"event": "functions", "functions": [("worker", "running"), ("worker", "CrashLoopBackOff")]})
    console = Console(file=io.StringIO(), width=120)
    with console.capture() as capture:
        console.print(display.picture())
    text = capture.get()
    assert "digits-search in team: at most 4 calls at once" in text
    assert "3 of 8 ended: 3 finished, 2 running" in text
    assert text.index("60.00 %") < text.index("55.00 %")
    assert "learningRate=0.125, name=Adam" in text
    assert "worker" in text
