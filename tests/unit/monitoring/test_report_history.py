"""What a report keeps of a long job: a bounded number of versions, with what is to be seen."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from helpers.jobs import tiny_job
from helpers.memory import peak_bytes

from sapflow.messages.vectors import Sizes
from sapflow.monitoring.report import gather, render
from sapflow.monitoring.report.history import History
from sapflow.monitoring.report.homes import Homes
from sapflow.monitoring.report.reduction import BINS, KEEP_ALL, Bars, Extremes, Sample
from sapflow.monitoring.report.timeline import MOST
from sapflow.objects import keys
from sapflow.objects.stores.directory import DirectoryStore
from sapflow.records.commits import Account, Commit, LevelUsage, Measured, Plan

UID = "long-1a2b3c4d"
PLAN = Plan(structure=(1, 2, 4), shards=1)


def version(number: int, *, hedged: int = 0, skipped: bool = False, **measured: Any) -> Commit:
    usage = LevelUsage(calls=4, seconds=0.4, slowest=0.12, phases={"read": 0.1, "write": 0.1, "merge": 0.1})
    found = {"loss": 1 / (number + 1), "seconds": 0.25, "phases": {"compute": 0.3}, "levels": [usage] * 3}
    found |= {"data_bytes": 10, "peak_memory_bytes": {"worker": 1 << 20}}
    return Commit(
        version=number,
        id="id",
        previous="",
        plan=PLAN.name,
        sizes=Sizes(parameters=1000, averaged=0, block=1000),
        slots=[],
        params=[],
        optimizer=[],
        skipped=skipped,
        account=Account(seconds=0.25 * number, cost_usd=0.001 * number, hedges=hedged),
        measured=Measured.model_validate(found | measured),
    )


class LongJob(DirectoryStore):
    """A store with a job of many versions, whose commits are made when they are read."""

    def __init__(self, folder: Path, length: int) -> None:
        super().__init__(str(folder))
        self.prefix, self._length = keys.job(UID), length
        self.create(keys.plan(self.prefix, PLAN.name), json.dumps(PLAN.body()).encode())

    def exists(self, key: str) -> bool:
        number = self._number(key)
        return super().exists(key) if number is None else number < self._length

    def read(self, key: str, start: int = 0, count: int | None = None) -> memoryview:
        number = self._number(key)
        if number is None or number >= self._length:
            return super().read(key, start, count)
        return memoryview(version(number).encode())

    def _number(self, key: str) -> int | None:
        folder = keys.commits(self.prefix)
        return int(Path(key).stem) if key.startswith(folder) else None


def most_memory(folder: Path, length: int, enough: float = 0) -> int:
    """The most bytes at once while a job of so many versions is read and its page written."""
    store, job = LongJob(folder, length), tiny_job(workers=4, evaluation_everySteps=50)

    def read_and_write() -> None:
        assert "Where the time of a step goes" in render(asyncio.run(gather(UID, job, store)))

    try:
        return peak_bytes(read_and_write, enough=int(enough))
    finally:
        store.close()


@pytest.mark.timeout(300)
def test_a_report_of_four_times_the_versions_takes_hardly_more_memory(tmp_path: Path) -> None:
    # What is loaded once is loaded by the first.
    most_memory(tmp_path / "first", 10)
    few = most_memory(tmp_path / "few", 2 * KEEP_ALL)
    assert most_memory(tmp_path / "many", 8 * KEEP_ALL, enough=1.3 * few) < 1.3 * few


def history_of(commits: list[Commit]) -> History:
    history = History(len(commits), PLAN.name, evaluated=len(commits))
    for each in commits:
        history.take(each, {"loss": each.measured.loss or 0.0})
    return history


def test_first_last_and_extremes_of_a_long_job_are_drawn() -> None:
    length = 4 * KEEP_ALL
    odd: dict[int, dict[str, Any]] = {
        1_777: {"loss": 50.0},
        2_345: {"seconds": 9.0},
        3_001: {"peak_memory_bytes": {"worker": 5 << 30}},
    }
    found = history_of([version(number, **odd.get(number, {})) for number in range(length)])
    drawn = {each.version for each in found.commits}
    assert {1, length - 1, *odd} <= drawn
    assert len(drawn) < 8 * BINS
    assert {1_777, length - 1} <= {each.version for each in found.evaluations}
    assert found.data_bytes == 10 * (length - 1)


def test_every_event_of_a_long_job_is_counted_in_a_mark() -> None:
    length = 3 * KEEP_ALL
    commits = [
        version(number, hedged=number // 2, skipped=number in (1_500, 1_501)) for number in range(length)
    ]
    marks = history_of(commits).timeline.marks
    hedges = [mark.text for mark in marks if mark.row == "hedge"]
    assert len(hedges) <= MOST
    numbers = [int(text.split(" ×")[0].replace(",", "")) for text in hedges]
    assert sum(numbers) == (length - 1) // 2
    assert {*numbers[:-1]} == {numbers[0]}, "none stands for more than the others"
    assert [mark.text for mark in marks if mark.row == "skipped step"] == [
        "step 1,500 was not finite and left out",
        "step 1,501 was not finite and left out",
    ]


def test_reasons_of_merged_retries_are_added() -> None:
    def tried(number: int) -> Commit:
        account = Account(
            seconds=float(number), retries=number, failures={"Timeout": number // 2, "Busy": -(-number // 2)}
        )
        return version(number).model_copy(update={"account": account})

    marks = history_of([tried(number) for number in range(3 * MOST)]).timeline.marks
    first = next(mark.text for mark in marks if mark.row == "retry")
    assert first.startswith("4 × retry (2 × Busy, 2 × Timeout), versions 1 to 4,")


def test_a_short_job_is_drawn_whole() -> None:
    found = history_of([version(number) for number in range(KEEP_ALL + 1)])
    assert [each.version for each in found.commits] == list(range(1, KEEP_ALL + 1))
    assert len(found.warm) == KEEP_ALL - 3


def test_a_cell_that_moves_at_each_step_is_told_in_a_bounded_text() -> None:
    def texts(length: int) -> str:
        homes = Homes()
        for number in range(1, length):
            assert len(list(homes.take(version(number, nodes={0: f"node-{number % 2}"})))) == (number > 1)
        return homes.of(0)

    assert "then 480 moves more, at last node-0" in texts(501)
    assert len(texts(5_001)) < 1.1 * len(texts(501))


def test_a_sample_lies_evenly_among_all() -> None:
    sample = Sample[int]()
    for number in range(10_000):
        sample.add(number)
    steps = {after - before for before, after in zip(sample.items, sample.items[1:], strict=False)}
    assert KEEP_ALL / 2 <= len(sample.items) <= KEEP_ALL
    assert len(steps) == 1


def test_bars_are_means_of_equally_many() -> None:
    bars = Bars.of([(float(step), {"compute": float(step % 2), "read": 1.0}) for step in range(1, 121)])
    assert len(bars.means) == 60
    assert all(heights == {"compute": 0.5, "read": 1.0} for _, _, heights in bars.means)
    assert bars.means[0][:2] == (1.0, 3.0)


def test_extremes_of_values_that_are_alike_are_few() -> None:
    kept = Extremes[int](100_000)
    for number in range(100_000):
        kept.add(number, {"loss": 1.0})
    assert len(kept.items) <= BINS + 2
