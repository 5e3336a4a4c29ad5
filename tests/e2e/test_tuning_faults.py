"""A search loses its driver, the operator, functions and the store, each several times: nothing of it changes."""

import random
import time
from typing import Any

import pytest
from helpers.kube import owned_store
from helpers.pod_watch import watched_pods
from helpers.recorded_search import recorded
from helpers.tuning_cluster import Search, brief, strike

pytestmark = pytest.mark.e2e

SEED = 15
STRIKES = {"driver": 3, "operator": 2, "worker": 4, "merger": 3, "minio": 2}
"""How often each part is killed."""
PAUSES = (0.5, 8.0)
"""Seconds between two strikes, at random."""
MOST = 4
BUDGET = 0.12
DOCUMENT: dict[str, Any] = brief(
    order="InOrder",
    search={"name": "TPE", "seed": 0},
    prune={"name": "ASHA", "first": 1, "factor": 2},
    maxTrials=14,
    parallelTrials=2,
    maxWorkers=MOST,
    budgetUSD=BUDGET,
    template__spec__workers=2,
    template__spec__algorithm={"epochs": 16, "seed": 0},
    template__spec__limits={"invocationSeconds": 20, "retries": 6},
)
"""TPE guesses by results from its eleventh trial on."""


def test_a_search_that_loses_every_part_again_and_again_decides_and_trains_the_same(
    namespace: str, another_namespace: str
) -> None:
    calm = Search.apply(another_namespace, DOCUMENT)
    calm_result = calm.until_succeeded(900)["result"]

    chance = random.Random(SEED)
    parts = [part for part, count in STRIKES.items() for _ in range(count)]
    chance.shuffle(parts)
    in_flight: list[int] = []
    search = Search.apply(namespace, DOCUMENT)
    with watched_pods(namespace, search.name) as pods:
        search.until(lambda seen: seen.get("progress", {}).get("running", 0) > 0, "a running trial")
        for part in parts:
            time.sleep(chance.uniform(*PAUSES))
            seen = search.status
            in_flight.append(seen.get("progress", {}).get("callsInFlight", 0))
            assert search.state[0] == "Unknown", f"the search was over before its {part} was killed: {seen}"
            strike(search, part, chance)
        seen = search.until_succeeded(1200)

    for name in ("trial", "version", "objective", "parameters", "sha256", "endedBy"):
        assert seen["result"][name] == calm_result[name], name
    with owned_store() as store:
        before, after = (recorded(store, each.read()["metadata"]["uid"], DOCUMENT) for each in (calm, search))
    assert after.decisions == before.decisions
    assert after.trials == before.trials
    assert after.weights == before.weights
    assert after.answers == before.answers
    assert set(after.answers.values()) == {1}
    assert len(after.trials) == DOCUMENT["spec"]["maxTrials"]

    assert pods.most <= MOST
    assert max(in_flight) <= MOST
    assert len(pods.seen) > MOST, "functions were killed and made anew"
    assert max(after.granted) <= BUDGET
    assert after.dollars <= after.granted[-1] + 1e-9
    assert seen["progress"]["costUSD"] <= BUDGET
