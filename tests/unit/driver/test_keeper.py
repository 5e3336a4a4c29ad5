"""Which objects of committed versions stay, in a real directory."""

import asyncio
import json
import logging
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any

import pytest

from sapflow.driver.keeper import Keeper
from sapflow.errors import StoreError
from sapflow.messages.vectors import Part, Sizes
from sapflow.objects import keys
from sapflow.objects.stores.directory import DirectoryStore
from sapflow.records.commits import Commit, Records
from sapflow.spec.training_job import CheckpointSpec
from sapflow.steps.garbage import CellGarbage
from sapflow.steps.leftovers import Leftovers

PREFIX = keys.job("uid")
NOTHING = Leftovers()


def params(version: int) -> str:
    return keys.params(PREFIX, version, "id", 0)


def optimizer(version: int) -> str:
    return keys.optimizer(PREFIX, version, "id", 0)


def work(version: int) -> str:
    """A contribution of a version's step."""
    return keys.contribution(PREFIX, version, "id", 0, 0, 0)


def commit(version: int, *, of: int | None = None, kept: Iterable[int] = ()) -> Commit:
    """A commit and its objects; `of`: those of an earlier version, as after a step that was skipped."""
    made = version if of is None else of
    return Commit(
        version=version,
        id="id",
        previous="",
        plan="plan",
        sizes=Sizes(parameters=4, averaged=0, block=4),
        slots=[],
        params=[Part(key=params(made), start=0, stop=4)],
        optimizer=[Part(key=optimizer(made), start=0, stop=4)],
        kept=list(kept),
    )


class Kept:
    """A keeper, and the store that it keeps in order."""

    def __init__(self, folder: Path, *, cells: int = 0, **checkpoint: Any) -> None:
        self.store = DirectoryStore(str(folder))
        self.garbage = CellGarbage(cells) if cells else None
        spec = CheckpointSpec(**checkpoint)
        self.keeper = Keeper(self.store, Records(self.store, PREFIX), PREFIX, spec, self.garbage)

    def put(self, *names: str) -> None:
        for name in names:
            self.store.create(name, b"x")

    def make(self, version: int) -> Commit:
        """A version whose objects are in the store."""
        self.put(params(version), optimizer(version), work(version))
        return commit(version)

    async def steps(self, *versions: int) -> None:
        """One version after the other is made, committed and recorded where that is due, as drivers do."""
        for version in versions:
            new = self.make(version)
            await self.follow(commit(version - 1), new)

    async def follow(self, old: Commit, new: Commit) -> None:
        self.keeper.superseded(old, new, Leftovers([work(new.version)]))
        await self.keeper.checkpoint(new)

    async def left(self) -> set[str]:
        """What is in the store once all that is to go has gone."""
        await self.keeper.settle()
        return {each.key.removeprefix(PREFIX) for each in self.store.list(PREFIX)}


def short(*names: str) -> set[str]:
    return {name.removeprefix(PREFIX) for name in names}


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(scenario())


def test_a_new_version_takes_the_place_of_the_one_before_and_of_what_its_step_needed(tmp_path: Path) -> None:
    async def scenario() -> None:
        kept = Kept(tmp_path)
        kept.make(0)
        await kept.steps(1, 2)
        assert await kept.left() == short(params(2), optimizer(2), work(0))

    run(scenario)


def test_nothing_is_removed_before_the_driver_has_nothing_else_to_do(tmp_path: Path) -> None:
    async def scenario() -> None:
        kept = Kept(tmp_path)
        kept.make(0)
        await kept.steps(1)
        assert kept.store.exists(params(0))
        assert kept.keeper.kept == [0]
        kept.keeper.sweep()
        await kept.keeper.settle()
        assert not kept.store.exists(params(0))
        assert kept.keeper.kept == []

    run(scenario)


def test_what_is_removed_is_named_by_commits_until_it_is_gone(tmp_path: Path) -> None:
    """A driver that dies in the middle of a removal leaves it to the next, which reads `kept`."""

    async def scenario() -> None:
        kept = Kept(tmp_path)
        kept.make(0)
        await kept.steps(1)
        kept.keeper.sweep()
        assert kept.keeper.kept == [0]
        await kept.keeper.settle()
        assert kept.keeper.kept == []

    run(scenario)


def test_a_version_that_is_read_keeps_its_parameters_until_its_last_reader_releases_it(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        kept = Kept(tmp_path)
        first = kept.make(0)
        kept.keeper.hold(first, "evaluation")
        kept.keeper.hold(first, "result")
        await kept.steps(1)
        assert await kept.left() == short(params(0), work(0), params(1), optimizer(1))
        assert kept.keeper.kept == [0]
        kept.keeper.release(0, "evaluation")
        assert params(0).removeprefix(PREFIX) in await kept.left()
        kept.keeper.release(0, "result")
        assert await kept.left() == short(work(0), params(1), optimizer(1))
        assert kept.keeper.kept == []
        kept.keeper.release(0, "nobody")

    run(scenario)


def test_a_version_that_is_held_whole_keeps_its_optimiser_state_too(tmp_path: Path) -> None:
    async def scenario() -> None:
        kept = Kept(tmp_path)
        kept.keeper.hold(kept.make(0), "candidate", with_optimizer=True)
        await kept.steps(1)
        assert await kept.left() == short(params(0), optimizer(0), work(0), params(1), optimizer(1))

    run(scenario)


def test_a_reader_may_release_all_versions_but_some_and_no_other_readers(tmp_path: Path) -> None:
    async def scenario() -> None:
        kept = Kept(tmp_path)
        kept.make(0)
        for version in range(4):
            kept.keeper.hold(commit(version), "rank")
            await kept.steps(version + 1)
        kept.keeper.hold(commit(0), "evaluation")
        kept.keeper.release_all_but([2], "rank")
        assert await kept.left() == short(params(0), work(0), params(2), params(4), optimizer(4))
        assert kept.keeper.kept == [0, 2]

    run(scenario)


def test_objects_that_the_new_version_stands_on_too_stay(tmp_path: Path) -> None:
    """A skipped step commits the objects of the version before."""

    async def scenario() -> None:
        kept = Kept(tmp_path)
        first = kept.make(0)
        skipped = commit(1, of=0)
        kept.keeper.superseded(first, skipped, NOTHING)
        assert await kept.left() == short(params(0), optimizer(0), work(0))
        kept.keeper.superseded(skipped, kept.make(2), NOTHING)
        assert await kept.left() == short(work(0), params(2), optimizer(2), work(2))

    run(scenario)


# Checkpoints


def test_the_newest_checkpoints_stay_with_all_that_they_stand_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        kept = Kept(tmp_path, every_steps=2, keep=2)
        kept.make(0)
        await kept.steps(*range(1, 8))
        assert await kept.left() == short(
            work(0),
            *(name(version) for version in (4, 6, 7) for name in (params, optimizer)),
            *(keys.checkpoint(PREFIX, version) for version in (4, 6)),
        )
        assert kept.keeper.kept == [4, 6]

    run(scenario)


def test_a_checkpoint_is_a_record_of_the_objects_and_the_place_in_the_data(tmp_path: Path) -> None:
    async def scenario() -> None:
        kept = Kept(tmp_path, every_steps=3, keep=1)
        assert not await kept.keeper.checkpoint(commit(2))
        kept.keeper.superseded(commit(2), commit(3), NOTHING)
        assert await kept.keeper.checkpoint(commit(3))
        record = json.loads(bytes(kept.store.read(keys.checkpoint(PREFIX, 3))))
        assert set(record) == {"version", "sizes", "slots", "params", "optimizer", "cursor"}
        assert [part["key"] for part in record["params"]] == [params(3)]

    run(scenario)


def test_version_0_is_no_checkpoint_and_without_checkpoints_none_is_made(tmp_path: Path) -> None:
    asked, unasked = Kept(tmp_path / "a", every_steps=1, keep=5), Kept(tmp_path / "b")
    asked.keeper.superseded(commit(1), commit(2), NOTHING)
    unasked.keeper.superseded(commit(1), commit(2), NOTHING)
    assert [version for version in range(3) if asked.keeper.is_checkpoint(version)] == [1, 2]
    assert not any(map(unasked.keeper.is_checkpoint, range(4)))


def test_a_checkpoint_of_a_skipped_step_stands_on_the_objects_of_the_one_before_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        kept = Kept(tmp_path, every_steps=1, keep=1)
        kept.make(0)
        await kept.steps(1)
        await kept.follow(commit(1), commit(2, of=1))
        assert await kept.left() == short(work(0), params(1), optimizer(1), keys.checkpoint(PREFIX, 2))
        assert kept.keeper.kept == []

    run(scenario)


def test_a_checkpoint_that_is_read_as_it_expires_goes_when_it_is_released(tmp_path: Path) -> None:
    async def scenario() -> None:
        kept = Kept(tmp_path, every_steps=1, keep=1)
        kept.make(0)
        await kept.steps(1)
        kept.keeper.hold(commit(1), "evaluation")
        await kept.steps(2)
        assert await kept.left() == short(
            work(0), params(1), params(2), optimizer(2), keys.checkpoint(PREFIX, 2)
        )
        kept.keeper.release(1, "evaluation")
        assert params(1).removeprefix(PREFIX) not in await kept.left()

    run(scenario)


# Drivers that go on


def test_a_driver_that_goes_on_removes_what_the_one_before_has_left(tmp_path: Path) -> None:
    async def scenario() -> None:
        kept = Kept(tmp_path)
        for version in (3, 4, 5):
            kept.make(version)
        last = commit(5, kept=[3])
        for version in (3, 4, 5):
            await kept.keeper.inherit(commit(version), Leftovers([work(version)]), last)
        assert kept.keeper.kept == [3, 4]
        kept.keeper.collect()
        assert await kept.left() == short(params(5), optimizer(5))
        assert kept.keeper.kept == []

    run(scenario)


def test_a_driver_that_goes_on_keeps_checkpoints_and_writes_the_record_that_is_missing(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        kept = Kept(tmp_path, every_steps=2, keep=1)
        for version in (2, 4, 5):
            kept.make(version)
        kept.put(keys.checkpoint(PREFIX, 2))
        for version in (2, 4, 5):
            await kept.keeper.inherit(commit(version), Leftovers([work(version)]), commit(5))
        kept.keeper.collect()
        assert await kept.left() == short(
            params(4), optimizer(4), params(5), optimizer(5), keys.checkpoint(PREFIX, 4)
        )
        await kept.steps(6)
        assert await kept.left() == short(params(6), optimizer(6), keys.checkpoint(PREFIX, 6))

    run(scenario)


def test_what_the_last_commit_stands_on_is_not_removed_with_the_version_that_made_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        kept = Kept(tmp_path)
        kept.make(3)
        last = commit(4, of=3)
        await kept.keeper.inherit(commit(3), NOTHING, last)
        await kept.keeper.inherit(last, NOTHING, last)
        kept.keeper.collect()
        assert {params(3).removeprefix(PREFIX)} <= await kept.left()

    run(scenario)


# What goes wrong, and where objects lie


def test_a_removal_that_fails_is_logged_and_tried_again_also_by_the_next_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        kept = Kept(tmp_path)
        kept.make(0)
        await kept.steps(1)

        def refuse(names: Iterable[str]) -> None:
            raise StoreError("permission denied")

        with monkeypatch.context() as patched, caplog.at_level(logging.WARNING):
            patched.setattr(kept.store, "delete", refuse)
            await kept.keeper.settle()
        assert caplog.messages == ["could not remove 3 objects: permission denied"]
        assert kept.keeper.kept == [0], "commits name it for the driver that goes on"
        await kept.steps(2)
        assert await kept.left() == short(work(0), params(2), optimizer(2))

    run(scenario)


def test_what_waits_for_another_try_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        kept = Kept(tmp_path)

        def refuse(names: Iterable[str]) -> None:
            raise StoreError("permission denied")

        monkeypatch.setattr(kept.store, "delete", refuse)
        for version in range(1, 1500):
            kept.keeper.superseded(commit(version - 1), commit(version), Leftovers([work(version)]))
            await kept.keeper.settle()
        assert len(kept.keeper.kept) <= 500

    run(scenario)


def test_objects_that_are_gone_already_are_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        kept = Kept(tmp_path)
        kept.make(0)
        kept.store.delete([params(0), work(0)])
        await kept.steps(1)
        assert await kept.left() == short(params(1), optimizer(1))

    run(scenario)
    assert not caplog.messages


def test_what_lies_in_cells_is_left_to_their_functions_and_so_are_copies_of_parameters(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        kept = Kept(tmp_path, cells=2)
        first = kept.make(0)
        kept.keeper.superseded(first, kept.make(1), Leftovers([work(1)], [(1, "in cell 1")]))
        assert await kept.left() == short(work(0), params(1), optimizer(1))
        assert kept.garbage is not None
        assert kept.garbage.take(0) == [params(0)]
        assert kept.garbage.take(1) == ["in cell 1", params(0)]

    run(scenario)
