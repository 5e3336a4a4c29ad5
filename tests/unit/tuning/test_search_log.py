"""The log of a search: numbered records, segments, two drivers at once, and entries that come back as they were."""

import asyncio
import json
import math
from pathlib import Path

import pytest
from helpers.searches import search_job
from helpers.simulated_search import Runner, World, searching

from sapflow import __version__
from sapflow.errors import CorruptObject, LaterRelease
from sapflow.objects.stores.directory import DirectoryStore
from sapflow.records.memory_search import SizeTrial
from sapflow.tuning import entries
from sapflow.tuning.actions import Advance, Deleted, Failed, Finished, Fork, Report, Stop, Stopped
from sapflow.tuning.entries import Asked, Begin, Common, End, Entry, Granted, Known, Sized, Train, Warm
from sapflow.tuning.log import SEGMENT, Log
from sapflow.tuning.pool_sizes import Factor, PoolSizes
from sapflow.tuning.search import Search
from sapflow.tuning.settings import Limits, Settings
from sapflow.tuning.usage import Usage

ENTRIES: list[Entry] = [
    Warm((({"spec.workers": 1}, (0.5, math.inf)),)),
    Asked(3),
    Begin(3, {"spec.model.args.hidden": [1, 2], "spec.workers": 2}, {"study": {"a": 1}}),
    Train(3, 4),
    Known(7),
    End("GoalReached", "trial 3"),
    Granted(0.25),
    Common(0.125),
    Sized(
        PoolSizes(
            size=512,
            least=256,
            trials=[SizeTrial(size=1024, seconds=0.5, cost_usd=1e-6, error=0.01)],
            factors={"a1": Factor(seconds=0.5, dollars=2.0)},
        )
    ),
    Fork(4, 3, 12, 4, {"spec.optimizer.momentum": 0.1}),
    Stop(4, "Pruned"),
    Limits(1, 2, 3, None, 60),
    Report(3, 4, 12, {"accuracy": math.nan, "loss": math.inf}, 1.5, 0.25),
    Finished(3, {"accuracy": 0.5}, 16, 48, 1.5, 0.25),
    Failed(3, "OutOfMemory", "killed", 1.0, 2.0),
    Stopped(3, 1.0, 2.0),
    Deleted(3),
    Usage(1_700_000_000.5, 2.0, 0.25, (1.5, 2.0), 3, 4),
]


def same(one: object, other: object) -> bool:
    return repr(one) == repr(other)


def test_every_kind_of_entry_comes_back_as_it_was() -> None:
    assert {type(each) for each in ENTRIES} == set(entries.KINDS.values())
    for entry in ENTRIES:
        assert same(entries.read(entries.body(entry), "search/0.json"), entry)


@pytest.mark.parametrize("body", [{"report": {"trial": "x"}}, [], {"train": {}, "stop": {}}])
def test_what_is_no_entry_is_told_with_its_object(body: object) -> None:
    with pytest.raises(CorruptObject, match=r"object search/0\.json has"):
        entries.read(body, "search/0.json")


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"priority": {"trial": 3}}, "an entry 'priority'"),
        ({"train": {"trial": 3, "to": 4, "gently": True}}, "an entry train with 'gently'"),
        ({"sized": {"sizes": {"size": 1, "least": 1, "spare": 2}}}, "an entry sized with 'sizes.spare'"),
    ],
)
def test_an_entry_of_a_later_release_is_refused_with_release_and_remedy_and_nothing_is_written(
    body: object, named: str, tmp_path: Path
) -> None:
    store = DirectoryStore(str(tmp_path))
    store.create("jobs/s/search/0.json", json.dumps([body]).encode())
    search, _ = searching(store)
    with pytest.raises(LaterRelease) as caught:
        asyncio.run(search.open())
    words = str(caught.value)
    assert f"has {named}, which this release of Sapflow ({__version__}) does not know" in words
    assert "Go on with that release" in words
    assert "sapflow run --again" in words
    assert not store.exists("jobs/s/search/1.json")


def test_records_are_read_from_segments_and_behind_them(tmp_path: Path) -> None:
    store = DirectoryStore(str(tmp_path))
    count = 2 * SEGMENT + 3

    async def write() -> None:
        log = Log(store, "jobs/s/")
        for number in range(count):
            assert await log.append([Train(number, 1)])

    async def read(expected: int) -> list[Entry]:
        log = Log(store, "jobs/s/")
        found = await log.read()
        assert log.count == expected
        assert await log.append([Stop(0, "Deleted")])
        return found

    asyncio.run(write())
    assert asyncio.run(read(count)) == [Train(number, 1) for number in range(count)]
    # A driver that dies between a record and its segment leaves the segment to the next one.
    store.delete(["jobs/s/search/segments/1.json"])
    assert len(asyncio.run(read(count + 1))) == count + 1
    assert store.exists("jobs/s/search/segments/1.json")


def test_two_drivers_decide_once(tmp_path: Path) -> None:
    """The one that comes second reads what the first has decided, and yields that."""
    store = DirectoryStore(str(tmp_path))

    async def both() -> None:
        one, _ = searching(store, search={"name": "Random"}, parallelTrials=1)
        other, _ = searching(store, search={"name": "Random"}, parallelTrials=1)
        assert await one.open() == await other.open() == []
        (first,) = await one.step(free=1)
        (second,) = await other.step(free=1)
        assert first == second
        assert isinstance(first, Advance)
        finished = Finished(0, {"accuracy": 0.5}, 16, 16)
        (third,) = await other.step([finished], free=1)
        assert await one.step([finished], free=1) == [third]
        assert await one.step([finished], free=0) == []

    asyncio.run(both())


def test_a_broken_record_is_named(tmp_path: Path) -> None:
    store = DirectoryStore(str(tmp_path))
    store.create("jobs/s/search/0.json", b"{")
    search, _ = searching(store)
    with pytest.raises(CorruptObject, match=r"jobs/s/search/0\.json is not JSON"):
        asyncio.run(search.open())


def at_end(store: DirectoryStore, search: Search, length: int, **world: object) -> Search:
    import random

    assert asyncio.run(Runner(search, World(**world), length, random.Random(0)).run())  # type: ignore[arg-type]
    return search


def test_a_search_goes_on_where_maxtrials_is_raised_after_its_end(tmp_path: Path) -> None:
    store = DirectoryStore(str(tmp_path))
    spec = {"search": {"name": "Random"}, "prune": {"name": "ASHA"}, "order": "InOrder"}
    search, length = searching(store, maxTrials=8, **spec)
    at_end(store, search, length)
    before = [dict(trial.parameters) for trial in search.trials]
    more, _ = searching(store, maxTrials=20, **spec)
    at_end(store, more, length)
    assert [dict(trial.parameters) for trial in more.trials][:8] == before
    assert len(more.trials) == 20
    again, _ = searching(store, maxTrials=20, **spec)
    assert asyncio.run(again.open()) == []
    assert again.over == End("Completed", "20 of 20 trials")


def test_a_search_ends_with_its_goal_and_interrupts_what_runs(tmp_path: Path) -> None:
    store = DirectoryStore(str(tmp_path))
    search, length = searching(
        store,
        objective={"metric": "accuracy", "direction": "Maximize", "goal": 0.5},
        search={"name": "Random"},
    )
    at_end(store, search, length)
    assert search.over is not None
    assert search.over.reason == "GoalReached"
    assert "accuracy" in search.over.message
    assert asyncio.run(search.step(free=9)) == []


def test_a_search_bears_as_many_failures_as_it_says(tmp_path: Path) -> None:
    store = DirectoryStore(str(tmp_path))
    search, length = searching(store, maxFailedTrials=2, search={"name": "Random"})
    at_end(store, search, length, fails=frozenset(range(16)))
    assert search.over is not None
    assert search.over.reason == "TooManyFailed"
    assert "spec.maxFailedTrials is 2" in search.over.message


def test_a_trial_whose_evaluations_lack_the_objective_fails_and_says_what_they_have(tmp_path: Path) -> None:
    async def run() -> None:
        search, _ = searching(DirectoryStore(str(tmp_path)), search={"name": "Random"})
        await search.open()
        await search.step(free=1)
        await search.step([Finished(0, {"loss": 0.1, "f1": 1.0}, 16, 16, 2.0, 0.5)], free=0)
        (trial,) = search.trials
        assert (trial.phase, trial.reason, trial.dollars) == ("Failed", "MetricMissing", 0.5)
        assert "no accuracy, which spec.objective names; it has f1, loss" in trial.message

    asyncio.run(run())


def test_a_deleted_trial_is_stopped_running_or_paused(tmp_path: Path) -> None:
    async def run() -> None:
        job = search_job(search={"name": "Random"}, prune={"name": "ASHA"}, parallelTrials=2, maxTrials=3)
        search = Search(DirectoryStore(str(tmp_path)), "jobs/s/", Settings.of(job), Limits.of(job))
        await search.open()
        await search.step(free=9)
        await search.step(free=9)
        paused = Report(0, 1, 1, {"accuracy": 0.9}, 1, 0.1)
        actions = await search.step([paused, Deleted(0), Deleted(1)], free=9)
        assert [each for each in actions if isinstance(each, Stop)] == [
            Stop(0, "Deleted"),
            Stop(1, "Deleted"),
        ]
        assert await search.step([Deleted(0)], free=0) == []
        # A driver that starts now is told to stop them once more.
        again = Search(DirectoryStore(str(tmp_path)), "jobs/s/", Settings.of(job), Limits.of(job))
        assert Stop(1, "Deleted") in await again.open()
        await search.step([Stopped(0, 1, 0.1), Stopped(1, 2, 0.2)], free=9)
        assert [trial.phase for trial in search.trials][:2] == ["Stopped", "Stopped"]
        assert search.state.dollars == pytest.approx(0.3)

    asyncio.run(run())


def test_a_trial_that_ends_as_it_is_deleted_has_ended(tmp_path: Path) -> None:
    async def run() -> None:
        search, _ = searching(DirectoryStore(str(tmp_path)), search={"name": "Random"}, maxTrials=1)
        await search.open()
        await search.step(free=1)
        assert await search.step([Deleted(0), Finished(0, {"accuracy": 0.5}, 16, 16)], free=0) == []
        assert [trial.phase for trial in search.trials] == ["Finished"]
        assert search.over == End("Completed", "1 of 1 trials")

    asyncio.run(run())


def test_limits_are_raised_while_trials_run(tmp_path: Path) -> None:
    async def run() -> None:
        job = search_job(search={"name": "Random"}, parallelTrials=1, maxTrials=2)
        search = Search(DirectoryStore(str(tmp_path)), "jobs/s/", Settings.of(job), Limits.of(job))
        await search.open()
        (first,) = await search.step(free=9)
        assert await search.step(free=9) == []
        assert await search.raise_limits(Limits(2, 3, 3)) == [first]
        (second,) = await search.step(free=9)
        again = Search(DirectoryStore(str(tmp_path)), "jobs/s/", Settings.of(job), Limits(2, 3, 3))
        assert await again.open() == [first, second]

    asyncio.run(run())


def test_what_is_left_goes_to_what_can_still_win(tmp_path: Path) -> None:
    async def run() -> None:
        job = search_job(search={"name": "Random"}, prune={"name": "ASHA"}, parallelTrials=1, maxTrials=99)
        search = Search(DirectoryStore(str(tmp_path)), "jobs/s/", Settings.of(job), Limits.of(job))
        await search.open()
        for number in range(4):
            (action,) = await search.step(free=1, left=10.0)
            assert isinstance(action, Advance)
            assert action.trial == number
            events = [Report(number, 1, 1, {"accuracy": number / 10}, 1, 1.0)]
            await search.step(events, free=0, left=10.0)
        # A unit costs a dollar: three more of the best one are within what is left, and then nothing is.
        (action,) = await search.step(free=1, left=3.5)
        assert action == Advance(3, 4, search.trials[3].parameters)
        await search.step([Report(3, 4, 4, {"accuracy": 0.5}, 4, 4.0)], free=1, left=0.5)
        assert search.over is not None
        assert search.over.reason == "BudgetExceeded"

    asyncio.run(run())


def test_a_search_that_is_opened_again_reads_no_record_twice(tmp_path: Path) -> None:
    class Counting(DirectoryStore):
        records = 0

        def read(self, key: str, start: int = 0, count: int | None = None) -> memoryview:
            found = super().read(key, start, count)
            self.records += "/search/" in key
            return found

    async def scenario() -> None:
        store, job = Counting(str(tmp_path)), search_job(maxTrials=40)
        settings, limits = Settings.of(job), Limits.of(job)
        await Search(store, "jobs/u/", settings, limits).open()
        assert await Log(store, "jobs/u/").read()
        search = Search(store, "jobs/u/", settings, limits)
        store.records = 0
        first = await search.open()
        read = store.records
        assert read > 0
        assert await search.open() == first
        assert store.records == read

    asyncio.run(scenario())
