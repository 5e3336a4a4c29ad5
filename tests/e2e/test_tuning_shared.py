"""What the trials of a search on a real cluster have together: data, memory, a budget, and faults of all parts."""

import random
import time
from typing import Any

import pytest
from helpers.kube import Job, condition_of, own_models_image, owned_store, wait_until
from helpers.pod_watch import watched_pods
from helpers.recorded_search import recorded
from helpers.tuning_cluster import RATE, Search, brief, least_budget, strike

from sapflow.objects import keys
from sapflow.objects.stores.protocol import Store
from sapflow.quantities.memory import parse_quantity
from sapflow.tuning.usage import Usage

pytestmark = pytest.mark.e2e

SEED = 16
STRIKES = ("worker", "driver", "merger", "operator", "worker", "driver")
"""The parts that are killed, in an order of chance."""
SHORT = {"steps": 30, "seed": 0}


def uid_of(job: Job) -> str:
    return str(job.read()["metadata"]["uid"])


def blocks(store: Store, digest: str) -> dict[str, tuple[str, float]]:
    """Tags and dates of the objects of a shared area's data, by key."""
    found = store.list(keys.data(keys.area(digest)))
    return {each.key: (each.tag, each.modified) for each in found}


def users(store: Store, digest: str) -> set[str]:
    prefix = keys.area_users(digest)
    return {each.key.removeprefix(prefix) for each in store.list(prefix)}


def test_a_second_search_of_the_same_data_cuts_nothing_and_the_area_goes_with_the_last(
    namespace: str,
) -> None:
    first = Search.apply(namespace, brief(maxTrials=1, template__spec__algorithm=SHORT), "first")
    digest = first.until_succeeded()["sharedData"]["digest"]
    with owned_store() as store:
        cut = blocks(store, digest)
        assert cut
        other = brief(maxTrials=1, template__spec__algorithm=SHORT, search={"name": "Random", "seed": 1})
        second = Search.apply(namespace, other, "second")
        assert second.until_succeeded()["sharedData"]["digest"] == digest
        uids = {uid_of(first), uid_of(second)}
        assert blocks(store, digest) == cut
        assert users(store, digest) == uids
        for uid in uids:
            assert not list(store.list(keys.data(keys.job(uid))))

        first.delete()
        wait_until(lambda: users(store, digest) == {uid_of(second)}, "an area with one user", 60)
        assert blocks(store, digest) == cut
        second.delete()
        wait_until(lambda: not list(store.list(keys.area(digest))), "the end of the area", 60)


def test_the_workers_of_all_trials_are_given_sizes_until_the_best_is_known(namespace: str) -> None:
    memory = {
        "worker": "768Mi",
        "merger": "128Mi",
        "optimize": {"goal": "Cost", "everySteps": 5, "maxUpdates": 1, "min": "512Mi", "max": "1Gi"},
    }
    document = brief(
        template__spec__memory=memory,
        template__spec__cpu=None,
        template__spec__algorithm={"steps": 3000, "seed": 0},
        parallelTrials=1,
        maxTrials=2,
    )
    search = Search.apply(namespace, document)

    def tried(seen: dict[str, Any]) -> set[str]:
        found = seen.get("progress", {}).get("memory", {}).get("trials", [])
        return {each["worker"] for each in found}

    seen = search.until(lambda seen: len(tried(seen)) >= 2, "two sizes that were tried")
    assert "768Mi" in tried(seen)
    assert parse_quantity("512Mi") <= parse_quantity(seen["memory"]["worker"]) <= parse_quantity("1Gi")
    assert any(each["reason"] == "MemoryChanged" for each in search.events())
    with owned_store() as store:
        state = recorded(store, uid_of(search), document, ended=False)
    assert len({each.size for each in state.sizes}) >= 2
    search.delete()


def test_a_trial_killed_for_memory_makes_the_pool_grow_once_and_goes_on(namespace: str) -> None:
    # Python, torch and 420 MiB are more than 512, and less than the size after that.
    model = {"entrypoint": "hungry:hungry", "args": {"mebibytes": 16}, "image": own_models_image()}
    document = brief(
        template__spec__model=model,
        template__spec__memory={"worker": "512Mi", "merger": "128Mi", "growOnOOM": True},
        template__spec__algorithm={"steps": 5, "seed": 0},
        parameters=[{"path": "spec.model.args.mebibytes", "categorical": {"choices": [16, 420]}}],
        search={"name": "Grid"},
        parallelTrials=1,
        maxTrials=None,
    )
    search = Search.apply(namespace, document)
    seen = search.until_succeeded()
    assert (seen["progress"]["finished"], seen["progress"]["failed"]) == (2, 0)
    assert seen["memory"]["worker"] == "768Mi"
    grown = [each for each in search.events() if each["reason"] == "MemoryGrown"]
    assert [each["type"] for each in grown] == ["Warning"]
    assert "once in a search" in grown[0]["message"]


def test_a_budget_that_binds_makes_calls_wait_and_the_search_completes(namespace: str) -> None:
    document = brief(
        template__spec__limits={"invocationSeconds": 300}, template__spec__algorithm=SHORT, maxTrials=3
    )
    # So little more is less than a second worker's call may cost, and more than all of them do.
    document["spec"]["budgetUSD"] = budget = 1.15 * least_budget(document)
    search = Search.apply(namespace, document)
    seen = search.until_succeeded()
    assert condition_of(seen, "Succeeded")["reason"] == "Completed"
    assert seen["progress"]["finished"] == 3
    assert seen["progress"]["costUSD"] <= budget
    with owned_store() as store:
        found = recorded(store, uid_of(search), document)
    assert max(each.peak for each in found.usage) < document["spec"]["maxWorkers"]
    assert max(found.granted) <= budget


def test_an_asynchronous_search_that_loses_its_parts_has_the_same_values_for_the_same_parameters(
    namespace: str, another_namespace: str
) -> None:
    document = brief(
        order="Asynchronous",
        maxTrials=6,
        template__spec__algorithm={"steps": 600, "seed": 0},
        template__spec__limits={"invocationSeconds": 20, "retries": 6},
    )
    calm = Search.apply(another_namespace, document)
    calm.until_succeeded()

    chance = random.Random(SEED)
    parts = chance.sample(STRIKES, len(STRIKES))
    search = Search.apply(namespace, document)
    with watched_pods(namespace, search.name) as pods:
        search.until(lambda seen: seen.get("progress", {}).get("running", 0) > 0, "a running trial")
        for part in parts:
            time.sleep(chance.uniform(0.5, 3.0))
            if search.state[0] != "Unknown":
                break
            strike(search, part, chance)
        search.until_succeeded()

    with owned_store() as store:
        before, after = (recorded(store, uid_of(each), document) for each in (calm, search))
    # Random suggests by the number alone, so trials of one number have the same parameters in both.
    assert {trial[0] for trial in after.trials} == set(range(6))
    assert after.trials == before.trials
    assert after.weights == before.weights
    assert set(after.answers.values()) == {1}
    assert all(RATE["path"] in trial[1] for trial in after.trials)
    assert pods.most <= document["spec"]["maxWorkers"]
    usage: list[Usage] = after.usage
    assert max(each.peak for each in usage) <= document["spec"]["maxWorkers"]
