"""`sapflow.Client` against an API server: jobs go there, are watched, read and deleted, and what fails says so."""

import asyncio
import json
import threading
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.cluster_api import (
    HOLD,
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
from helpers.jobs import document

import sapflow
from sapflow import Client, JobFailed, SpecError, TrainingJob
from sapflow.client.cluster_errors import ClusterRefused, JobUnknown, NoCluster


def modified(job: Any) -> dict[str, Any]:
    return {"type": "MODIFIED", "object": job}


def job(**changes: Any) -> TrainingJob:
    given: dict[str, Any] = {"model": "mlp", "data": "sklearn:iris", "workers": 4, "algorithm": {"steps": 5}}
    return TrainingJob("tiny", **(given | changes))


def test_the_namespace_is_the_one_named_else_the_contexts(client: Client, tmp_path: Path) -> None:
    kubeconfig = str(tmp_path / "kubeconfig")
    assert client.namespace == "team"
    assert Client(context="other").namespace == "elsewhere"
    assert Client("third", kubeconfig=kubeconfig).namespace == "third"


def test_without_a_kubeconfig_the_remedy_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoCluster, match="set KUBECONFIG or give"):
        Client(kubeconfig=str(tmp_path / "none"))


def test_a_job_is_submitted_as_it_was_written(client: Client, api: ClusterApi) -> None:
    made = TrainingJob.from_yaml(json.dumps(document()))
    submitted = client.submit(made)
    (asked,) = [each for each in api.asked if each.method == "PATCH"]
    assert asked.body == document()
    assert asked.query["fieldManager"] == "sapflow-cli"
    assert (submitted.name, submitted.namespace, submitted.state) == ("tiny", "team", "Pending")


def test_a_dry_run_changes_nothing(client: Client, api: ClusterApi) -> None:
    assert client.submit(job(), dry_run=True).name == "tiny"
    assert not api.jobs


def test_a_jobs_own_namespace_counts_and_another_is_refused(client: Client) -> None:
    assert client.submit(job(namespace="own")).namespace == "own"
    with pytest.raises(SpecError, match=r"metadata\.namespace: is 'own', and 'another' was asked for"):
        Client("another").submit(job(namespace="own"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"data": (np.zeros((4, 2)), [0, 1, 0, 1])},
            r"spec\.data\.source: the samples are in the memory of this",
        ),
        ({"data": "./samples.csv"}, r"spec\.data\.source: must be sklearn:NAME"),
    ],
)
def test_what_no_cluster_can_run_is_not_sent(
    changes: dict[str, Any], words: str, client: Client, api: ClusterApi
) -> None:
    with pytest.raises(SpecError, match=words):
        client.submit(job(**changes))
    assert not api.asked


def test_what_the_api_server_rejects_is_told_by_field(client: Client, api: ClusterApi) -> None:
    causes = [{"field": "spec.workers", "message": "Invalid value: 9: should be less than 8"}]
    api.refusals.append(("/tiny", not_found("trainingjobs", "tiny")))
    api.refusals.append(("/tiny", refusal(422, "is invalid", name="tiny", causes=causes)))
    with pytest.raises(SpecError, match=r"spec\.workers: should be less than 8"):
        client.submit(job())


def test_a_job_is_told_with_progress_result_and_pods(client: Client, api: ClusterApi) -> None:
    api.put(trainingjob(**running(12, loss=0.5, estimatedSecondsLeft=7.0)))
    api.pods["team"] = [pod("driver-a"), pod("worker-a", "worker")]
    found = client.get("digits")
    assert (found.name, found.namespace, found.uid) == ("digits", "team", "uid-of-digits")
    assert (found.state, found.finished, found.sha256) == ("Running", False, None)
    assert found.progress == sapflow.Progress(step=12, steps=40, loss=0.5, seconds_left=7.0, cost_usd=0.0001)
    assert found.details["pods"] == {"driver": {"running": 1}, "worker": {"running": 1}}
    api.put(trainingjob(**succeeded("f00d")))
    found = client.get("digits")
    assert (found.state, found.finished, found.sha256) == ("Succeeded", True, "f00d")
    assert found.uri == "s3://sapflow/jobs/uid/result/model.safetensors"


def test_jobs_of_a_namespace_or_of_all_are_listed(client: Client, api: ClusterApi) -> None:
    api.put(trainingjob("one"))
    api.put(trainingjob("two", **failed("NotFinite", "the loss is not finite")))
    api.put(trainingjob("three", namespace="elsewhere"))
    assert [(each.name, each.state) for each in client.list()] == [("one", "Pending"), ("two", "Failed")]
    assert {each.namespace for each in client.list(all_namespaces=True)} == {"team", "elsewhere"}


def test_a_job_that_is_not_there_is_said_so(client: Client) -> None:
    for ask in (client.get, client.wait, client.delete, lambda name: list(client.logs(name))):
        with pytest.raises(JobUnknown, match="no job 'none' in namespace team"):
            ask("none")


@pytest.mark.parametrize("timeout", [None, 60.0])
def test_waiting_ends_with_the_job(timeout: float | None, client: Client, api: ClusterApi) -> None:
    api.put(trainingjob(**running(1)))
    changes = [modified(trainingjob(**each)) for each in (running(2), succeeded("f00d"))]
    api.watches["trainingjobs"] = deque([changes])
    assert client.wait("digits", timeout=timeout).sha256 == "f00d"


@pytest.mark.parametrize("timeout", [None, 60.0])
def test_a_job_that_fails_while_it_is_waited_for_is_an_error(
    timeout: float | None, client: Client, api: ClusterApi
) -> None:
    api.put(trainingjob(**running(1)))
    api.watches["trainingjobs"] = deque(
        [[modified(trainingjob(**failed("StoreFailed", "the disk is full")))]]
    )
    with pytest.raises(JobFailed, match="digits has failed: the disk is full") as caught:
        client.wait("digits", timeout=timeout)
    assert (caught.value.reason, caught.value.version) == ("StoreFailed", 7)


def test_a_wait_that_is_over_leaves_the_job_alone(client: Client, api: ClusterApi) -> None:
    api.put(trainingjob(**running(1)))
    api.watches["trainingjobs"] = deque([[HOLD]])
    with pytest.raises(TimeoutError, match="digits has not finished within 0 s; it goes on"):
        client.wait("digits", timeout=0.0)
    assert not [each for each in api.asked if each.method != "GET"]


def test_following_gives_a_job_after_each_change(client: Client, api: ClusterApi) -> None:
    queued: dict[str, Any] = {"conditions": [condition("Succeeded", "Unknown", "Queued", "waits")]}
    api.put(trainingjob(**queued))
    changes = [modified(trainingjob(**each)) for each in (running(3), succeeded())]
    api.watches["trainingjobs"] = deque([changes])
    assert [each.state for each in client.follow("digits")] == ["Queued", "Running", "Succeeded"]


def test_logs_are_read_as_they_were_written(client: Client, api: ClusterApi) -> None:
    api.put(trainingjob(**running(1)))
    api.pods["team"] = [
        pod("driver-a"),
        pod("driver-b", created="2026-01-01T00:00:09Z"),
        pod("c", phase="Pending"),
    ]
    api.logs["driver-a"] = deque([refusal(400, "its log is gone")])
    api.logs["driver-b"] = deque([['{"event": "one"}', '{"event": "two"}']])
    assert list(client.logs("digits", tail=2)) == ['{"event": "one"}', '{"event": "two"}']
    assert [each.query["tailLines"] for each in api.asked if each.path.endswith("/log")] == ["2", "2"]
    api.logs["driver-a"] = deque([refusal(403, "logs are forbidden")])
    with pytest.raises(ClusterRefused, match="logs are forbidden"):
        list(client.logs("digits"))


def test_followed_logs_end_with_the_job(client: Client, api: ClusterApi) -> None:
    api.put(trainingjob(**running(3)))
    api.pods["team"] = [pod("driver-a", phase="Succeeded")]
    api.logs["driver-a"] = deque([["2026-01-01T00:00:01Z one", "2026-01-01T00:00:02Z two"]])
    api.watches["trainingjobs"] = deque([[modified(trainingjob(**succeeded()))]])
    assert list(client.logs("digits", follow=True)) == ["one", "two"]


def test_followed_logs_that_nobody_wants_any_more_leave_no_thread_at_work(
    client: Client, api: ClusterApi
) -> None:
    api.put(trainingjob(**running(3)))
    api.pods["team"] = [pod("driver-a")]
    api.logs["driver-a"] = deque([["2026-01-01T00:00:01Z one", HOLD, "2026-01-01T00:00:02Z two"]])
    api.watches["trainingjobs"] = deque([[HOLD, modified(trainingjob(**running(4)))]])
    api.watches["pods"] = deque([[HOLD, modified(pod("driver-a"))]])
    before = set(threading.enumerate())
    lines = client.logs("digits", follow=True)
    assert next(lines) == "one"
    lines.close()  # type: ignore[attr-defined]  # it is a generator
    api.over.set()
    readers = [each for each in set(threading.enumerate()) - before if each.name == "sapflow logs"]
    for thread in readers:
        thread.join(60)
        assert not thread.is_alive()


def test_a_job_is_deleted(client: Client, api: ClusterApi) -> None:
    api.put(trainingjob())
    client.delete("digits")
    assert not api.jobs
    (asked,) = [each for each in api.asked if each.method == "DELETE"]
    assert asked.body["preconditions"] == {"uid": "uid-of-digits"}, "not another one of that name"


def test_it_works_where_an_event_loop_is_running(client: Client, api: ClusterApi) -> None:
    api.put(trainingjob(**succeeded("f00d")))

    async def main() -> str | None:
        return client.wait(client.get("digits").name).sha256

    assert asyncio.run(main()) == "f00d"
