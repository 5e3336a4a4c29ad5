"""One synchronous step: what is called when, what its commit says, and what it leaves behind."""

import asyncio
from typing import Any

import pytest
from helpers.jobs import tiny_job
from helpers.scripted import ScriptedCaller, answer, context_of, first_commit
from helpers.scripted import name_of as name

from sapflow.algorithms.gradient.driver import Driver as GradientDriver
from sapflow.algorithms.local_steps.driver import Driver as LocalStepsDriver
from sapflow.errors import JobFailed
from sapflow.messages.replies import FunctionReply
from sapflow.messages.requests import MergeRequest, Request, RootRequest, TrainRequest
from sapflow.objects.stores.protocol import Store
from sapflow.records.commits import Commit, Cursor, Plan
from sapflow.steps.carried import Carried
from sapflow.steps.synchronous import SynchronousDriver

TREE = Plan(structure=(1, 2, 4), shards=1)
INLINE = Plan(structure=(1, 4), shards=1, inline=(0,))


def driver(
    store: Store,
    caller: ScriptedCaller,
    plan: Plan = TREE,
    *,
    commit: Commit | None = None,
    resumed: bool = False,
    **changes: Any,
) -> SynchronousDriver:
    job = tiny_job(**changes)
    kind = LocalStepsDriver if job.spec.algorithm.facts.name == "local_steps" else GradientDriver
    context = context_of(job, store, caller)
    return kind(context, commit or first_commit(), plan, resumed=resumed, meanwhile=lambda: None)


def run(one: SynchronousDriver) -> Commit:
    return asyncio.run(one.next_commit())


def test_a_merger_is_called_as_soon_as_its_own_children_are_there(directory_store: Store) -> None:
    async def scenario() -> list[list[str]]:
        caller = ScriptedCaller()
        late = caller.hold_back("train 3")
        step = asyncio.create_task(driver(directory_store, caller).next_commit())
        for _ in range(50):
            await asyncio.sleep(0)
        before = list(caller.names)
        late.set()
        await step
        return [before, caller.names[len(before) :]]

    before, after = asyncio.run(scenario())
    # The first group is merged while a worker of the second is still at work.
    assert sorted(before) == ["merge 1-0", "train 0", "train 1", "train 2", "train 3"]
    assert after == ["merge 1-1", "root"]


def test_children_are_summed_in_the_order_of_their_indices_whoever_was_first(directory_store: Store) -> None:
    async def scenario() -> ScriptedCaller:
        caller = ScriptedCaller()
        gates = [caller.hold_back(f"train {rank}") for rank in range(4)]
        step = asyncio.create_task(driver(directory_store, caller).next_commit())
        for gate in reversed(gates):
            await asyncio.sleep(0)
            gate.set()
        await step
        return caller

    caller = asyncio.run(scenario())
    summed = {
        name(request): [child.key.rpartition("/")[2] for child in request.children]
        for request in caller.calls
        if isinstance(request, MergeRequest | RootRequest)
    }
    assert summed == {
        "merge 1-0": ["0-0.0", "0-1.0"],
        "merge 1-1": ["0-2.0", "0-3.0"],
        "root": ["1-0.0", "1-1.0"],
    }


def test_shards_have_trees_of_their_own_and_the_root_applies_once_all_are_summed(
    directory_store: Store,
) -> None:
    caller = ScriptedCaller()
    run(driver(directory_store, caller, Plan(structure=(1, 4), shards=2)))
    roots = [request for request in caller.calls if isinstance(request, RootRequest)]
    assert [name(request) for request in roots] == ["root sum"] * 2 + ["root apply"] * 2
    assert [(request.start, request.stop) for request in roots] == [(0, 4096), (4096, 8192)] * 2
    # Both phases of `apply` see the norms of all blocks.
    assert len({request.norms for request in roots[2:]}) == 1
    assert all(request.children == [] for request in roots[2:])
    (train, *_) = (request for request in caller.calls if isinstance(request, TrainRequest))
    assert [(ref.start, ref.stop) for ref in train.outputs] == [(0, 4096), (4096, 8192)]


def test_a_failed_call_ends_the_step_and_gives_the_others_up(directory_store: Store) -> None:
    def reply(request: Request) -> FunctionReply:
        if name(request) == "train 2":
            raise JobFailed("out of memory", reason="OutOfMemory", version=0)
        return answer(request)

    caller = ScriptedCaller(reply)
    caller.hold_back("train 3")
    with pytest.raises(ExceptionGroup) as caught:
        run(driver(directory_store, caller))
    assert caught.group_contains(JobFailed, match="out of memory")
    assert "root" not in caller.names


def test_the_commit_stands_on_the_new_objects_and_moves_the_cursor(directory_store: Store) -> None:
    one = driver(directory_store, ScriptedCaller())
    made = run(one)
    assert (made.version, made.cursor, made.updates, made.skipped) == (1, Cursor(epoch=0, used=32), 1, False)
    assert [part.key for part in made.params] == [f"jobs/u/params/1-{made.id}.0"]
    assert [part.key for part in made.optimizer] == [f"jobs/u/optimizer/1-{made.id}.0"]
    assert made.measured.loss == 0.5


def test_a_step_that_is_not_finite_keeps_the_objects_of_the_version_before(directory_store: Store) -> None:
    def reply(request: Request) -> FunctionReply:
        given = answer(request)
        return given.model_copy(update={"finite": False}) if isinstance(request, RootRequest) else given

    made = run(driver(directory_store, ScriptedCaller(reply)))
    assert made.skipped
    assert made.params == first_commit().params
    assert made.updates == 0
    assert made.cursor.used == 32, "its samples are passed over"


def test_ranks_without_samples_are_not_called(directory_store: Store) -> None:
    caller = ScriptedCaller()
    # 120 samples in steps of 7 × 17: one is left for the second.
    almost = first_commit(cursor={"epoch": 0, "used": 119})
    seven = Plan(structure=(1, 7), shards=1)
    changes: dict[str, Any] = {"workers": 7, "merge_structure": [1, 7], "data_batchSize": 17}
    made = run(driver(directory_store, caller, commit=almost, plan=seven, **changes))
    assert [each for each in caller.names if each.startswith("train")] == ["train 6"]
    assert made.cursor == Cursor(epoch=1, used=0)


def test_what_a_step_leaves_is_its_contributions_and_after_a_driver_that_died_every_cursor(
    directory_store: Store,
) -> None:
    one = driver(directory_store, ScriptedCaller(), resumed=True, data_microBatchSize=3)
    made = run(one)
    one.settle(made, TREE)
    first = one.leftovers(made).keys
    work = f"jobs/u/work/1-{made.id}/"
    contributions = {f"{work}{node}.0" for node in ("0-0", "0-1", "0-2", "0-3", "1-0", "1-1")}
    cursors = {f"{work}0-{rank}.0.cursor-{done}" for rank in range(4) for done in (1, 2)}
    assert set(first) == contributions | cursors
    again = run(one)
    one.settle(again, TREE)
    assert not any("cursor" in key for key in one.leftovers(again).keys), "nothing of it is left by now"


def test_states_of_ranks_are_named_by_the_commit_and_a_skipped_step_drops_its_own(
    directory_store: Store,
) -> None:
    finite = True

    def reply(request: Request) -> FunctionReply:
        given = answer(request)
        return given.model_copy(update={"finite": finite}) if isinstance(request, RootRequest) else given

    caller = ScriptedCaller(reply)
    one = driver(
        directory_store, caller, algorithm_localSteps=2, algorithm_localState="Keep", data_batchSize=4
    )
    made = run(one)
    one.settle(made, TREE)
    states = [f"jobs/u/state/1-{made.id}/{rank}" for rank in range(4)]
    assert made.objects("jobs/u/")[-4:] == states
    assert not set(states) & set(one.leftovers(made).keys)
    finite = False
    skipped = run(one)
    trains = [request for request in caller.calls if isinstance(request, TrainRequest)][4:]
    assert [request.state for request in trains] == states
    one.settle(skipped, TREE)
    assert skipped.states == made.states
    dropped = {f"jobs/u/state/2-{skipped.id}/{rank}" for rank in range(4)}
    assert dropped <= set(one.leftovers(skipped).keys)


def test_the_next_step_begins_while_its_commit_is_written_but_updates_nothing_before(
    directory_store: Store,
) -> None:
    async def scenario() -> tuple[list[str], list[str], Commit, Commit]:
        caller = ScriptedCaller()
        one = driver(directory_store, caller)
        first = await one.next_commit()
        caller.calls.clear()
        one.begin_next(first, TREE)
        for _ in range(50):
            await asyncio.sleep(0)
        ahead = list(caller.names)
        begun = [one.has_begun_next]
        one.settle(first, TREE)
        second = await one.next_commit()
        begun.append(one.has_begun_next)
        assert begun == [True, False], "no budget ends the job before what is paid for has a commit"
        return ahead, caller.names[len(ahead) :], first, second

    ahead, after, first, second = asyncio.run(scenario())
    assert sorted(ahead) == ["merge 1-0", "merge 1-1", "train 0", "train 1", "train 2", "train 3"]
    assert after == ["root"]
    assert (second.version, second.previous) == (2, first.digest)


def test_workers_get_a_small_version_while_the_driver_writes_it(directory_store: Store) -> None:
    async def scenario() -> None:
        caller = ScriptedCaller()
        one = driver(directory_store, caller, INLINE)
        one.carried = Carried(directory_store)
        first = await one.next_commit()
        (params,) = first.params
        assert not any(caller.sent_along), "version 0 is in the store"
        caller.sent_along.clear()
        one.begin_next(first, INLINE)
        for _ in range(50):
            await asyncio.sleep(0)
        assert [[*each] for each in caller.sent_along] == 4 * [[params.key]]
        await one.carried.stored()
        assert bytes(directory_store.read(params.key)) == caller.sent_along[0][params.key]
        await one.abandon_next()

    asyncio.run(scenario())


def test_a_step_that_was_begun_on_a_commit_that_lost_is_given_up_with_what_it_wrote(
    directory_store: Store,
) -> None:
    async def scenario() -> tuple[list[str], str, Commit]:
        caller = ScriptedCaller()
        one = driver(directory_store, caller)
        ours = await one.next_commit()
        one.begin_next(ours, TREE)
        for _ in range(50):
            await asyncio.sleep(0)
        left = await one.abandon_next()
        standing = ours.model_copy(update={"skipped": True})
        one.settle(standing, TREE)
        return left.keys, ours.digest, await one.next_commit()

    left, lost, second = asyncio.run(scenario())
    assert sorted(key.rpartition("/")[2] for key in left) == [
        "0-0.0",
        "0-1.0",
        "0-2.0",
        "0-3.0",
        "1-0.0",
        "1-1.0",
    ]
    assert second.previous != lost


@pytest.mark.parametrize(
    "changes",
    [{"algorithm": {"steps": 1}}, {"algorithm": {"steps": 8, "localSteps": 2, "localState": "Keep"}}],
    ids=["the last step", "ranks that keep a state"],
)
def test_nothing_is_begun_ahead_after_the_last_step_or_where_ranks_write_states(
    directory_store: Store, changes: dict[str, Any]
) -> None:
    async def scenario() -> list[str]:
        caller = ScriptedCaller()
        one = driver(directory_store, caller, **changes)
        first = await one.next_commit()
        caller.calls.clear()
        one.begin_next(first, TREE)
        for _ in range(50):
            await asyncio.sleep(0)
        await one.abandon_next()
        return caller.names

    assert asyncio.run(scenario()) == []
