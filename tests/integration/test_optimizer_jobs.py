"""Whole jobs with parameter groups, a layerwise optimiser, and schedules by epochs or by a loss."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers.functions import requests
from helpers.jobs import Crash, Place, Places, Simulation, tiny_job
from helpers.reference import Reference, mean_loss

from sapflow.algorithms.plateau import after_loss
from sapflow.algorithms.schedules import Schedule
from sapflow.errors import JobFailed
from sapflow.objects import keys
from sapflow.records.commits import Commit
from sapflow.records.plateau import PlateauState

NO_DECAY: dict[str, Any] = {"match": ["*.bias"], "weightDecay": 0, "learningRateFactor": 2}
GROUPED: dict[str, Any] = {
    "model_args": {"hidden": [48, 48]},
    "optimizer": {
        "name": "AdamW",
        "learningRate": 0.01,
        "weightDecay": 0.3,
        "clipNorm": 0.5,
        "groups": [NO_DECAY, {"match": ["*.weight"], "learningRateFactor": 0.5}],
    },
}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    return Places(tmp_path_factory.mktemp("jobs"))


def trained(places: Places, **changes: Any) -> tuple[Place, Simulation, str]:
    place = places.place(tiny_job(**changes))
    simulation = Simulation(place)
    return place, simulation, str(simulation.run()["sha256"])


def rates(place: Place) -> list[float | None]:
    """The learning rate of each version's step, the first version's first."""
    return [commit.measured.learning_rate for commit in list(place.commits())[1:]]


def rates_of(
    place: Place, schedule: Schedule, base: float, losses: Callable[[int], float | None]
) -> list[float]:
    """What the rates must be where `losses` gives the loss that is compared once a version is there."""
    state, found = PlateauState(), []
    for version in range(len(list(place.commits())) - 1):
        loss = losses(version)
        if loss is not None:
            state = after_loss(schedule, state, loss)
        found.append(base * state.factor)
    return found


class TestGroups:
    def test_the_weights_are_those_of_torch_s_parameter_groups(self, places: Places) -> None:
        place, _, _ = trained(places, **GROUPED)
        reference = Reference(place)
        module = reference.model()
        names = dict(module.named_parameters())
        optimizer = torch.optim.AdamW(
            [
                {
                    "params": [p for n, p in names.items() if n.endswith("bias")],
                    "weight_decay": 0,
                    "lr": 0.02,
                },
                {"params": [p for n, p in names.items() if n.endswith("weight")], "lr": 0.005},
            ],
            weight_decay=0.3,
        )
        for epoch, begin, end in reference.steps(5, 32):
            features, targets = reference.samples(epoch, begin, end)
            optimizer.zero_grad()
            mean_loss(module(features), targets).backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), 0.5)
            optimizer.step()
        reference.assert_equal(module)

    def test_every_number_of_shards_gives_the_same_bits(self, places: Places) -> None:
        one, two, three = (trained(places, **GROUPED, merge_shards=shards) for shards in (1, 2, 3))
        assert one[2] == two[2] == three[2]
        plain = {**GROUPED, "optimizer": {**GROUPED["optimizer"], "groups": None}}
        del plain["optimizer"]["groups"]
        assert trained(places, **plain)[2] != one[2]

    def test_a_shard_s_request_carries_its_own_ranges(self, places: Places) -> None:
        place, simulation, _ = trained(places, **GROUPED, merge_shards=3)
        names = sum(1 for entry in place.commit(0).layout if entry["kind"] == "parameter")
        applied = [each for each in requests(simulation.functions.log, "root") if each["phase"] == "apply"]
        for request in applied:
            ranges = request["update"]["ranges"]
            assert ranges[-1][0] == request["stop"] - request["start"]
            assert len(ranges) < names

    def test_jobs_without_groups_send_none(self, places: Places) -> None:
        _, simulation, _ = trained(places)
        for request in requests(simulation.functions.log, "root"):
            assert not {"groups", "ranges"} & request["update"].keys()

    @pytest.mark.parametrize("state", ["Reset", "Average"])
    def test_local_steps_of_one_worker_are_plain_steps_with_groups(self, places: Places, state: str) -> None:
        single: dict[str, Any] = {"workers": 1, "merge_structure": [1, 1], "data_batchSize": 20}
        grouped = {**GROUPED["optimizer"], "name": "SGD", "learningRate": 0.1}
        together, _, _ = trained(places, **single, optimizer=grouped, algorithm_steps=6)
        local, _, _ = trained(
            places,
            **single,
            optimizer=grouped,
            algorithm={"steps": 3, "seed": 3, "localSteps": 2, "localState": state},
        )
        module = Reference(together).model()
        weights = Reference(together).result()
        module.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
        Reference(local).assert_equal(module)

    def test_asynchronous_updates_go_by_groups(self, places: Places) -> None:
        single: dict[str, Any] = {"workers": 1, "merge_structure": [1, 1], **GROUPED}
        _, _, together = trained(places, **single)
        _, _, separate = trained(places, **single, algorithm_mode="Async")
        assert together == separate

    def test_a_pattern_without_parameters_ends_the_job_before_its_first_step(self, places: Places) -> None:
        place = places.place(tiny_job(optimizer_groups=[{"match": ["*.bais"], "weightDecay": 0}]))
        with pytest.raises(
            JobFailed, match=r"spec\.optimizer\.groups\[0\]\.match\[0\].*nearest names"
        ) as caught:
            Simulation(place).run()
        assert caught.value.reason == "InvalidSpec"
        assert not list(place.commits())


class TestLayerwise:
    CHANGES: dict[str, Any] = {
        "model_args": {"hidden": [48, 48]},
        "optimizer": {"name": "LAMB", "learningRate": 0.01, "weightDecay": 0.1, "groups": [NO_DECAY]},
    }

    def test_the_planner_gives_lamb_one_shard_whatever_the_tree(self, places: Places) -> None:
        free, _, _ = trained(places, **self.CHANGES, merge=None)
        assert (
            json.loads(bytes(free.store.read(keys.plan(keys.job(free.uid), free.commit(0).plan))))["shards"]
            == 1
        )
        _, _, tree = trained(places, **self.CHANGES)
        _, _, shard = trained(places, **self.CHANGES, merge_shards=1)
        assert tree == shard

    def test_the_loss_falls(self, places: Places) -> None:
        place, _, _ = trained(places, **self.CHANGES, algorithm_steps=20)
        losses = [commit.measured.loss for commit in list(place.commits())[1:]]
        assert losses[-1] is not None
        assert losses[0] is not None
        assert losses[-1] < 0.8 * losses[0]

    def test_workers_take_its_local_steps_whatever_the_shards(self, places: Places) -> None:
        changes = {**self.CHANGES, "algorithm_localSteps": 2}
        assert trained(places, **changes)[2] == trained(places, **changes, merge_shards=3)[2]


class TestEpochs:
    """120 samples and 32 a step make epochs of 4 steps."""

    def test_lengths_in_epochs_are_the_same_in_steps(self, places: Places) -> None:
        by_epochs, _, _ = trained(
            places,
            algorithm_steps=14,
            optimizer_schedule={"name": "Step", "stepEpochs": 1.5, "gamma": 0.5, "warmupEpochs": 0.5},
        )
        assert rates(by_epochs) == [0.05, *[0.1] * 7, *[0.05] * 6]

    def test_local_steps_count_them_too(self, places: Places) -> None:
        changes: dict[str, Any] = {"algorithm_localSteps": 2, "algorithm_steps": 6}
        schedule = {"name": "Step", "gamma": 0.5}
        place, _, by_epochs = trained(places, **changes, optimizer_schedule={**schedule, "stepEpochs": 1})
        assert rates(place) == [0.1, 0.1, 0.05, 0.05, 0.025, 0.025]
        assert by_epochs == trained(places, **changes, optimizer_schedule={**schedule, "stepSize": 4})[2]


class TestPlateau:
    TRAINING: dict[str, Any] = {
        "algorithm_steps": 14,
        "optimizer_schedule": {
            "name": "Plateau",
            "stepSize": 2,
            "patience": 0,
            "threshold": 0.1,
            "factor": 0.5,
        },
    }
    VALIDATION: dict[str, Any] = {
        "algorithm_steps": 10,
        "optimizer_schedule": {
            "name": "Plateau",
            "metric": "ValidationLoss",
            "patience": 0,
            "threshold": 0.2,
            "factor": 0.5,
        },
    }

    def test_the_rate_follows_the_committed_training_loss(self, places: Places) -> None:
        place, _, _ = trained(places, **self.TRAINING)
        schedule = place.job.schedule(4)
        measured = [commit.measured for commit in place.commits()]

        def losses(version: int) -> float | None:
            pair = measured[version - 1 : version + 1]
            if version == 0 or version % 2:
                return None
            return sum((one.loss or 0) * one.samples for one in pair) / sum(one.samples for one in pair)

        assert rates(place) == rates_of(place, schedule, 0.1, losses)
        assert len(set(rates(place))) > 2

    def test_the_rate_follows_the_validation_loss_however_late_that_is(self, places: Places) -> None:
        place = places.place(tiny_job(**self.VALIDATION))
        simulation = Simulation(place)
        simulation.functions.delay = lambda request: 40.0 if request["op"] == "evaluate" else 0.0
        sha256 = simulation.run()["sha256"]

        def losses(version: int) -> float | None:
            key = keys.evaluation(keys.job(place.uid), version)
            return json.loads(bytes(place.store.read(key)))["loss"] if version and version % 2 == 0 else None

        assert rates(place) == rates_of(place, place.job.schedule(4), 0.1, losses)
        assert len(set(rates(place))) > 1
        assert sha256 == trained(places, **self.VALIDATION)[2]

    def test_a_job_that_is_decided_meanwhile_ends(self, places: Places) -> None:
        changes = {
            **self.VALIDATION,
            "algorithm_steps": 40,
            "algorithm_target": {"metric": "loss", "value": 0.9},
        }
        place, _, _ = trained(places, **changes)
        outcome = json.loads(bytes(place.store.read(keys.result(keys.job(place.uid), "outcome.json"))))
        assert outcome["targetReached"]
        assert outcome["version"] == len(list(place.commits())) - 1 < 40

    @pytest.mark.parametrize("changes", [TRAINING, VALIDATION], ids=["training", "validation"])
    @pytest.mark.parametrize("how", ["before", "after", "cancel"])
    def test_a_driver_that_dies_anywhere_leaves_the_rates_and_the_weights(
        self, places: Places, changes: dict[str, Any], how: Any
    ) -> None:
        place, _, undisturbed = trained(places, **changes)
        states = [commit.plateau for commit in place.commits()]
        writes = 1 + len(list(place.commits())) + len(list(place.path.glob("jobs/*/evaluations/*")))
        for number in range(2, writes, 3):
            again = places.place(place.job)
            outcome = Simulation(again, crashes=[Crash(number, how)]).run()
            assert outcome["sha256"] == undisturbed
            assert [commit.plateau for commit in again.commits()] == states
            places.remove(again)

    def test_a_step_without_a_finite_loss_changes_nothing(self, places: Places) -> None:
        place, _, _ = trained(
            places,
            algorithm={"steps": 6, "seed": 3, "onNaN": "Skip"},
            limits_skippedSteps=6,
            optimizer={
                "name": "SGD",
                "learningRate": 1e30,
                "schedule": {"name": "Plateau", "stepSize": 1, "patience": 0},
            },
        )
        commits = list(place.commits())
        skipped = [commit for commit in commits if commit.skipped]
        assert skipped
        for commit in skipped:
            assert commit.plateau == commits[commit.version - 1].plateau

    def test_local_steps_go_by_the_committed_loss(self, places: Places) -> None:
        place, simulation, _ = trained(places, **{**self.TRAINING, "algorithm_localSteps": 2})
        factors = {
            request["version"]: request["scheduleFactor"]
            for request in requests(simulation.functions.log, "train")
        }
        assert [0.1 * factor for _, factor in sorted(factors.items())] == rates(place)
        assert len(set(rates(place))) > 1

    def test_asynchronous_commits_go_by_it(self, places: Places) -> None:
        single: dict[str, Any] = {"workers": 1, "merge_structure": [1, 1], **self.TRAINING}
        place, _, separate = trained(places, **single, algorithm_mode="Async")
        assert len(set(rates(place))) > 1
        assert separate == trained(places, **single)[2]

    def test_the_state_is_part_of_a_commit_s_identity_and_of_no_other_job_s(self, places: Places) -> None:
        place, _, _ = trained(places, **self.TRAINING)
        commit = place.commit(3)
        assert commit.plateau is not None
        other = commit.model_copy(update={"plateau": commit.plateau.model_copy(update={"factor": 0.25})})
        assert other.digest != commit.digest
        plain, simulation, _ = trained(places)
        assert all("plateau" not in each.body() for each in plain.commits())
        assert all("scheduleFactor" not in each for each in requests(simulation.functions.log, "train"))


def test_a_reader_of_commits_knows_the_state() -> None:
    body: dict[str, Any] = {"factor": 0.5, "best": 0.25, "bad": 1, "loss": 0.0, "samples": 0, "updates": 0}
    commit = Commit.model_validate(
        {
            "version": 1, "id": "a", "previous": "b", "plan": "c", "slots": [], "params": [], "optimizer": [],
            "sizes": {"parameters": 1, "averaged": 0, "block": 1024}, "plateau": body,
        }
    )  # fmt: skip
    assert commit.body()["plateau"] == body
