"""Real processes and real signals: whatever is killed or stopped, the weights are those of an undisturbed run."""

import asyncio
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import commands
from helpers.jobs import Place, Simulation, make_place, tiny_job

from sapflow.driver.driver import Driver
from sapflow.errors import InvocationError, JobFailed, OutOfMemory
from sapflow.quantities.memory import parse_quantity
from sapflow.quantities.roles import Role
from sapflow.runtimes.embedded.runtime import EmbeddedRuntime
from sapflow.runtimes.sender import Answered
from sapflow.steps.observer import Observer

pytestmark = pytest.mark.slow

STEPS = 6


def job_of(**changes: Any) -> dict[str, Any]:
    return {"workers": 3, "merge_structure": [1, 2, 3], "algorithm_steps": STEPS, **changes}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The outcome where nothing is killed, of a simulation: processes come to the same bits."""
    return Simulation(make_place(tmp_path_factory.mktemp("undisturbed"), tiny_job(**job_of()))).run()


class Watcher(Observer):
    """Does something at each answer, and keeps what was heard."""

    def __init__(self, at_answer: Callable[[int, str, EmbeddedRuntime], None]) -> None:
        self.runtime: EmbeddedRuntime | None = None
        self.failures: list[InvocationError] = []
        self.hedges: list[str] = []
        self._at_answer = at_answer
        self._answers = 0

    def answered(self, role: Role, op: str, answer: Answered[Any]) -> None:
        self._answers += 1
        assert self.runtime is not None
        self._at_answer(self._answers, op, self.runtime)

    def invocation_failed(self, role: Role, op: str, error: InvocationError) -> None:
        self.failures.append(error)

    def hedged(self, role: Role, op: str, version: int) -> None:
        self.hedges.append(op)


def train(place: Place, watcher: Watcher, *, max_instances: int = 3, memory: str = "1Gi") -> dict[str, Any]:
    """Train on processes; none of them is left afterwards."""

    async def body() -> dict[str, Any]:
        limit = parse_quantity(memory)
        runtime = EmbeddedRuntime(
            place.path.as_uri(), memory={"worker": limit, "merger": limit}, max_instances=max_instances
        )
        watcher.runtime = runtime
        try:
            driver = Driver(place.resolved, place.manifest, place.store, runtime, watcher)
            return await driver.run()
        finally:
            await runtime.close()

    try:
        return asyncio.run(body())
    finally:
        assert commands.functions_of(place.path) == []


def test_workers_and_mergers_that_are_killed_at_random_change_nothing(
    tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    chance = random.Random(5)
    killed: dict[str, int] = {"worker": 0, "merger": 0}

    def kill(answers: int, op: str, runtime: EmbeddedRuntime) -> None:
        role = "worker" if answers % 2 else "merger"
        alive = [one for one in runtime.instances() if one.role == role and one.state in ("busy", "warm")]
        if answers % 3 == 0 and alive and killed[role] < 3:
            killed[role] += 1
            os.kill(chance.choice(alive).pid, signal.SIGKILL)

    watcher = Watcher(kill)
    outcome = train(make_place(tmp_path, tiny_job(**job_of())), watcher)
    assert outcome["sha256"] == undisturbed["sha256"]
    assert min(killed.values()) > 0


def test_a_stopped_worker_is_hedged_by_a_second_invocation(
    tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    stopped: list[int] = []

    def stop(answers: int, op: str, runtime: EmbeddedRuntime) -> None:
        busy = [one.pid for one in runtime.instances() if one.role == "worker" and one.state == "busy"]
        if op == "train" and answers > 8 and busy and not stopped:
            stopped.append(busy[0])
            os.kill(busy[0], signal.SIGSTOP)

    watcher = Watcher(stop)
    outcome = train(make_place(tmp_path, tiny_job(**job_of())), watcher)
    assert outcome["sha256"] == undisturbed["sha256"]
    assert stopped
    assert watcher.hedges == ["train"]
    assert outcome["account"]["hedges"] == 1


def test_a_killed_driver_is_followed_by_one_that_repeats_the_step_in_flight_at_most(
    tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    store = tmp_path / "store"
    file = commands.write_job(tmp_path / "job.yaml", **job_of())
    with commands.started("run", file, "--store", store, "--quiet") as process:
        commands.wait_for_commit(store, 2, process)
        process.kill()
    commands.wait_until_no_function_of(store)
    last = commands.newest_commit(store)
    before = {path: path.stat().st_ino for path in store.glob("jobs/*/commits/*.json")}
    done = commands.run("run", file, "--store", store, "--quiet", "--json")
    assert done.code == 0, done.err
    assert done.json["sha256"] == undisturbed["sha256"]
    assert {path: path.stat().st_ino for path in before} == before
    place = make_place(store, tiny_job(**job_of()))
    spent = [commit.account.invocations for commit in place.commits()]
    workers_tree_and_root, evaluations = 3 + 2 + 1, 3
    for version in range(last + 1, STEPS + 1):
        assert 0 < spent[version] - spent[version - 1] <= workers_tree_and_root + evaluations
    left = [name for name in place.listing() if name.startswith(("work", "params", "optimizer"))]
    assert [name.partition("-")[0] for name in left] == [f"optimizer/{STEPS}", f"params/{STEPS}"]
    assert commands.functions_of(store) == []


def test_a_worker_over_its_memory_limit_fails_the_job_with_the_remedy(tmp_path: Path) -> None:
    place = make_place(tmp_path, tiny_job(**job_of(model_args={"hidden": [4096, 4096]})))
    watcher = Watcher(lambda answers, op, runtime: None)
    with pytest.raises(JobFailed) as caught:
        train(place, watcher, memory="330Mi")
    assert caught.value.reason == OutOfMemory.reason
    assert "raise spec.memory.worker, or lower spec.data.microBatchSize" in str(caught.value)
    assert isinstance(watcher.failures[0], OutOfMemory)
    assert len(watcher.failures) == 1
