"""Evaluations beside the steps: whatever order they end in, and wherever a driver dies, the result is the same."""

import asyncio
import json
import math
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import pytest
from helpers.jobs import tiny_job
from hypothesis import given, settings
from hypothesis import strategies as st

from sapflow.data.manifest import Manifest
from sapflow.driver.evaluations import Evaluations
from sapflow.driver.judgement import Judgement
from sapflow.driver.keeper import Keeper
from sapflow.errors import JobFailed
from sapflow.messages.documents import Document
from sapflow.messages.replies import EvaluateReply
from sapflow.messages.requests import EvaluateRequest
from sapflow.messages.vectors import Part, Sizes
from sapflow.objects import keys
from sapflow.objects.stores.factory import open_store
from sapflow.records.commits import Commit, Plan, Records
from sapflow.spec.training_job import TrainingJob
from sapflow.steps.calls import Caller
from sapflow.steps.context import Context
from sapflow.steps.leftovers import Leftovers
from sapflow.steps.observer import Observer

MANIFEST = Manifest(
    source="set", task="classification", shape=(4,), dtype="float32", target_shape=(), classes=3,
    train=(120,), validation=(100,),
)  # fmt: skip
SIZES = Sizes(parameters=1, averaged=0, block=1)


class Workers:
    """Answers an evaluation when it is told to, with the accuracy that the version has."""

    def __init__(self, accuracies: Mapping[int, float]) -> None:
        self._accuracies = accuracies
        self._asked: dict[int, asyncio.Event] = defaultdict(asyncio.Event)
        self.calls: list[int] = []

    async def call(self, role: str, request: EvaluateRequest, kind: type[EvaluateReply]) -> EvaluateReply:
        assert (role, kind) == ("worker", EvaluateReply)
        self.calls.append(request.version)
        await self._asked[request.version].wait()
        accuracy = self._accuracies[request.version]
        if accuracy < 0:
            raise JobFailed("out of memory", reason="OutOfMemory", version=request.version)
        sums = {"loss": 50.0, "accuracy": 100 * accuracy, "macroF1.true.0": 100.0}
        texts = {name: value.hex() for name, value in sums.items()}
        return EvaluateReply(done=True, position=100, samples=100, sums=texts)

    def answer(self, version: int) -> None:
        self._asked[version].set()


class Heard(Observer):
    def __init__(self) -> None:
        self.found: list[tuple[int, dict[str, float]]] = []
        self._events: dict[int, asyncio.Event] = defaultdict(asyncio.Event)

    def evaluated(self, version: int, metrics: Mapping[str, float]) -> None:
        self.found.append((version, dict(metrics)))
        self._events[version].set()

    async def of(self, version: int) -> None:
        """Wait until a version is evaluated."""
        await self._events[version].wait()


class OneDriver:
    """What a driver has of evaluations and objects, over a store that outlives it."""

    def __init__(self, path: Path, job: TrainingJob, accuracies: Mapping[int, float]) -> None:
        self.store, self.prefix = open_store(str(path)), keys.job("j")
        self.records = Records(self.store, self.prefix)
        plan = Plan(structure=(1, job.spec.workers), shards=1)
        self.store.create(keys.plan(self.prefix, "p"), json.dumps(plan.body()).encode())
        self.workers, self.heard = Workers(accuracies), Heard()
        context = Context(
            "j", self.prefix, job, MANIFEST, self.store, self.records, cast(Caller, self.workers), self.heard,
            Document.of("spec", b"{}"), Document.of("manifest", b"{}"),
        )  # fmt: skip
        self.keeper = Keeper(self.store, self.records, self.prefix, job.spec.checkpoint)
        self.evaluations = Evaluations(context, self.keeper)
        self.last: Commit | None = None

    def commit(self, version: int) -> Commit:
        """Make and commit the next version, as the driver's walk does."""
        names = [f"{self.prefix}{kind}/{version}-x" for kind in ("params", "optimizer")]
        for name in names:
            self.store.create(name, b"x")
        params, optimizer = ([Part(key=name, start=0, stop=1)] for name in names)
        commit = Commit(
            version=version, id="x", previous="", plan="p", sizes=SIZES, slots=["m"], params=params,
            optimizer=optimizer, kept=self.keeper.kept, judged=self.evaluations.judged,
        )  # fmt: skip
        self.store.create(keys.commit(self.prefix, version), commit.encode())
        if self.last is not None:
            self.keeper.superseded(self.last, commit, Leftovers())
        self.last = commit
        return commit

    async def go_on(self) -> None:
        """Take over from an earlier driver."""
        self.last = await self.records.last()
        assert self.last is not None
        version = self.last.version
        for each in sorted({*self.last.kept, max(0, version - 1), version}):
            commit = await self.records.commit(each)
            if commit is not None:
                await self.keeper.inherit(commit, Leftovers(), self.last)
        await self.evaluations.recover(self.last)
        self.keeper.collect()

    async def finish(self, version: int) -> None:
        """Let an evaluation end, and wait until it is taken in."""
        self.workers.answer(version)
        await self.heard.of(version)


FIGURES = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, math.nan])


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[float], list[int], int, int]:
    """Accuracies of versions 1, 2, …; the order in which evaluations end; how many have when the first driver dies, and
    how many versions it has committed by then."""
    accuracies = draw(st.lists(FIGURES, min_size=1, max_size=8))
    order = draw(st.permutations(range(1, len(accuracies) + 1)))
    committed = draw(st.integers(1, len(accuracies)))
    return accuracies, list(order), draw(st.integers(0, len(accuracies))), committed


@settings(max_examples=60, deadline=None)
@given(
    history=histories(),
    target=st.sampled_from([None, 0.75]),
    best=st.booleans(),
    patience=st.sampled_from([None, 1, 2]),
)
def test_the_result_is_that_of_versions_in_order_and_its_objects_are_there(
    history: tuple[list[float], list[int], int, int], target: float | None, best: bool, patience: int | None
) -> None:
    figures, order, ended, committed = history
    accuracies = dict(enumerate(figures, start=1))
    changes: dict[str, Any] = {"evaluation_everySteps": 1}
    if target is not None:
        changes["algorithm_targetAccuracy"] = target
    if best:
        changes["evaluation_keepBest"] = "accuracy"
    if patience is not None:
        changes["algorithm_earlyStopping"] = {"metric": "accuracy", "patience": patience}
    job = tiny_job(**changes)
    judgement = Judgement(job.spec)
    for version, accuracy in accuracies.items():
        judgement.judge(version, {"accuracy": accuracy, "loss": 0.5})
    wanted = judgement.choice(len(accuracies))

    async def story(path: Path) -> None:
        first = OneDriver(path, job, accuracies)
        for version in range(committed + 1):
            commit = first.commit(version)
            if first.evaluations.due(version):
                first.evaluations.start(commit)
        for version in order[:ended]:
            if version <= committed:
                await first.finish(version)
        await first.evaluations.close()
        await first.keeper.settle()

        second = OneDriver(path, job, accuracies)
        await second.go_on()
        last = second.last
        assert last is not None
        for version in range(committed + 1, len(accuracies) + 1):
            if second.evaluations.decided:
                break
            last = second.commit(version)
            second.evaluations.start(last)
        for version in order:
            second.workers.answer(version)
        await second.evaluations.settle()
        chosen = second.evaluations.chosen(last)
        assert (chosen.version, second.evaluations.choice(last).by) == (wanted.version, wanted.by)
        await second.keeper.settle()
        for part in (*chosen.params, *chosen.optimizer):
            assert second.store.exists(part.key)
        second.evaluations.release_all_but(chosen)
        await second.keeper.settle()
        for version in range(last.version):
            exists = second.store.exists(f"{second.prefix}params/{version}-x")
            assert exists == (version == chosen.version), f"version {version}"

    with TemporaryDirectory() as folder:
        asyncio.run(story(Path(folder)))


def test_an_evaluation_is_recorded_once_and_told_with_all_metrics(tmp_path: Path) -> None:
    job = tiny_job(evaluation_everySteps=1)

    async def story() -> OneDriver:
        driver = OneDriver(tmp_path, job, {1: 0.5})
        driver.evaluations.start(driver.commit(1))
        driver.workers.answer(1)
        await driver.evaluations.settle()
        driver.evaluations.start(driver.last or driver.commit(1))
        await driver.evaluations.settle()
        return driver

    driver = asyncio.run(story())
    record = json.loads(bytes(driver.store.read(keys.evaluation(driver.prefix, 1))))
    assert record == {
        "version": 1, "samples": 100, "loss": 0.5, "accuracy": 0.5, "metrics": {"macroF1": 0.0},
    }  # fmt: skip
    assert driver.workers.calls == [1]
    assert driver.heard.found == [(1, {"loss": 0.5, "accuracy": 0.5, "macroF1": 0.0})]


def test_versions_are_held_whole_until_they_are_judged_and_only_candidates_longer(tmp_path: Path) -> None:
    job = tiny_job(evaluation_everySteps=1, evaluation_keepBest="accuracy")

    async def story() -> list[list[int]]:
        driver = OneDriver(tmp_path, job, {1: 0.5, 2: 0.75, 3: 0.25})
        for version in range(5):
            commit = driver.commit(version)
            if 0 < version < 4:
                driver.evaluations.start(commit)
        found = [driver.keeper.kept]
        for version in (2, 1, 3):
            await driver.finish(version)
            await driver.keeper.settle()
            found.append(driver.keeper.kept)
        await driver.evaluations.close()
        return found

    assert asyncio.run(story()) == [[0, 1, 2, 3], [1, 2, 3], [2, 3], [2]]


@pytest.mark.parametrize("settings", [{}, {"evaluation_keepBest": "accuracy"}])
def test_a_driver_that_goes_on_reads_no_evaluation_that_was_judged_and_keeps_few_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    versions = 60
    accuracies = {version: 0.9 if version == 7 else 0.5 for version in range(1, versions + 1)}
    job = tiny_job(evaluation_everySteps=1, **settings)
    read: list[str] = []
    plain = Records.read

    async def counted(records: Records, key: str) -> Any:
        read.append(key)
        return await plain(records, key)

    async def story() -> None:
        driver = OneDriver(tmp_path, job, accuracies)
        driver.commit(0)
        for version in range(1, versions + 1):
            driver.evaluations.start(driver.commit(version))
            await driver.finish(version)
            assert len(driver.evaluations.metrics) <= 2
        monkeypatch.setattr(Records, "read", counted)
        second = OneDriver(tmp_path, job, accuracies)
        await second.go_on()
        asked = [key for key in read if "/evaluations/" in key]
        # The newest one that the last commit knows to be judged, and the one after it.
        assert len(asked) <= 2
        assert [version for version, _ in second.heard.found] == [versions - 1, versions]
        assert second.last is not None
        assert second.evaluations.chosen(second.last).version == (7 if settings else versions)
        assert (await second.evaluations.metrics_of(7))["accuracy"] == 0.9
        assert await second.evaluations.loss_of(versions) == 0.5
        assert second.workers.calls == []

    asyncio.run(story())


def test_an_evaluation_that_fails_is_raised_unless_the_result_is_decided(tmp_path: Path) -> None:
    job = tiny_job(evaluation_everySteps=1, algorithm_targetAccuracy=0.5)

    async def story(accuracies: dict[int, float], answers: list[int], path: Path) -> OneDriver:
        driver = OneDriver(path, job, accuracies)
        for version in accuracies:
            driver.evaluations.start(driver.commit(version))
        for version in answers:
            await driver.finish(version)
        for version in accuracies:
            driver.workers.answer(version)
        if under_way := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(under_way)
        driver.evaluations.check()
        await driver.evaluations.settle()
        return driver

    with pytest.raises(JobFailed, match="out of memory"):
        asyncio.run(story({1: -1.0}, [], tmp_path / "a"))
    assert asyncio.run(story({1: 0.5, 2: -1.0}, [1], tmp_path / "b")).evaluations.reached


def test_versions_are_due_at_every_so_many_steps_once_an_epoch_and_at_the_end(tmp_path: Path) -> None:
    def due(**changes: Any) -> list[int]:
        evaluations = OneDriver(tmp_path, tiny_job(**changes), {}).evaluations
        return [version for version in range(13) if evaluations.due(version)]

    assert due(evaluation_everySteps=5) == [5, 10]
    assert due(evaluation_everySteps=None) == [4, 8, 12]
    evaluations = OneDriver(tmp_path, tiny_job(evaluation_everySteps=5), {}).evaluations
    assert evaluations.due(7, final=True)
    assert not evaluations.due(0, final=True)
