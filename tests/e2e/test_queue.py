"""Fifty jobs at once."""

import json
from datetime import datetime, timedelta
from itertools import combinations
from typing import Any

import pytest
from helpers.kube import ONE_CPU, condition_of, kubectl, read, sample, step_of, wait_until

JOBS = 50
AT_ONCE = 10
"""The chart's maxRunningJobs."""


@pytest.mark.timeout(1500)
def test_fifty_jobs_at_once_run_ten_at_a_time_in_order_of_creation_and_all_succeed(namespace: str) -> None:
    job = sample(
        "digits",
        workers=1,
        merge__structure=[1, 1],
        algorithm={"steps": 3},
        evaluation=None,
        data={"source": "synthetic:binary", "options": {"samples": 500}, "batchSize": 32},
        model={"name": "mlp", "args": {"hidden": [16]}},
        cpu=ONE_CPU,
        memory={"worker": "384Mi", "merger": "128Mi"},
    )
    jobs = [{**job, "metadata": {"name": f"job-{number:02d}"}} for number in range(JOBS)]
    kubectl("apply", "-n", namespace, "-f", "-", text=_list(jobs))
    most = 0
    seen_queued: set[str] = set()

    def all_finished() -> bool:
        nonlocal most
        found = {
            each["metadata"]["name"]: each.get("status", {}) for each in read("tj", "-n", namespace)["items"]
        }
        succeeded = {name: condition_of(status, "Succeeded") for name, status in found.items()}
        failed = {name: each for name, each in succeeded.items() if each.get("status") == "False"}
        assert not failed, failed
        seen_queued.update(name for name, each in succeeded.items() if each.get("reason") == "Queued")
        most = max(most, sum(each.get("reason") in ("Starting", "Running") for each in succeeded.values()))
        return all(each.get("status") == "True" for each in succeeded.values())

    wait_until(all_finished, "the end of all jobs", 1400, pause=4)

    assert most <= AT_ONCE
    assert len(seen_queued) >= JOBS - AT_ONCE
    finished = sorted(read("tj", "-n", namespace)["items"], key=lambda each: str(each["metadata"]["name"]))
    started = [datetime.fromisoformat(each["status"]["startTime"]) for each in finished]
    # Two whose turn comes at once are begun side by side: one may be a moment ahead.
    assert all(later - earlier > -timedelta(seconds=10) for earlier, later in combinations(started, 2))
    assert started[-1] - started[0] > timedelta(seconds=10)
    assert all(step_of(each["status"]) == 3 for each in finished)
    assert len({each["status"]["result"]["sha256"] for each in finished}) == 1


def _list(items: list[dict[str, Any]]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
