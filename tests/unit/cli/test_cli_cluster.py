"""Commands against a cluster: which one is asked, how, and what is said where it refuses."""

import ast
import inspect
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.cluster_api import (
    ClusterApi,
    condition,
    failed,
    not_found,
    pod,
    refusal,
    running,
    succeeded,
    trainingjob,
)
from helpers.cluster_cli import ClusterCli
from helpers.commands import Shell, write_job
from helpers.jobs import make_place, tiny_job

from sapflow.client import cluster_job
from sapflow.objects import keys


@pytest.mark.parametrize("command", ["submit", "logs"])
def test_each_command_teaches_by_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    done = Shell(capsys)(command, "--help")
    assert done.code == 0
    assert f"  sapflow {command}" in done.out.partition("examples:")[2]


# Which cluster


def test_without_a_kubeconfig_the_remedy_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = Shell(capsys)("logs", "digits", environ={"HOME": str(tmp_path)})
    assert done.code == 3
    assert (
        f"there is no kubeconfig at {tmp_path}/.kube/config; set KUBECONFIG or give --kubeconfig" in done.err
    )


def test_a_context_that_is_not_there_is_named(cli: ClusterCli) -> None:
    done = cli("logs", "digits", "--context", "nowhere")
    assert done.code == 3
    assert "cannot be used" in done.err
    assert "nowhere" in done.err


@pytest.mark.parametrize("text", ["", "words", "[]", "{a: b: c", "{}"])
def test_a_kubeconfig_that_is_none_is_said_so(text: str, cli: ClusterCli, tmp_path: Path) -> None:
    path = tmp_path / "broken"
    path.write_text(text)
    done = cli("logs", "digits", "--kubeconfig", path)
    assert done.code == 3
    assert f"the kubeconfig {path} cannot be used" in done.err


def test_a_missing_kubernetes_package_names_the_extra(
    cli: ClusterCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    done = cli("logs", "digits")
    assert done.code == 3
    assert "pip install 'sapflow[cluster]'" in done.err


def test_the_namespace_is_the_one_named_else_the_contexts(cli: ClusterCli, api: ClusterApi) -> None:
    api.put(trainingjob(namespace="team"))
    api.put(trainingjob(namespace="elsewhere"))
    api.put(trainingjob(namespace="third"))
    assert cli("status", "digits").out.startswith("digits in namespace team\n")
    assert cli("status", "digits", "--context", "other").out.startswith("digits in namespace elsewhere\n")
    assert cli("status", "digits", "-n", "third").out.startswith("digits in namespace third\n")
    assert all(asked.headers["authorization"] == "Bearer my-token" for asked in api.asked)


# What it refuses


@pytest.mark.parametrize(
    ("answer", "code", "reason", "words"),
    [
        (refusal(401, "Unauthorized"), 3, "ClusterRefused", "log in again"),
        (refusal(403, "jobs are forbidden"), 3, "ClusterRefused", "administrator"),
        ((404, {}), 3, "NotInstalled", "helm install sapflow charts/sapflow"),
        (not_found("trainingjobs", "digits"), 2, "JobUnknown", "no job 'digits' in namespace team"),
        (refusal(500, "panic"), 3, "ClusterRefused", "panic"),
    ],
)
def test_a_refusal_is_told_with_its_remedy(
    answer: Any, code: int, reason: str, words: str, cli: ClusterCli, api: ClusterApi
) -> None:
    api.refusals.append(("trainingjobs", answer))
    done = cli("status", "digits", "-n", "team", "--json")
    assert done.code == code
    assert done.json["error"]["reason"] == reason
    assert words in done.json["error"]["message"]


def test_a_server_that_is_not_there_is_named(cli: ClusterCli, api: ClusterApi, tmp_path: Path) -> None:
    url, api.url = api.url, "http://127.0.0.1:9"
    done = cli("status", "-A", "--kubeconfig", api.kubeconfig(tmp_path))
    api.url = url
    assert done.code == 3
    assert "the API server at http://127.0.0.1:9 does not answer" in done.err


def test_a_server_that_asks_for_another_try_gets_it(cli: ClusterCli, api: ClusterApi) -> None:
    api.put(trainingjob())
    api.refusals += [("trainingjobs", refusal(503, "busy")), ("trainingjobs", refusal(429, "slow down"))]
    assert cli("status", "digits", "-n", "team").code == 0


# status


def test_the_status_of_a_running_job_says_how_far_it_is_and_what_is_wrong(
    cli: ClusterCli, api: ClusterApi
) -> None:
    status = running(12, loss=0.5, accuracy=0.75, secondsPerStep=0.25, estimatedSecondsLeft=7.0, epoch=2)
    status["conditions"].append(
        condition("FunctionsReady", "False", "Unschedulable", "2 of the workers: no room")
    )
    api.put(trainingjob(**status))
    api.pods["team"] = [
        pod("digits-driver-a"),
        pod("digits-worker-1", "worker"),
        pod("digits-worker-2", "worker", "Pending"),
    ]
    api.events["team"] = [
        {"metadata": {"name": "one"}, "type": "Normal", "reason": "Planned", "message": "fine"},
        {
            "metadata": {"name": "two"},
            "type": "Warning",
            "reason": "BackOff",
            "message": "a\x1b[2J",
            "count": 3,
        },
    ]
    done = cli("status", "digits")
    assert done.code == 0
    for words in (
        "state           Running",
        "FunctionsReady  Unschedulable: 2 of the workers: no room",
        "12 of 40 (30 %), epoch 2",
        "accuracy 75.00 %, loss 0.5000",
        "250 ms a step, 7.0 s left",
        "$0.000100 at AWSLambda prices",
        "driver pods     1 running",
        "worker pods     1 pending, 1 running",
        "BackOff: a [2J (3 times)",
    ):
        assert words in done.out
    assert "fine" not in done.out


def test_the_status_of_a_job_that_prepares_raw_data_says_how_far_it_is(
    cli: ClusterCli, api: ClusterApi
) -> None:
    stage = "parsing, and learning impute (step 3)"
    progress = {
        "stage": stage,
        "partitions": 12,
        "partitionsDone": 3,
        "rows": 9_000,
        "rejectedRows": 2,
    }
    status: dict[str, Any] = {
        "conditions": [condition("Succeeded", "Unknown", "Preparing", f"the data is prepared: {stage}")],
        "startTime": "2026-01-01T00:00:00Z",
        "progress": {"preparation": progress},
    }
    api.put(trainingjob(**status))
    api.pods["team"] = [pod("digits-driver-a"), pod("digits-preparer-1", "preparer")]
    done = cli("status", "digits")
    assert done.code == 0
    for words in (
        "state          Preparing",
        f"preparation    {stage}: 3 of 12 partitions, 9,000 rows, 2 bad",
        "preparer pods  1 running",
    ):
        assert words in done.out


def test_the_status_of_a_job_that_searches_for_memory_says_what_it_has_tried(
    cli: ClusterCli, api: ClusterApi
) -> None:
    trials = [{"worker": "512Mi", "step": 40, "secondsPerStep": 0.25, "costUSD": 0.0000125}]
    progress = {"worker": "384Mi", "merger": "128Mi", "searching": True, "trials": trials}
    found = trainingjob(**running(60, memory=progress))
    found["status"]["memory"] = {"worker": "576Mi", "merger": "128Mi", "workerKilled": "384Mi"}
    found["spec"]["memory"] = {"worker": "512Mi", "optimize": {"goal": "PerformancePerCost"}}
    api.put(found)
    words = " ".join(cli("status", "digits", "-n", "team").out.split())
    assert "memory worker 576Mi, merger 128Mi" in words
    assert "looks for the most steps per second and dollar; killed with 384Mi" in words
    assert "512Mi to step 40: 250 ms, $0.0000125 a step" in words


def test_the_status_of_a_finished_job_holds_its_result(cli: ClusterCli, api: ClusterApi) -> None:
    api.put(trainingjob(**succeeded("abcdef")))
    done = cli("status", "digits", "-n", "team")
    assert "model       s3://sapflow/jobs/uid/result/model.safetensors" in done.out
    assert "SHA-256     abcdef" in done.out
    assert "time        1 min 30 s" in done.out
    body = cli("status", "digits", "-n", "team", "--json").json
    assert (body["state"], body["result"]["sha256"], body["seconds"]) == ("Succeeded", "abcdef", 90.0)


def test_the_status_tells_what_was_forecast_and_at_the_end_how_far_it_was_off(
    cli: ClusterCli, api: ClusterApi
) -> None:
    said = {"forecastSeconds": 40.0, "forecastCostUSD": 0.002}
    api.put(trainingjob(**running(3, **said)))
    assert "forecast  40.0 s and $0.00200\n" in cli("status", "digits", "-n", "team").out
    api.put(trainingjob(**running(3, **said, forecastSecondsError=-0.25, forecastCostError=0.03)))
    line = "40.0 s and $0.00200: 25 % too little of time, cold starts included, 3 % too much of cost"
    assert line in cli("status", "digits", "-n", "team").out


def test_who_may_see_jobs_but_no_pods_and_events_sees_the_rest(cli: ClusterCli, api: ClusterApi) -> None:
    api.put(trainingjob(**running(3)))
    api.refusals += [("pods", refusal(403, "no pods")), ("events", refusal(403, "no events"))]
    done = cli("status", "digits", "-n", "team", "--json")
    assert done.code == 0
    assert done.json["progress"]["step"] == 3
    assert "pods" not in done.json


def test_a_server_that_fails_as_pods_and_events_are_listed_leaves_the_rest(
    cli: ClusterCli, api: ClusterApi
) -> None:
    api.put(trainingjob(**running(3)))
    api.refusals += [(each, refusal(503, "busy")) for each in ("events", "pods") * 3]
    done = cli("status", "digits", "-n", "team", "--json")
    assert (done.code, done.json["progress"]["step"]) == (0, 3)
    assert not {"pods", "warnings"} & set(done.json)


def test_an_events_time_is_when_it_was_last_seen() -> None:
    event = {"metadata": {"creationTimestamp": "first"}, "eventTime": "then", "lastTimestamp": "last"}
    assert cluster_job.event_time(event) == "last"
    assert cluster_job.event_time(event | {"lastTimestamp": None}) == "then"
    assert cluster_job.event_time({"metadata": {"creationTimestamp": "first"}}) == "first"
    assert cluster_job.event_time({"metadata": {}}) == ""


def test_words_on_a_job_need_no_cluster_and_no_other_module_of_commands() -> None:
    tree = ast.parse(inspect.getsource(cluster_job))
    found = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert not [module for module in found if module.startswith("sapflow.cli")]


def test_jobs_are_listed_by_namespace_or_all(cli: ClusterCli, api: ClusterApi) -> None:
    api.put(trainingjob(**running(3, loss=0.25)))
    api.put(trainingjob("iris", "elsewhere", **failed("NotFinite", "the loss is not a number")))
    one = cli("status", "-n", "team").out.splitlines()
    assert [line.split() for line in one] == [
        ["NAME", "STATE", "PROGRESS", "LOSS", "ACCURACY", "COST"],
        ["digits", "Running", "3/40", "0.2500", "-", "$0.000100"],
    ]
    everything = cli("status", "-A").out
    assert "elsewhere  iris    Failed: NotFinite  7/40" in everything
    assert [job["job"] for job in cli("status", "-A", "--json").json["jobs"]] == ["digits", "iris"]
    assert "no jobs in namespace empty" in cli("status", "-n", "empty").out


def test_a_name_that_the_local_store_does_not_know_is_asked_of_the_cluster(
    cli: ClusterCli, api: ClusterApi
) -> None:
    api.put(trainingjob(**running(3)))
    assert cli("status", "digits").out.startswith("digits in namespace team")
    unknown = cli("status", "nobody")
    assert unknown.code == 2
    assert "holds no job 'nobody'" in unknown.err
    assert "no job 'nobody' in namespace team" in unknown.err
    assert "namespace team" not in cli("status", "nobody", "--store", "here").err


def test_a_report_of_a_cluster_s_job_is_made_from_the_store_that_is_named(
    cli: ClusterCli, api: ClusterApi, tmp_path: Path
) -> None:
    job = trainingjob(**succeeded("abcdef"))
    api.put(job)
    done = cli("report", "digits", "-n", "team")
    assert done.code == 2
    assert "--store 's3://BUCKET?endpoint=http://localhost:9000'" in done.err
    place = make_place(tmp_path / "store", tiny_job())
    place = replace(place, uid=job["metadata"]["uid"])
    place.store.create(keys.spec(keys.job(place.uid)), json.dumps(place.job.to_json()).encode())
    place.store.create(
        keys.manifest(keys.data(keys.job(place.uid))), json.dumps(place.manifest.to_json()).encode()
    )
    done = cli("report", "digits", "-n", "team", "--store", tmp_path / "store", "-o", tmp_path / "page.html")
    assert "nothing of job uid-of-digits is trained yet" in done.err
    done = cli("report", "nobody", "-n", "team", "--store", tmp_path / "store")
    assert "nobody" in done.err


def test_a_file_names_a_job_of_the_cluster(cli: ClusterCli, api: ClusterApi, tmp_path: Path) -> None:
    api.put(trainingjob("tiny", **running(3)))
    path = write_job(tmp_path / "job.yaml")
    assert cli("status", path, "-n", "team").out.startswith("tiny in namespace team")


@pytest.mark.parametrize("arguments", [("-n", "team", "--store", "x"), ("--watch",), ("digits", "-A")])
def test_options_that_exclude_each_other_are_told_so(arguments: tuple[str, ...], cli: ClusterCli) -> None:
    assert cli("status", *arguments).code == 2


# submit


def submitted(api: ClusterApi) -> list[Any]:
    return [asked for asked in api.asked if asked.method == "PATCH"]


def test_a_job_is_applied_as_it_was_written(cli: ClusterCli, api: ClusterApi, tmp_path: Path) -> None:
    path = write_job(tmp_path / "job.yaml")
    first, second = cli("submit", path), cli("submit", path)
    assert (first.code, second.code) == (0, 0)
    assert first.out.startswith("tiny created in namespace team")
    assert "sapflow status tiny -n team --watch" in first.out
    assert second.out.startswith("tiny unchanged in namespace team")
    (asked, _) = submitted(api)
    assert asked.body == yaml.safe_load(path.read_text())
    assert asked.query["fieldManager"] == "sapflow-cli"
    assert "force" not in asked.query
    assert asked.headers["content-type"] == "application/apply-patch+yaml"
    write_job(path, limits_retries=7)
    assert cli("submit", path, "--json").json["action"] == "configured"


def test_numbers_are_read_as_kubernetes_reads_them(cli: ClusterCli, api: ClusterApi, tmp_path: Path) -> None:
    path = write_job(tmp_path / "job.yaml")
    path.write_text(path.read_text().replace('"learningRate": 0.1', '"learningRate": 1e-1'))
    assert cli("submit", path).code == 0
    assert submitted(api)[0].body["spec"]["optimizer"]["learningRate"] == 0.1


def test_a_dry_run_changes_nothing(cli: ClusterCli, api: ClusterApi, tmp_path: Path) -> None:
    done = cli("submit", write_job(tmp_path / "job.yaml"), "--dry-run", "--watch")
    assert done.code == 0
    assert "would be created" in done.out
    assert submitted(api)[0].query["dryRun"] == "All"
    assert not api.jobs


def test_a_spec_that_is_wrong_here_is_not_sent(cli: ClusterCli, api: ClusterApi, tmp_path: Path) -> None:
    done = cli("submit", write_job(tmp_path / "job.yaml", workers=0), "--json")
    assert done.code == 2
    assert [each["field"] for each in done.json["error"]["problems"]] == ["spec.workers"]
    assert not submitted(api)


def test_the_files_own_namespace_counts_and_another_is_refused(
    cli: ClusterCli, api: ClusterApi, tmp_path: Path
) -> None:
    path = write_job(tmp_path / "job.yaml")
    body = json.loads(path.read_text())
    body["metadata"]["namespace"] = "own"
    path.write_text(json.dumps(body))
    assert "namespace own" in cli("submit", path).out
    done = cli("submit", path, "-n", "another")
    assert done.code == 2
    assert "metadata.namespace: is 'own', and 'another' was asked for" in done.err


def test_what_the_api_server_rejects_is_told_by_field(
    cli: ClusterCli, api: ClusterApi, tmp_path: Path
) -> None:
    causes = [
        {"field": "spec.workers", "message": "Invalid value: 9: spec.workers in body should be less than 8"},
        {"field": "spec", "message": 'Invalid value: "object": workers cannot be changed'},
    ]
    api.refusals.append(("/tiny", not_found("trainingjobs", "tiny")))
    api.refusals.append(("/tiny", refusal(422, "is invalid", name="tiny", causes=causes)))
    done = cli("submit", write_job(tmp_path / "job.yaml"))
    assert done.code == 2
    assert "\n  spec.workers: spec.workers in body should be less than 8\n" in done.err
    assert "\n  spec: workers cannot be changed\n" in done.err


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (
            refusal(500, "typed patch (/x): .spec.cells: field not declared in schema"),
            2,
            "spec.cells: is not a field",
        ),
        (not_found("namespaces", "team"), 3, "kubectl create namespace team"),
        (
            refusal(
                409,
                "conflict",
                name="tiny",
                causes=[{"field": ".spec.limits.retries", "message": "conflict"}],
            ),
            3,
            "change spec.limits.retries with the tool that set it, or take it over with --force-conflicts",
        ),
    ],
)
def test_a_refused_submission_names_the_way_out(
    answer: Any, code: int, words: str, cli: ClusterCli, api: ClusterApi, tmp_path: Path
) -> None:
    api.refusals += [("/tiny", not_found("trainingjobs", "tiny")), ("/tiny", answer)]
    done = cli("submit", write_job(tmp_path / "job.yaml"))
    assert done.code == code
    assert words in done.err


def test_conflicts_are_forced_only_when_asked(cli: ClusterCli, api: ClusterApi, tmp_path: Path) -> None:
    assert cli("submit", write_job(tmp_path / "job.yaml"), "--force-conflicts").code == 0
    assert submitted(api)[0].query["force"].lower() == "true"


def test_status_says_where_the_cells_of_a_placed_job_are(api: ClusterApi, cli: ClusterCli) -> None:
    nodes = [{"cell": 0, "node": "one"}, {"cell": 1, "node": "two"}, {"cell": 2, "node": "one"}]
    api.put(trainingjob(**running(3), placement={"cells": 3, "nodes": nodes}))
    assert "3: 0, 2 on one; 1 on two" in cli("status", "digits", "-n", "team").out
    assert json.loads(cli("status", "digits", "-n", "team", "--json").out)["placement"]["cells"] == 3
