"""The search for the memory size of the workers that all trials share: what is compared, and where it ends."""

import asyncio
import random
from collections.abc import Mapping
from typing import Any

import pytest
from helpers import virtual_loop
from helpers.functions import Functions
from helpers.jobs import make_search_place, tiny_job
from helpers.search_runs import TEMPLATE, iris_search, runner_of

from sapflow.quantities.memory import MIB
from sapflow.quantities.prices import AWS_LAMBDA, cost
from sapflow.quantities.roles import Role
from sapflow.records.memory_search import SearchSettings
from sapflow.runtimes.sender import Reply
from sapflow.tuning.entries import Sized, body, read
from sapflow.tuning.pool_sizes import PATIENCE, PoolSizes, PoolSizeSearch, WorkerCall, group_of

BOUNDS: dict[str, Any] = {
    "goal": "Cost",
    "every_steps": 5,
    "max_updates": 6,
    "start": 1024,
    "least": 256,
    "most": 1792,
    "step": 16,
    "settle_seconds": 0,
}


def settings(**changes: Any) -> SearchSettings:
    return SearchSettings.model_validate({**BOUNDS, **changes})


def call(size: int, group: str = "a", work: float = 1.0, *, fixed: float = 0.05, peak: int = 0) -> WorkerCall:
    """A call of so much work on a worker of a size in MiB: its CPU follows its memory."""
    seconds = work * (fixed + 200 / size)
    return WorkerCall(group, seconds, cost(AWS_LAMBDA, size * MIB, seconds, None), size * MIB, peak)


def ended(search: PoolSizeSearch, groups: Mapping[str, float], luck: random.Random, most: int = 2000) -> int:
    """Calls until the search has ended, on workers that are what it asks for."""
    for number in range(most):
        if search.state.done:
            return number
        group = luck.choice([*groups])
        search.take(call(search.state.size, group, groups[group]), float(number))
    raise AssertionError("the search does not end")


def test_trials_of_different_work_find_the_size_that_one_alone_would_find() -> None:
    """Dear trials must not make the size dear at which they happened to be at work."""
    groups = {"narrow": 1.0, "wide": 7.0, "wider": 30.0}
    for seed in range(8):
        alone, mixed = PoolSizeSearch(settings(seed=seed), 2), PoolSizeSearch(settings(seed=seed), 2)
        ended(alone, {"narrow": 1.0}, random.Random(seed))
        ended(mixed, groups, random.Random(seed))
        sizes = [each.size for each in mixed.state.trials]
        assert sizes == [each.size for each in alone.state.trials]
        assert mixed.state.size == alone.state.size == 256, "with this model the least is the cheapest"
        values = [each.seconds for each in mixed.state.trials]
        wanted = [each.seconds for each in alone.state.trials]
        assert [each / values[0] for each in values] == pytest.approx([each / wanted[0] for each in wanted])


def test_a_size_is_valued_by_trials_whose_work_is_known_and_by_no_others() -> None:
    search = PoolSizeSearch(settings(), 1)
    for number in range(5):
        search.take(call(1024, "known"), float(number))
    (first,) = search.state.trials
    second = search.state.size
    assert second != 1024
    for number in range(12):
        assert not search.take(call(second, "new", work=50.0), float(number))
    for number in range(4):
        assert not search.take(call(second, "known"), float(number))
    assert search.take(call(second, "known"), 99.0)
    trial = search.state.trials[1]
    assert trial.seconds / first.seconds == pytest.approx(call(second).seconds / call(1024).seconds)
    assert search.state.factors["new"].seconds == pytest.approx(50 * call(second).seconds / trial.seconds)


def test_where_no_trial_can_be_compared_the_search_ends_with_the_best_size_it_knows() -> None:
    search = PoolSizeSearch(settings(), 1)
    for number in range(5):
        search.take(call(1024, "first"), float(number))
    calls = 0
    while not search.state.done:
        search.take(call(search.state.size, f"other-{calls}"), float(calls))
        calls += 1
    assert calls == PATIENCE * 5
    assert search.state.size == 1024


def test_what_serves_with_another_size_or_before_things_have_settled_does_not_count() -> None:
    search = PoolSizeSearch(settings(settle_seconds=3), 1)
    for number in range(20):
        search.take(call(512), float(number))
    for number in range(4):
        search.take(call(1024), 20 + number * 0.7)
    assert not search.state.trials
    for number in range(5):
        search.take(call(1024), 30.0 + number)
    assert [each.size for each in search.state.trials] == [1024]


def test_no_size_is_tried_that_leaves_too_little_for_what_workers_have_used() -> None:
    search = PoolSizeSearch(settings(least=64), 1)
    for number in range(400):
        search.take(call(search.state.size, peak=600 * MIB), float(number))
    assert search.state.done
    assert min(each.size for each in search.state.trials) >= 600 * 9 / 8


def test_a_size_that_was_killed_is_never_wanted_again_and_counts_as_an_update() -> None:
    before = PoolSizes(size=256, least=256, trials=[{"size": 1024, "seconds": 1.0, "costUSD": 1.0}])  # type: ignore[list-item]
    search = PoolSizeSearch(settings(least=432), 1, before)
    assert search.take(call(432), 0.0)
    assert (search.state.size, search.state.killed) == (432, 1)
    ended(search, {"a": 1.0}, random.Random(0))
    assert all(each.size >= 432 for each in search.state.trials)


def test_the_log_tells_a_state_as_it_was() -> None:
    search = PoolSizeSearch(settings(), 1)
    for number in range(30):
        search.take(call(search.state.size, ("a", "b")[number % 2]), float(number))
    assert read(body(Sized(search.state)), "search/1.json") == Sized(search.state)


def test_trials_do_the_same_work_if_only_numbers_differ_that_no_step_takes_time_for() -> None:
    rate, width = "spec.optimizer.learningRate", "spec.model.args.hidden"
    assert group_of({rate: 0.1, width: [8]}) == group_of({rate: 0.2, width: [8], "spec.algorithm.steps": 9})
    assert group_of({rate: 0.1, width: [8]}) != group_of({rate: 0.1, width: [9]})


class Resizable(Functions):
    """Workers that have the size that was asked for, and take a time that follows from it."""

    memory = 512

    async def invoke(self, role: Role, request: Mapping[str, Any], *, seconds: float) -> Reply:
        reply = await super().invoke(role, request, seconds=seconds)
        if request["op"] != "train":
            return reply
        size = self.memory
        await asyncio.sleep(100 / size)
        # Simulated workers are the process of the tests, whose own peak would rule sizes out.
        body = {**reply.body, "peakMemoryBytes": 100 * MIB}
        return Reply(body, 0.05 + 100 / size, 0.0, 0.0, size * MIB)


def test_a_search_gives_its_workers_the_best_size_and_its_trials_the_same_values(tmp_path: Any) -> None:
    job = iris_search(maxTrials=8, prune={"name": "None"})
    calm_place = make_search_place(tmp_path / "calm", tiny_job(**TEMPLATE))
    calm = virtual_loop.run(runner_of(calm_place, job, Functions(calm_place.store)).run())
    place = make_search_place(tmp_path / "sized", tiny_job(**TEMPLATE))
    functions, asked = Resizable(place.store), list[int]()

    def resized(sizes: PoolSizes) -> None:
        asked.append(sizes.size)
        functions.memory = sizes.size

    sought = settings(start=512, every_steps=2, most=1024, max_updates=3)
    run = runner_of(place, job, functions, sizes=sought, resized=resized)
    outcome = virtual_loop.run(run.run())
    assert (outcome["trial"], outcome["sha256"]) == (calm["trial"], calm["sha256"])
    state = run.search.state.sizes
    assert state is not None
    assert len({each.size for each in state.trials}) >= 2
    assert asked[0] == 512
    assert asked[-1] == state.size
    assert run.calls.most_memory("worker") == max(asked) * MIB
