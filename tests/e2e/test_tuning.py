"""TuningJobs on a real cluster: searched, shown, stopped by limits and by people, raised, and cleaned up."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from helpers.cluster_jobs import OPERATOR
from helpers.kube import (
    SYSTEM,
    condition_of,
    kubectl,
    namespace_of_its_own,
    owned_store,
    read,
    run_kubectl,
    sample,
    wait_until,
)
from helpers.tuning_cluster import RATE, Search, brief, least_budget, values_of

pytestmark = pytest.mark.e2e

IN_ORDER: dict[str, Any] = brief(
    order="InOrder", maxTrials=8, template__spec__algorithm={"epochs": 6, "seed": 0}
)
"""A search most of whose work comes after the end of its first trial."""


@pytest.fixture(scope="module")
def undisturbed() -> Iterator[dict[int, tuple[float, float]]]:
    """Parameters and objectives of the trials of the brief search, in the order that faults cannot change."""
    with namespace_of_its_own() as namespace:
        search = Search.apply(namespace, IN_ORDER)
        search.until_succeeded()
        yield values_of(search)


def test_a_search_finds_its_best_trial_and_kubectl_shows_it(namespace: str) -> None:
    search = Search.apply(namespace, brief())
    search.until(lambda seen: seen.get("progress", {}).get("running", 0) > 0, "a running trial")
    seen = search.until_succeeded()

    result = seen["result"]
    assert result["endedBy"] == "Completed"
    assert result["objective"] > 0.8
    assert RATE["path"] in result["parameters"]
    assert result["uri"].endswith("/result/model.safetensors")
    assert seen["progress"]["trials"] == "4/4"
    assert len(json.dumps(seen).encode()) < 64 * 1024

    lines = kubectl("get", "tune", "-n", namespace).splitlines()
    assert lines[0].split() == [
        "NAME",
        "SUCCEEDED",
        "REASON",
        "TRIALS",
        "RUNNING",
        "PRUNED",
        "BEST",
        "COST",
        "AGE",
    ]
    assert lines[1].split()[:4] == [search.name, "True", "Completed", "4/4"]
    label = f"sapflow.dev/tuning={search.name}"
    lines = kubectl("get", "trials", "-n", namespace, "-l", label).splitlines()
    assert lines[0].split() == ["NAME", "STATE", "STEP", "OBJECTIVE", "PARAMETERS", "DOLLARS", "AGE"]
    assert len(lines) == 5
    assert all("learningRate=" in line for line in lines[1:])
    best = max(search.trials(), key=lambda each: each["status"]["objective"])
    assert best["spec"]["number"] == result["trial"]
    wait_until(lambda: not search.pods("worker"), "an ended search without functions", 60)
    wait_until(
        lambda: not any(each["metadata"].get("finalizers") for each in search.trials()),
        "trials of an ended search without finalizers",
        60,
    )
    with owned_store() as store:
        uid = search.read()["metadata"]["uid"]
        assert store.exists(f"jobs/{uid}/result/model.safetensors")


def test_the_sample_prunes_and_never_has_more_pods_than_max_workers(namespace: str) -> None:
    document = sample("tune", maxTrials=8, maxWorkers=4, template__spec__algorithm={"epochs": 4, "seed": 0})
    search = Search.apply(namespace, document)
    most = 0
    while search.state[0] not in ("True", "False"):
        pods = search.pods("worker") + search.pods("merger")
        most = max(most, sum("deletionTimestamp" not in each["metadata"] for each in pods))
    seen = search.until_succeeded()
    assert most <= 4
    assert seen["progress"]["done"] == 8


def test_a_suspended_search_has_no_pods_and_goes_on_with_the_same_trials(
    namespace: str, undisturbed: dict[int, tuple[float, float]]
) -> None:
    search = Search.apply(namespace, IN_ORDER)
    search.until(lambda seen: seen.get("progress", {}).get("done", 0) >= 1, "an ended trial")
    search.patch({"suspend": True})
    search.until_reason("Suspended")
    wait_until(lambda: not search.pods(), "a suspended search without pods", 90)
    done = search.progress["done"]

    search.patch({"suspend": False})
    seen = search.until_succeeded()
    assert done < 8
    assert seen["progress"]["done"] == 8
    assert values_of(search) == undisturbed


def test_a_killed_driver_and_operator_change_nothing(
    namespace: str, undisturbed: dict[int, tuple[float, float]]
) -> None:
    search = Search.apply(namespace, IN_ORDER)
    search.until(lambda seen: seen.get("progress", {}).get("done", 0) >= 1, "an ended trial")
    search.kill("driver")
    kubectl("rollout", "restart", "-n", SYSTEM, OPERATOR)
    kubectl("rollout", "status", "-n", SYSTEM, OPERATOR, "--timeout=120s")
    search.until_succeeded()
    assert values_of(search) == undisturbed


def test_a_search_keeps_its_budget_and_goes_on_when_it_is_raised(namespace: str) -> None:
    # The worst price of a call that waits must be left: with these seconds it is that of the cut, so half is used.
    fields: dict[str, Any] = {"template__spec__limits": {"invocationSeconds": 300}, "maxTrials": 8}
    whole = Search.apply(namespace, brief(**fields), "whole")
    cost = whole.until_succeeded()["progress"]["costUSD"]

    budget = least_budget(brief(**fields)) + cost / 2
    search = Search.apply(namespace, brief(**fields, budgetUSD=budget), "half")
    seen = search.until_finished()
    assert condition_of(seen, "Succeeded")["reason"] == "BudgetExceeded"
    assert 0 < seen["progress"]["costUSD"] <= budget
    assert 0 < seen["progress"]["finished"] < 8
    before = values_of(search)

    search.patch({"budgetUSD": budget + 5 * cost})
    wait_until(lambda: search.state[0] == "Unknown", "a search that goes on", 60)
    seen = search.until_succeeded()
    assert seen["progress"]["finished"] == 8
    assert before.items() <= values_of(search).items()


def test_a_search_ends_at_its_deadline_with_what_it_has_found(namespace: str) -> None:
    search = Search.apply(namespace, brief(maxTrials=500, deadlineSeconds=90))
    seen = search.until_finished()
    assert condition_of(seen, "Succeeded")["reason"] == "DeadlineExceeded"
    assert condition_of(seen, "Succeeded")["status"] == "True"
    assert seen["result"]["objective"] > 0


def test_more_trials_after_the_end_let_it_go_on_and_other_fields_cannot_be_changed(namespace: str) -> None:
    search = Search.apply(namespace, brief(maxTrials=2))
    first = search.until_succeeded()
    assert first["progress"]["trials"] == "2/2"
    before = values_of(search)

    refused = run_kubectl(
        "patch", "tune", "-n", namespace, search.name, "--type=merge", "-p", '{"spec":{"order":"InOrder"}}'
    )
    assert refused.returncode != 0
    assert "cannot be changed" in refused.stderr

    search.patch({"maxTrials": 3})
    wait_until(lambda: search.state[0] == "Unknown", "a search that goes on", 60)
    seen = search.until_succeeded()
    assert seen["progress"]["trials"] == "3/3"
    assert before.items() <= values_of(search).items()
    assert seen["result"]["objective"] >= first["result"]["objective"]


def test_a_failing_trial_fails_alone(namespace: str) -> None:
    parameters = [{"path": RATE["path"], "categorical": {"choices": [0.1, 1e30]}}]
    search = Search.apply(
        namespace, brief(parameters=parameters, search={"name": "Grid"}, maxTrials=None, parallelTrials=1)
    )
    seen = search.until_succeeded()
    assert (seen["progress"]["finished"], seen["progress"]["failed"]) == (1, 1)
    assert seen["progress"]["failures"][0]["reason"] == "NotFinite"
    assert any(each["reason"] == "TrialFailed" for each in search.events())
    states = sorted(each["status"]["state"] for each in search.trials())
    assert states == ["Failed", "Finished"]


def test_a_deleted_trial_is_stopped_and_the_others_go_on(namespace: str) -> None:
    long = brief(template__spec__algorithm={"epochs": 60, "seed": 0}, parallelTrials=1, maxTrials=2)
    search = Search.apply(namespace, long)
    wait_until(lambda: search.trial(0).get("status", {}).get("state") == "Running", "trial 0 at work")
    kubectl("delete", "trial", "-n", namespace, f"{search.name}-0", "--timeout=60s")
    wait_until(lambda: search.trial(1), "the next trial")
    assert not search.trial(0)
    kubectl("delete", "trial", "-n", namespace, f"{search.name}-1", "--timeout=60s")
    seen = search.until_finished()
    assert seen["progress"]["done"] == 2


def test_a_trial_deleted_while_its_search_is_suspended_is_stopped_when_it_goes_on(namespace: str) -> None:
    long = brief(template__spec__algorithm={"epochs": 60, "seed": 0}, parallelTrials=1, maxTrials=2)
    search = Search.apply(namespace, long)
    wait_until(lambda: search.trial(0).get("status", {}).get("state") == "Running", "trial 0 at work")
    search.patch({"suspend": True})
    search.until_reason("Suspended")
    wait_until(lambda: not search.pods(), "a suspended search without pods", 90)
    kubectl("delete", "trial", "-n", namespace, f"{search.name}-0", "--wait=false")
    assert "deletionTimestamp" in search.trial(0)["metadata"]

    search.patch({"suspend": False})
    wait_until(lambda: not search.trial(0), "the object of the deleted trial gone", 120)
    wait_until(lambda: search.trial(1).get("status", {}).get("state") == "Running", "the next trial")


def test_a_search_that_is_deleted_while_it_runs_leaves_nothing(namespace: str) -> None:
    search = Search.apply(namespace, brief(maxTrials=50))
    wait_until(lambda: search.trials(), "a trial")
    uid = search.read()["metadata"]["uid"]
    search.delete()
    wait_until(lambda: not search.children(), "a namespace without its children", 90)
    wait_until(lambda: not search.trials(), "a namespace without its trials", 60)
    with owned_store() as store:
        assert not [each.key for each in store.list(f"jobs/{uid}/trials/")]


def test_a_search_deleted_while_the_operator_is_down_goes_with_its_trials_when_it_is_back(
    namespace: str,
) -> None:
    search = Search.apply(namespace, brief(maxTrials=50))
    wait_until(lambda: search.trials(), "a trial")
    kubectl("scale", "-n", SYSTEM, OPERATOR, "--replicas=0")
    try:
        kubectl("delete", "tune", "-n", namespace, search.name, "--wait=false")
        search.kill("driver")
    finally:
        kubectl("scale", "-n", SYSTEM, OPERATOR, "--replicas=1")
    wait_until(lambda: search.gone, "the end of the deleted search", 180)
    wait_until(lambda: not search.trials(), "a namespace without its trials", 60)


def test_a_namespace_with_a_search_at_work_goes() -> None:
    with namespace_of_its_own() as namespace:
        search = Search.apply(namespace, brief(maxTrials=50))
        wait_until(lambda: search.trials(), "a trial")
        kubectl("delete", "namespace", namespace, "--wait=false")
    wait_until(
        lambda: run_kubectl("get", "namespace", namespace).returncode != 0, "the end of the namespace", 240
    )


def test_a_driver_writes_no_trial_that_is_not_its_searchs(namespace: str) -> None:
    search = Search.apply(namespace, brief(maxTrials=50))
    wait_until(lambda: search.trials(), "a trial")
    account = f"system:serviceaccount:{namespace}:{search.name}-tune-driver"
    stranger: dict[str, Any] = {
        "apiVersion": "sapflow.dev/v1alpha1",
        "kind": "Trial",
        "metadata": {"name": "other-0", "labels": {"sapflow.dev/tuning": "other"}},
        "spec": {"number": 0, "parameters": {}},
    }
    owned: tuple[dict[str, Any], ...] = (
        {},
        {
            "ownerReferences": [
                {"apiVersion": "sapflow.dev/v1alpha1", "kind": "TuningJob", "name": "other", "uid": "u"}
            ]
        },
    )
    for metadata in owned:
        document = {**stranger, "metadata": {**stranger["metadata"], **metadata}}
        refused = run_kubectl(
            "create", "-n", namespace, "-f", "-", f"--as={account}", text=json.dumps(document)
        )
        assert refused.returncode != 0
        assert "a driver may write the trials that its own search owns" in refused.stderr
    may = run_kubectl("auth", "can-i", "patch", f"tune/{search.name}", "-n", namespace, f"--as={account}")
    assert may.stdout.strip() == "no"
    assert read("tune", "-n", namespace, search.name)["metadata"]["name"] == search.name
