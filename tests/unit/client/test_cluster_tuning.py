"""Searches in a cluster from Python: submitted, followed, asked, changed and deleted."""

from collections import deque
from typing import Any

import pytest
from helpers.cluster_api import (
    HOLD,
    ClusterApi,
    condition,
    pod,
    refusal,
    searched,
    searching,
    trial,
    tried,
    tuningjob,
)

import sapflow
from sapflow import Client, ClusterSearch, JobFailed, SpecError, TrainingJob
from sapflow.client.cluster_errors import JobUnknown

RATE = "spec.optimizer.learningRate"
SPACE: dict[str, Any] = {
    "optimizer.learningRate": {"min": 0.01, "max": 1.0, "log": True},
    "workers": [1, 2, 4],
}


def job(**changes: Any) -> TrainingJob:
    given: dict[str, Any] = {"model": "mlp", "data": "sklearn:iris", "workers": 2, "algorithm": {"epochs": 5}}
    return TrainingJob("tiny", **(given | changes))


def search(client: Client, api: ClusterApi, **status: Any) -> ClusterSearch:
    api.put(tuningjob(**status))
    return client.search("digits-search")


def watched(api: ClusterApi, *statuses: Any) -> None:
    found = [{"type": "MODIFIED", "object": tuningjob(**status)} for status in statuses]
    api.watches["tuningjobs"] = deque([found])


def test_a_search_is_submitted_with_its_job_as_template(client: Client, api: ClusterApi) -> None:
    found = client.tune(job(), SPACE, metric="accuracy", trials=12, prune={"name": "ASHA", "first": 1})
    assert (found.name, found.namespace) == ("tiny", "team")
    (asked,) = [each for each in api.asked if each.method == "PATCH"]
    assert asked.path.endswith("/tuningjobs/tiny")
    spec = asked.body["spec"]
    assert spec["template"]["spec"]["data"]["source"] == "sklearn:iris"
    assert [each["path"] for each in spec["parameters"]] == [RATE, "spec.workers"]
    assert spec["objective"] == {"metric": "accuracy", "direction": "Maximize"}
    # Enough for four trials of the job at once.
    assert (spec["maxTrials"], spec["maxWorkers"]) == (12, 8)
    assert client.tune(job(), SPACE, parallel_trials=3, dry_run=True).name == "tiny"
    assert api.asked[-1].body["spec"]["maxWorkers"] == 6


def test_what_no_cluster_can_search_is_not_sent(client: Client, api: ClusterApi) -> None:
    with pytest.raises(SpecError, match=r"spec\.parameters\[0\]\.path: spec\.optimizer\.rate is not a field"):
        client.tune(job(), {"optimizer.rate": [0.1, 0.2]})
    with pytest.raises(SpecError, match=r"spec\.template\.spec\.data\.source"):
        client.tune(job(data="./samples.csv"), SPACE)
    with pytest.raises(TypeError, match=r"takes a sapflow\.TrainingJob"):
        client.tune("job.yaml", SPACE)  # type: ignore[arg-type]
    assert not api.asked


def test_a_search_that_is_not_there_is_said_so(client: Client) -> None:
    with pytest.raises(JobUnknown, match="there is no search 'none' in namespace team"):
        client.search("none")


def test_a_search_is_told_with_counts_best_trials_and_pods(client: Client, api: ClusterApi) -> None:
    found = search(client, api, **searching(3))
    api.pods["team"] = [pod("driver-a")]
    state = found.state
    assert (state.state, state.ended) == ("Running", False)
    assert state.cost_usd == pytest.approx(0.0003)
    assert state.counts["done"] == 3
    assert [each.number for each in state.top] == [2, 1, 0]
    assert state.details["pods"] == {"driver": {"running": 1}}
    best = found.best
    assert best is not None
    assert (best.number, best.objective, best.state, best.step) == (2, 0.6, "Finished", 4)
    assert best.parameters == {RATE: 0.125, "spec.optimizer.name": "Adam"}
    assert search(client, api).best is None


def test_the_best_of_20_000_trials_is_told_without_a_store_whatever_the_cluster_shows(
    client: Client, api: ClusterApi
) -> None:
    best = tried(11_234, 0.97)
    counts = {"done": 20_000, "begun": 20_000, "finished": 20_000}
    found = search(client, api, **searching(3, **counts, best=best, top=[best]))
    for number in range(19_990, 20_000):
        api.put(trial(number, objective=0.5))
    assert found.best == found.state.best
    assert found.best is not None
    assert (found.best.number, found.best.objective, found.best.parameters[RATE]) == (11_234, 0.97, 0.125)


@pytest.mark.parametrize("timeout", [None, 60.0])
def test_waiting_ends_with_the_result(timeout: float | None, client: Client, api: ClusterApi) -> None:
    found = search(client, api, **searching(1))
    watched(api, searching(4), searched("GoalReached"))
    result = found.wait(timeout)
    assert isinstance(result, sapflow.SearchResult)
    assert (result.trial, result.version) == (7, 12)
    assert result.objective == pytest.approx(0.85)
    assert result.parameters[RATE] == 0.125
    assert result.model == "s3://sapflow/jobs/uid/result/model.safetensors"
    assert (result.sha256, result.ended_by) == ("5ca1ab1e", "GoalReached")
    watched(api, searched())
    assert found.result.trial == 7


def test_a_search_that_fails_is_an_error_and_a_wait_may_end_before(client: Client, api: ClusterApi) -> None:
    found = search(client, api, **searching(1))
    bad = {
        **searching(2),
        "conditions": [condition("Succeeded", "False", "TooManyFailed", "4 trials have failed")],
    }
    watched(api, bad)
    with pytest.raises(JobFailed, match="digits-search has failed: 4 trials have failed") as caught:
        found.wait()
    assert caught.value.reason == "TooManyFailed"
    api.watches["tuningjobs"] = deque([[HOLD]])
    with pytest.raises(TimeoutError, match="digits-search has not finished within 0 s; it goes on"):
        found.wait(timeout=0.0)


def test_following_gives_a_search_after_each_change(client: Client, api: ClusterApi) -> None:
    found = search(client, api, **searching(1))
    watched(api, searching(4), searched())
    assert [each.counts["done"] for each in found.follow()] == [1, 4, 8]


def test_trials_are_those_that_the_cluster_shows(client: Client, api: ClusterApi) -> None:
    found = search(client, api, **searching(3))
    api.put(trial(2, objective=0.5))
    api.put(trial(0, "Failed", reason="NotFinite"))
    api.put(trial(1, search="another"))
    trials = found.trials()
    assert [(each.number, each.state, each.objective) for each in trials] == [
        (0, "Failed", None),
        (2, "Finished", 0.5),
    ]
    assert trials[0].reason == "NotFinite"
    assert trials[1].parameters[RATE] == 0.125


def test_a_search_is_suspended_resumed_and_its_limits_are_raised(client: Client, api: ClusterApi) -> None:
    found = search(client, api, **searching(3))
    found.suspend()
    assert api.searches["team", "digits-search"]["spec"]["suspend"] is True
    found.resume()
    found.raise_limits(max_trials=64, budget_usd=1.5)
    spec = api.searches["team", "digits-search"]["spec"]
    assert (spec["suspend"], spec["maxTrials"], spec["budgetUSD"]) == (False, 64, 1.5)
    causes = [
        {"field": "spec.maxTrials", "message": "may be raised, also after the search's end, and not lowered"}
    ]
    api.refusals.append(("/digits-search", (200, api.searches["team", "digits-search"])))
    api.refusals.append(("/digits-search", refusal(422, "is invalid", name="digits-search", causes=causes)))
    with pytest.raises(SpecError, match=r"spec\.maxTrials: may be raised"):
        found.raise_limits(max_trials=1)
    with pytest.raises(SpecError, match="names no limit to be raised"):
        found.raise_limits()


def test_the_log_of_a_search_is_read(client: Client, api: ClusterApi) -> None:
    found = search(client, api, **searching(3))
    api.pods["team"] = [pod("driver-a")]
    api.logs["driver-a"] = deque([['{"event": "opened"}', '{"event": "trial finished"}']])
    assert list(found.logs(tail=2)) == ['{"event": "opened"}', '{"event": "trial finished"}']


def test_a_trial_is_stopped_and_a_search_is_deleted(client: Client, api: ClusterApi) -> None:
    found = search(client, api, **searching(3))
    api.put(trial(1))
    found.stop_trial(1)
    assert not api.trials
    with pytest.raises(JobUnknown, match="shows no trial 1"):
        found.stop_trial(1)
    found.delete()
    assert not api.searches
    with pytest.raises(JobUnknown):
        found.delete()


def test_searches_are_listed(client: Client, api: ClusterApi) -> None:
    api.put(tuningjob("one"))
    api.put(tuningjob("two", **searched()))
    api.put(tuningjob("three", namespace="elsewhere"))
    assert [(each.name, each.state) for each in client.searches()] == [
        ("one", "Pending"),
        ("two", "Succeeded"),
    ]
    assert {each.namespace for each in client.searches(all_namespaces=True)} == {"team", "elsewhere"}
