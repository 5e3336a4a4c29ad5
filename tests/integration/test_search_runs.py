"""`sapflow run` of a search with real processes: killed in the middle and run again, it finds the same."""

import asyncio
import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from helpers import commands
from helpers.jobs import make_search_place, tiny_job
from helpers.search_runs import TEMPLATE, Searching, iris_search

from sapflow.client.tuning import uid_of
from sapflow.objects import keys
from sapflow.objects.stores.factory import open_store
from sapflow.tuning.run import state_of

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("forked_functions")]

SEARCH: dict[str, Any] = {"order": "InOrder", "maxTrials": 4, "parallelTrials": 2}


def trials_with(store: Path, name: str) -> int:
    """Trials of the only search in a directory that have an object of this name."""
    return len(list(store.glob(f"jobs/*/trials/*/{name}")))


def test_a_search_that_is_killed_in_the_middle_goes_on_and_finds_the_same(tmp_path: Path) -> None:
    job = iris_search(**SEARCH)
    search, expected = Searching(make_search_place(tmp_path / "calm", tiny_job(**TEMPLATE)), job).run()
    file, store = tmp_path / "tune.yaml", tmp_path / "store"
    file.write_text(json.dumps(job.to_json()))
    arguments = ("run", file, "--store", store, "--json")
    with commands.started(*arguments) as process:
        deadline = time.monotonic() + commands.SECONDS
        while trials_with(store, "evaluations/1.json") < 2:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.002)
        commands.send(process, signal.SIGKILL)
    commands.wait_until_no_function_of(store)
    done = commands.here(*arguments)
    assert done.code == 0, done.err
    found = done.json
    assert found["state"] == "Succeeded"
    assert (found["trial"], found["sha256"]) == (expected["trial"], expected["sha256"])
    events = [json.loads(line) for line in done.err.splitlines() if line.startswith("{")]
    assert "resumed" in {each["event"] for each in events}
    state = asyncio.run(state_of(open_store(str(store)), keys.job(uid_of(job)), job))
    assert [(each.number, each.phase, each.at, each.values) for each in state.trials] == [
        (each.number, each.phase, each.at, each.values) for each in search.trials
    ]

    # It is not run again, and what it has found can be asked for and used.
    again = commands.here(*arguments)
    assert again.json == found
    status = commands.here("status", file, "--store", store)
    assert "Succeeded" in status.out
    assert f"best trial  {found['trial']}, loss" in status.out
    listed = commands.here("status", "--store", store, "--json").json["jobs"]
    assert [each["state"] for each in listed] == ["Succeeded"]
    predicted = commands.here("predict", found["path"], "--json")
    assert predicted.code == 0, predicted.err
    assert len(predicted.json["predictions"]) > 1
    page = commands.here("report", uid_of(job), "--store", store, "-o", tmp_path / "report.html")
    assert page.out.startswith(f"{uid_of(job)}: Succeeded, 4 trials")


def test_ctrl_c_ends_a_search_and_says_how_to_go_on(tmp_path: Path) -> None:
    job = iris_search(**SEARCH)
    file, store = tmp_path / "tune.yaml", tmp_path / "store"
    file.write_text(json.dumps(job.to_json()))
    with commands.started("run", file, "--store", store, "--plain") as process:
        deadline = time.monotonic() + commands.SECONDS
        while not trials_with(store, "commits/0.json"):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.002)
        commands.send(process, signal.SIGINT)
        done = commands.finish(process)
    assert done.code == 130
    assert "run the same command again" in done.err
    assert "trial 0 began" in done.out
    commands.wait_until_no_function_of(store)
    status = commands.here("status", file, "--store", store)
    assert "Unfinished" in status.out
