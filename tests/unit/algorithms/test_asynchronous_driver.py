"""Asynchronous mode by itself: which contributions a commit applies, and how stale they may be."""

import asyncio
from typing import Any

from helpers.jobs import tiny_job
from helpers.scripted import ScriptedCaller, context_of, first_commit

from sapflow.algorithms.asynchronous.driver import Driver
from sapflow.messages.requests import RootRequest, TrainRequest
from sapflow.objects.stores.protocol import Store
from sapflow.records.commits import Commit, Plan

PLAN = Plan(structure=(1, 3), shards=1)


def driver(store: Store, caller: ScriptedCaller, *, resumed: bool = False, **changes: Any) -> Driver:
    job = tiny_job(workers=3, algorithm_mode="Async", merge_structure=[1, 3], algorithm_steps=4, **changes)
    commit = first_commit(counters=[0, 0, 0])
    return Driver(context_of(job, store, caller), commit, PLAN, resumed=resumed, meanwhile=lambda: None)


def applied(commit: Commit) -> list[tuple[int, int, int]]:
    return [(one.rank, one.count, one.base) for one in commit.applied]


def test_a_commit_applies_what_is_ready_and_waits_for_nobody(directory_store: Store) -> None:
    async def scenario() -> tuple[Commit, Commit]:
        caller = ScriptedCaller()
        slow = caller.hold_back("train 1")
        one = driver(directory_store, caller)
        first = await one.next_commit()
        one.settle(first, PLAN)
        slow.set()
        commits = [first]
        while commits[-1].counters[1] == 0:
            commits.append(await one.next_commit())
            one.settle(commits[-1], PLAN)
        await one.close()
        return first, commits[-1]

    first, later = asyncio.run(scenario())
    assert first.counters[1] == 0
    assert {rank for rank, _, _ in applied(first)} <= {0, 2}
    # The slow rank's first contribution was computed on version 0 and applied all the same.
    assert (1, 0, 0) in applied(later)


def test_nothing_is_committed_while_the_oldest_contribution_has_reached_the_staleness(
    directory_store: Store,
) -> None:
    async def scenario() -> tuple[int, bool, Commit]:
        caller = ScriptedCaller()
        slow = caller.hold_back("train 1")
        one = driver(directory_store, caller, algorithm_maxStaleness=1)
        commit = await one.next_commit()
        one.settle(commit, PLAN)
        waiting = asyncio.create_task(one.next_commit())
        for _ in range(50):
            await asyncio.sleep(0)
        version, blocked = commit.version, not waiting.done()
        slow.set()
        made = await waiting
        await one.close()
        return version, blocked, made

    version, blocked, made = asyncio.run(scenario())
    assert (version, blocked) == (1, True)
    late = [made.version - 1 - base for _, _, base in applied(made)]
    assert max(late) <= 1
    assert (1, 0, 0) in applied(made)


def test_every_rank_contributes_as_often_as_it_has_steps_and_nothing_twice(directory_store: Store) -> None:
    async def scenario() -> list[Commit]:
        one = driver(directory_store, ScriptedCaller())
        commits = []
        while not one.finished:
            commits.append(await one.next_commit())
            one.settle(commits[-1], PLAN)
        await one.close()
        return commits

    commits = asyncio.run(scenario())
    seen = [(rank, count) for commit in commits for rank, count, _ in applied(commit)]
    assert sorted(seen) == [(rank, count) for rank in range(3) for count in range(4)]
    assert commits[-1].counters == [4, 4, 4]


def test_another_drivers_commit_makes_ours_superfluous_and_what_it_applied_is_not_applied_again(
    directory_store: Store,
) -> None:
    async def scenario() -> tuple[Commit, list[str]]:
        caller = ScriptedCaller()
        one = driver(directory_store, caller)
        ours = await one.next_commit()
        theirs = ours.model_copy(update={"id": "theirs", "counters": [1, 1, 1]})
        one.settle(theirs, PLAN)
        made = await one.next_commit()
        await one.close()
        return made, caller.names

    made, _ = asyncio.run(scenario())
    assert all(count == 1 for _, count, _ in applied(made))


def test_versions_live_while_a_worker_may_read_them(directory_store: Store) -> None:
    async def scenario() -> tuple[set[int], set[int]]:
        caller = ScriptedCaller()
        slow = caller.hold_back("train 1")
        one = driver(directory_store, caller)
        one.settle(await one.next_commit(), PLAN)
        held = one.held_versions()
        slow.set()
        while 0 in one.held_versions():
            one.settle(await one.next_commit(), PLAN)
        after = one.held_versions()
        await one.close()
        return held, after

    held, after = asyncio.run(scenario())
    assert 0 in held
    assert 0 not in after


def test_a_root_applies_each_child_by_itself_with_its_own_learning_rate(directory_store: Store) -> None:
    async def scenario() -> ScriptedCaller:
        caller = ScriptedCaller()
        one = driver(directory_store, caller)
        await one.next_commit()
        await one.close()
        return caller

    caller = asyncio.run(scenario())
    (root,) = (request for request in caller.calls if isinstance(request, RootRequest))
    assert root.separate
    assert len(root.schedule) == len(root.children)
    trained = {
        ref.key for request in caller.calls if isinstance(request, TrainRequest) for ref in request.outputs
    }
    assert {child.key for child in root.children} <= trained
