"""How a job ends: at its target, at its limits, at numbers that are not finite, with what it leaves each time."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from helpers.functions import Fault, requests
from helpers.jobs import Crash, Place, Places, Simulation, tiny_job
from helpers.reference import Reference
from helpers.tapped_store import Write

from sapflow.errors import JobFailed, StoreUnavailable
from sapflow.messages.vectors import Part
from sapflow.objects import contribution, keys
from sapflow.records.commits import Account
from sapflow.spec.document import parse
from sapflow.steps.observer import Observer


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    return Places(tmp_path_factory.mktemp("jobs"))


def with_limits(place: Place, **limits: Any) -> Place:
    """The same job with other limits."""
    document = place.job.to_json()
    document["spec"]["limits"] = {"retries": 100, **limits}
    return dataclasses.replace(place, job=parse(document))


def read_checkpoint(place: Place, version: int) -> dict[str, np.ndarray]:
    """Parameters and optimiser state of a checkpoint, through what its record names alone."""
    body = json.loads(bytes(place.store.read(keys.checkpoint(keys.job(place.uid), version))))
    sizes, found = body["sizes"], {}
    for name, count, rows in (
        ("params", sizes["parameters"] + sizes["averaged"], 1),
        ("optimizer", sizes["parameters"], len(body["slots"])),
    ):
        if body[name]:
            vector = np.empty((rows, count), np.float32)
            parts = [Part.model_validate(part) for part in body[name]]
            contribution.read_range(place.store, parts, 0, count, vector, rows=rows)
            found[name] = vector
    return found


def evaluations(place: Place) -> dict[int, float]:
    """Accuracy of every evaluated version."""
    names = [name for name in place.listing() if name.startswith("evaluations/")]
    bodies = [json.loads(bytes(place.store.read(keys.job(place.uid) + name))) for name in names]
    return {body["version"]: body["accuracy"] for body in bodies}


class TestTarget:
    CHANGES: dict[str, Any] = {"algorithm_steps": 12, "evaluation_everySteps": 2}

    def target(self, places: Places) -> tuple[float, int]:
        """An accuracy that some version before the last is the first to reach, and that version."""
        place = places.place(tiny_job(**self.CHANGES))
        Simulation(place).run()
        accuracies = sorted(evaluations(place).items())
        best = max(accuracy for version, accuracy in accuracies if version <= 8)
        return best, next(version for version, accuracy in accuracies if accuracy >= best)

    def test_the_first_version_in_order_wins_although_later_ones_were_committed_and_judged_before_it(
        self, places: Places
    ) -> None:
        accuracy, version = self.target(places)
        place = places.place(tiny_job(**self.CHANGES, algorithm_targetAccuracy=accuracy))
        simulation = Simulation(place)
        simulation.functions.delay = lambda request: (
            900.0 if request["op"] == "evaluate" and request["version"] == version else 0.0
        )
        outcome = simulation.run()
        assert (outcome["version"], outcome["targetReached"]) == (version, True)
        assert len(list(place.commits())) == 13
        assert any(later > version for later in evaluations(place))
        assert set(read_checkpoint(place, version)) == {"params", "optimizer"}

    def test_training_stops_once_the_target_is_reached(self, places: Places) -> None:
        accuracy, version = self.target(places)
        changes = {**self.CHANGES, "algorithm_steps": 500}
        place = places.place(tiny_job(**changes, algorithm_targetAccuracy=accuracy))
        outcome = Simulation(place).run()
        assert outcome["version"] == version
        assert len(list(place.commits())) < 20
        kept = {name.split("/")[1].partition("-")[0] for name in place.listing() if name.startswith("params")}
        assert kept == {str(version), str(len(list(place.commits())) - 1)}

    def test_a_driver_that_comes_after_the_target_was_reached_gives_the_same_version(
        self, places: Places
    ) -> None:
        accuracy, version = self.target(places)
        job = tiny_job(**{**self.CHANGES, "algorithm_steps": 500}, algorithm_targetAccuracy=accuracy)
        for number in range(20, 60, 4):
            place = places.place(job)
            assert Simulation(place, crashes=[Crash(number, "after")]).run()["version"] == version

    def test_a_target_that_is_never_reached_gives_the_last_version(self, places: Places) -> None:
        place = places.place(tiny_job(algorithm_targetAccuracy=1.0, algorithm_steps=3))
        outcome = Simulation(place).run()
        assert (outcome["version"], outcome["targetReached"]) == (3, False)


class TestNotFinite:
    @pytest.mark.parametrize("shards", [1, 2])
    def test_the_job_fails_with_the_step_and_a_checkpoint_that_loads(
        self, places: Places, shards: int
    ) -> None:
        place = places.place(
            tiny_job(optimizer_learningRate=1e30, merge_shards=shards, model_args={"hidden": [32, 32]})
        )
        with pytest.raises(JobFailed) as caught:
            Simulation(place).run()
        good = caught.value.version
        assert caught.value.reason == "NotFinite"
        assert f"step {good + 1}" in str(caught.value)
        assert f"version {good} is the last good checkpoint" in str(caught.value)
        checkpoint = read_checkpoint(place, good)
        assert set(checkpoint) == {"params", "optimizer"}
        assert np.isfinite(checkpoint["params"]).all()
        assert not place.store.exists(keys.commit(keys.job(place.uid), good + 1))
        failure = json.loads(bytes(place.store.read(keys.failure(keys.job(place.uid), good))))
        assert (failure["reason"], failure["version"]) == ("NotFinite", good)

    @pytest.mark.parametrize("shards", [1, 2])
    def test_skipped_steps_leave_the_version_before_and_training_goes_on(
        self, places: Places, shards: int
    ) -> None:
        place = places.place(
            tiny_job(
                model_name=None,
                model_entrypoint="helpers.models:brittle",
                model_args={"limit": 2.3},
                algorithm_onNaN="Skip",
                limits_skippedSteps=8,
                algorithm_steps=8,
                data_batchSize=2,
                merge_shards=1,
                optimizer_learningRate=0.01 * shards,
            )
        )
        Simulation(place).run()
        commits = list(place.commits())
        skipped = [commit for commit in commits if commit.skipped]
        assert 0 < len(skipped) < 8
        for commit in skipped:
            before = commits[commit.version - 1]
            assert (commit.params, commit.optimizer) == (before.params, before.optimizer)
            assert commit.updates == before.updates
            assert commit.cursor != before.cursor
        assert commits[-1].updates == 8 - len(skipped)
        assert commits[-1].skips == len(skipped)
        assert all(np.isfinite(value).all() for value in Reference(place).result().values())
        kept = [name for name in place.listing() if name.startswith(("params", "optimizer", "work"))]
        assert len(kept) == 2

    def test_skipping_is_the_same_with_shards_and_after_a_crash(self, places: Places) -> None:
        changes: dict[str, Any] = {
            "algorithm_onNaN": "Skip",
            "limits_skippedSteps": 100,
            "optimizer_learningRate": 1e30,
            "model_args": {"hidden": [32, 32]},
        }
        shas = {
            Simulation(places.place(tiny_job(**changes, merge_shards=shards)), crashes=crashes).run()[
                "sha256"
            ]
            for shards in (1, 2)
            for crashes in ([], [Crash(7, "after")], [Crash(9, "before")])
        }
        assert len(shas) == 1


class TestLimits:
    def test_a_spent_budget_stops_with_a_checkpoint_and_a_higher_one_goes_on(self, places: Places) -> None:
        job = tiny_job(algorithm_steps=8)
        undisturbed = places.place(job)
        whole = Simulation(undisturbed).run()
        budget = whole["account"]["costUSD"] / 2
        place = with_limits(places.place(job), budgetUSD=budget)
        with pytest.raises(JobFailed) as caught:
            Simulation(place).run()
        assert caught.value.reason == "BudgetExceeded"
        stopped = caught.value.version
        assert 0 < stopped < 8
        assert set(read_checkpoint(place, stopped)) == {"params", "optimizer"}
        with pytest.raises(JobFailed, match="budgetUSD"):
            Simulation(place).run()
        assert len(list(place.commits())) == stopped + 1
        outcome = Simulation(with_limits(place, budgetUSD=1.0)).run()
        assert outcome["sha256"] == whole["sha256"]
        assert place.listing() == undisturbed.listing()
        resumed = [commit.measured.resumed for commit in place.commits()]
        assert resumed == [None] * (stopped + 1) + ["BudgetExceeded"] + [None] * (7 - stopped)

    def test_a_deadline_counts_what_earlier_drivers_took(self, places: Places) -> None:
        place = places.place(tiny_job())
        late = with_limits(place, deadlineSeconds=5)
        with pytest.raises(JobFailed) as caught:
            Simulation(late, account=Account(seconds=7.0)).run()
        assert (caught.value.reason, caught.value.version) == ("DeadlineExceeded", 0)
        with pytest.raises(JobFailed, match="deadlineSeconds"):
            Simulation(late).run()
        outcome = Simulation(with_limits(place, deadlineSeconds=3600)).run()
        assert outcome["account"]["seconds"] > 7

    def test_a_step_that_never_ends_ends_the_job_at_its_deadline_with_the_last_checkpoint(
        self, places: Places
    ) -> None:
        whole = Simulation(places.place(tiny_job())).run()
        place = places.place(tiny_job())
        simulation = Simulation(with_limits(place, deadlineSeconds=60))

        def delay(request: Mapping[str, Any]) -> float:
            return 1e6 if request["op"] == "train" and place.store.exists(stuck) else 0.0

        stuck = keys.commit(keys.job(place.uid), 2)
        simulation.functions.delay = delay
        with pytest.raises(JobFailed, match="is reached after step 2, which is kept") as caught:
            simulation.run()
        assert (caught.value.reason, caught.value.version) == ("DeadlineExceeded", 2)
        assert set(read_checkpoint(place, 2)) == {"params", "optimizer"}
        assert Simulation(with_limits(place, deadlineSeconds=3600)).run()["sha256"] == whole["sha256"]

    def test_a_job_that_never_gets_a_first_version_ends_soon_after_its_deadline(self, places: Places) -> None:
        place = places.place(tiny_job())
        simulation = Simulation(with_limits(place, deadlineSeconds=60))
        simulation.functions.delay = lambda request: 1e6
        with pytest.raises(JobFailed, match="before the first version") as caught:
            simulation.run()
        assert (caught.value.reason, caught.value.version) == ("DeadlineExceeded", -1)

    def test_drivers_that_die_within_one_step_again_and_again_reach_the_deadline(
        self, places: Places
    ) -> None:
        place = places.place(tiny_job())
        job = with_limits(place, deadlineSeconds=60)
        for seconds in (25.0, 50.0, 75.0):
            # What a driver wrote that died later within the first step.
            place.store.delete([keys.running_time(keys.job(place.uid), 0)])
            place.store.create(
                keys.running_time(keys.job(place.uid), 0), json.dumps({"seconds": seconds}).encode()
            )
        with pytest.raises(JobFailed) as caught:
            Simulation(job).run()
        assert (caught.value.reason, caught.value.version) == ("DeadlineExceeded", 0)

    def test_a_function_that_fails_for_good_fails_the_job_naming_itself(self, places: Places) -> None:
        place = with_limits(places.place(tiny_job()), retries=2)
        faults = {number: Fault("refuse") for number in range(9, 300)}
        with pytest.raises(JobFailed, match="after 3 tries") as caught:
            Simulation(place, faults).run()
        assert caught.value.reason == "InstanceLost"
        assert caught.value.version == 1
        assert Simulation(place).run()["version"] == 5
        assert place.commit(2).measured.resumed == "InstanceLost"

    def test_a_commit_tells_what_failed_while_its_version_was_made(self, places: Places) -> None:
        place = places.place(tiny_job())
        outcome = Simulation(place, {9: Fault("refuse"), 10: Fault("refuse")}).run()
        told = [commit.account.failures for commit in place.commits()]
        assert told == [None, None, *[{"InstanceLost": 2}] * 4]
        assert outcome["account"]["failures"] == {"InstanceLost": 2}

    def test_a_commit_of_which_no_answer_came_leaves_no_failure_behind(self, places: Places) -> None:
        place = places.place(tiny_job())

        def away(write: Write, after: bool) -> None:
            if after and write.key == keys.commit(keys.job(place.uid), 3):
                raise StoreUnavailable("no answer came")

        with pytest.raises(StoreUnavailable):
            Simulation(place, driver_failpoint=away).run()
        assert place.store.exists(keys.failure(keys.job(place.uid), 2))
        Simulation(place).run()
        assert not any(name.startswith("failures/") for name in place.listing())
        assert place.commit(4).measured.resumed == "StoreUnavailable"

    def test_a_failure_that_was_written_in_part_does_not_keep_the_job_from_going_on(
        self, places: Places
    ) -> None:
        place = with_limits(places.place(tiny_job()), budgetUSD=1e-12)
        with pytest.raises(JobFailed, match="budgetUSD"):
            Simulation(place).run()
        key = keys.failure(keys.job(place.uid), 0)
        place.store.delete([key])
        place.store.create(key, b"")
        Simulation(with_limits(place, budgetUSD=1.0)).run()
        assert place.commit(1).measured.resumed == "Interrupted"
        assert not place.store.exists(key)

    def test_work_that_never_fits_the_time_limit_fails_the_job_naming_the_limit(self, places: Places) -> None:
        place = with_limits(places.place(tiny_job()), retries=1, invocationSeconds=3)
        faults = {number: Fault("silent") for number in range(1, 300)}
        with pytest.raises(JobFailed, match=r"spec\.limits\.invocationSeconds \(3\)"):
            Simulation(place, faults).run()


class TestCheckpoints:
    def test_the_newest_are_kept_and_the_others_go(self, places: Places) -> None:
        place = places.place(tiny_job(algorithm_steps=9, checkpoint_everySteps=2, checkpoint_keep=2))
        Simulation(place).run()
        checkpoints = [name for name in place.listing() if name.startswith("checkpoints/")]
        assert checkpoints == ["checkpoints/6.json", "checkpoints/8.json", "checkpoints/9.json"]
        for version in (6, 8, 9):
            assert set(read_checkpoint(place, version)) == {"params", "optimizer"}
        kept = {name.split("/")[1].partition("-")[0] for name in place.listing() if name.startswith("params")}
        assert kept == {"6", "8", "9"}

    def test_other_settings_in_a_later_run_hold_for_what_an_earlier_one_kept(self, places: Places) -> None:
        place = places.place(tiny_job(algorithm_steps=9, checkpoint_everySteps=1, checkpoint_keep=5))
        with pytest.raises(JobFailed):
            Simulation(
                with_limits(place, retries=0), {number: Fault("refuse") for number in range(50, 60)}
            ).run()
        document = place.job.to_json()
        document["spec"]["checkpoint"] = {"everySteps": 4, "keep": 1}
        Simulation(dataclasses.replace(place, job=parse(document))).run()
        checkpoints = [name for name in place.listing() if name.startswith("checkpoints/")]
        assert checkpoints == ["checkpoints/8.json", "checkpoints/9.json"]
        kept = {name.split("/")[1].partition("-")[0] for name in place.listing() if name.startswith("params")}
        assert kept == {"8", "9"}


class TestStragglers:
    def test_one_is_hedged_by_a_second_invocation_and_the_answer_that_comes_first_counts(
        self, places: Places
    ) -> None:
        hedged: list[tuple[str, int]] = []

        class Watching(Observer):
            def hedged(self, role: str, op: str, version: int) -> None:
                hedged.append((op, version))

        place = places.place(tiny_job())
        simulation = Simulation(place, {16: Fault("slow", seconds=250.0)}, observer=Watching())
        outcome = simulation.run()
        straggler = simulation.functions.log[16].request
        twins = [
            one
            for one in requests(simulation.functions.log, straggler["op"])
            if {**one, "attempt": 0} == {**straggler, "attempt": 0}
        ]
        assert len(twins) == 2
        assert hedged == [(straggler["op"], straggler["version"])]
        assert outcome["account"]["hedges"] == 1
        assert outcome["sha256"] == Simulation(places.place(tiny_job())).run()["sha256"]

    def test_a_hedge_that_fails_does_not_lose_the_first(self, places: Places) -> None:
        place = with_limits(places.place(tiny_job()), retries=0)
        slow = {16: Fault("slow", seconds=20.0)}
        before = Simulation(places.place(tiny_job()), slow)
        before.run()
        straggler = before.functions.log[16].request
        twin = next(
            number
            for number, one in enumerate(before.functions.log)
            if number > 16 and {**one.request, "attempt": 0} == {**straggler, "attempt": 0}
        )
        outcome = Simulation(place, {**slow, twin: Fault("refuse")}).run()
        assert outcome["account"]["hedges"] == 1
        assert outcome["account"]["retries"] == 0
