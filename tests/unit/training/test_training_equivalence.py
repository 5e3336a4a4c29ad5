"""Distributed training comes to what plain torch comes to, and to the same bits however it is cut."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from helpers.functions import requests
from helpers.jobs import Crash, Place, Places, Simulation, tiny_job
from helpers.reference import OPTIMIZERS, Reference, mean_loss, split
from torch import nn

from sapflow.training.loaded import micro_seed


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    return Places(tmp_path_factory.mktemp("jobs"))


def trained(places: Places, **changes: Any) -> Place:
    place = places.place(tiny_job(**changes))
    Simulation(place).run()
    return place


def sha256(places: Places, *, hurry: float = 0.0, seed: int = 0, **changes: Any) -> str:
    return str(Simulation(places.place(tiny_job(**changes)), hurry=hurry, seed=seed).run()["sha256"])


def assert_close(one: Place, other: Place) -> None:
    first, second = Reference(one).result(), Reference(other).result()
    for name, value in first.items():
        np.testing.assert_allclose(value, second[name], rtol=1e-4, atol=1e-5, err_msg=name)


class TestOneProcess:
    """n workers of batch b against one process with batch n·b."""

    STEPS = 9

    @pytest.mark.parametrize("name", OPTIMIZERS)
    def test_each_optimizer(self, places: Places, name: str) -> None:
        rate = 0.01 if name.startswith(("Ada", "RMS")) else 0.1
        place = trained(places, optimizer_name=name, optimizer_learningRate=rate, algorithm_steps=self.STEPS)
        reference = Reference(place)
        module = reference.model()
        optimizer = reference.optimizer(module)
        for epoch, begin, end in reference.steps(self.STEPS, 32):
            features, targets = reference.samples(epoch, begin, end)
            optimizer.zero_grad()
            mean_loss(module(features), targets).backward()
            optimizer.step()
        reference.assert_equal(module)

    def test_weight_decay_clipping_and_a_schedule(self, places: Places) -> None:
        warmup, low = 3, 0.2
        place = trained(
            places,
            algorithm_steps=self.STEPS,
            optimizer_weightDecay=0.05,
            optimizer_clipNorm=0.4,
            optimizer_schedule={"name": "Cosine", "warmupSteps": warmup, "minFactor": low},
        )
        reference = Reference(place)
        module = reference.model()
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.SequentialLR(
            optimizer,
            [
                torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (step + 1) / warmup),
                torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.STEPS - warmup, eta_min=low * 0.1),
            ],
            [warmup],
        )
        for epoch, begin, end in reference.steps(self.STEPS, 32):
            features, targets = reference.samples(epoch, begin, end)
            optimizer.zero_grad()
            mean_loss(module(features), targets).backward()
            nn.utils.clip_grad_norm_(module.parameters(), 0.4)
            optimizer.step()
            schedule.step()
        reference.assert_equal(module)

    @pytest.mark.parametrize(
        ("workers", "structure", "batch"),
        [(5, [1, 2, 3, 5], 7), (7, [1, 3, 7], 17), (1, [1, 1], 50), (3, [1, 3], 11)],
    )
    def test_uneven_trees_and_last_steps_with_fewer_samples_than_workers(
        self, places: Places, workers: int, structure: list[int], batch: int
    ) -> None:
        place = places.place(
            tiny_job(workers=workers, merge_structure=structure, data_batchSize=batch, algorithm_steps=6)
        )
        simulation = Simulation(place)
        simulation.run()
        reference = Reference(place)
        module = reference.model()
        optimizer = reference.optimizer(module)
        invoked = 0
        for epoch, begin, end in reference.steps(6, workers * batch):
            features, targets = reference.samples(epoch, begin, end)
            invoked += min(workers, end - begin)
            optimizer.zero_grad()
            mean_loss(module(features), targets).backward()
            optimizer.step()
        reference.assert_equal(module)
        assert len(requests(simulation.functions.log, "train")) == invoked


class TestSameSplit:
    """Models with batch statistics or dropout against plain torch over the same split among workers."""

    @pytest.mark.parametrize("micro", [8, 3])
    def test_batch_norm_and_dropout(self, places: Places, micro: int) -> None:
        workers, batch, steps = 4, 8, 6
        place = trained(
            places,
            model_args={"hidden": [8], "batchNorm": True, "dropout": 0.25},
            data_microBatchSize=micro,
            algorithm_steps=steps,
        )
        reference = Reference(place)
        module = reference.model()
        optimizer = reference.optimizer(module)
        for step, (epoch, begin, end) in enumerate(reference.steps(steps, workers * batch)):
            parts, weights = [], []
            for rank, (first, stop) in enumerate(split(begin, end, workers)):
                part = copy.deepcopy(module)
                part.zero_grad()
                for number, at in enumerate(range(first, stop, micro)):
                    features, targets = reference.samples(epoch, at, min(at + micro, stop))
                    torch.manual_seed(micro_seed(reference.seed, step + 1, rank, number))
                    nn.functional.cross_entropy(part(features), targets, reduction="sum").backward()
                parts.append(part)
                weights.append(stop - first)
            for name, parameter in module.named_parameters():
                gradients = [dict(part.named_parameters())[name].grad for part in parts]
                parameter.grad = torch.stack([g for g in gradients if g is not None]).sum(0) / sum(weights)
            optimizer.step()
            with torch.no_grad():
                for name, buffer in module.named_buffers():
                    theirs = [dict(part.named_buffers())[name] for part in parts]
                    if buffer.dtype.is_floating_point:
                        weighted = [w * value for w, value in zip(weights, theirs, strict=True)]
                        buffer.copy_(torch.stack(weighted).sum(0) / sum(weights))
                    else:
                        buffer.copy_(theirs[0])
        reference.assert_equal(module)

    def test_a_model_that_replaces_its_buffers(self, places: Places) -> None:
        place = trained(
            places,
            model_name=None,
            model_entrypoint="helpers.models:replacing",
            model_args={},
            algorithm_steps=3,
        )
        reference = Reference(place)
        mean = torch.zeros(4)
        for epoch, begin, end in reference.steps(3, 32):
            means = [
                0.5 * mean + 0.5 * reference.samples(epoch, *part)[0].mean(dim=0)
                for part in split(begin, end, 4)
            ]
            mean = torch.stack(means).mean(dim=0)
        np.testing.assert_allclose(reference.result()["mean"], mean.numpy(), rtol=1e-5, atol=1e-6)


class TestLocalSteps:
    """Model averaging against plain torch that does the same."""

    @pytest.mark.parametrize("state", ["Reset", "Average"])
    @pytest.mark.parametrize("name", ["SGD", "Momentum", "Adam"])
    def test_models_and_travelling_state_are_averaged(self, places: Places, name: str, state: str) -> None:
        workers, batch, local, rounds = 4, 6, 2, 4
        rate = 0.01 if name == "Adam" else 0.1
        place = trained(
            places,
            optimizer_name=name,
            optimizer_learningRate=rate,
            algorithm_localSteps=local,
            algorithm_localState=state,
            algorithm_steps=rounds,
            data_batchSize=batch,
        )
        reference = Reference(place)
        module = reference.model()
        states: list[dict[str, torch.Tensor]] = [{} for _ in module.parameters()]
        updates = 0
        for epoch, begin, end in reference.steps(rounds, workers * batch * local):
            results = []
            for first, stop in split(begin, end, workers):
                part = copy.deepcopy(module)
                optimizer = reference.optimizer(part)
                if state == "Average":
                    for parameter, kept in zip(part.parameters(), states, strict=True):
                        optimizer.state[parameter] = {key: value.clone() for key, value in kept.items()}
                for at in range(first, stop, batch):
                    features, targets = reference.samples(epoch, at, min(at + batch, stop))
                    optimizer.zero_grad()
                    mean_loss(part(features), targets).backward()
                    optimizer.step()
                results.append((stop - first, part, optimizer))
            # A short last round has fewer steps: those of the largest share.
            updates += max(-(-weight // batch) for weight, _, _ in results)
            total = sum(weight for weight, _, _ in results)
            with torch.no_grad():
                for index, parameter in enumerate(module.parameters()):
                    theirs = [(w, list(part.parameters())[index], o) for w, part, o in results]
                    parameter.copy_(torch.stack([w * p for w, p, _ in theirs]).sum(0) / total)
                    slots = [key for key in theirs[0][2].state[theirs[0][1]] if key != "step"]
                    states[index] = {
                        key: torch.stack([w * o.state[p][key] for w, p, o in theirs]).sum(0) / total
                        for key in slots
                        if theirs[0][2].state[theirs[0][1]][key] is not None
                    }
                    if name == "Adam":
                        states[index]["step"] = torch.tensor(float(updates))
        reference.assert_equal(module, tolerance=1e-4 if name == "Adam" else 2e-5)

    @pytest.mark.parametrize("name", ["Momentum", "Adam", "Adagrad"])
    def test_a_rank_goes_on_with_the_state_that_it_had(self, places: Places, name: str) -> None:
        # Five ranks, and a last round of an epoch that has samples for three of them at most.
        workers, batch, local, rounds = 5, 5, 3, 7
        rate = 0.01 if name == "Adam" else 0.1
        place = trained(
            places,
            workers=workers,
            merge_structure=[1, 2, 5],
            optimizer_name=name,
            optimizer_learningRate=rate,
            algorithm_localSteps=local,
            algorithm_localState="Keep",
            algorithm_steps=rounds,
            data_batchSize=batch,
        )
        reference = Reference(place)
        module = reference.model()
        parts = [copy.deepcopy(module) for _ in range(workers)]
        optimizers = [reference.optimizer(part) for part in parts]
        for epoch, begin, end in reference.steps(rounds, workers * batch * local):
            for part, (first, stop), optimizer in zip(
                parts, split(begin, end, workers), optimizers, strict=True
            ):
                part.load_state_dict(module.state_dict())
                for at in range(first, stop, batch):
                    features, targets = reference.samples(epoch, at, min(at + batch, stop))
                    optimizer.zero_grad()
                    mean_loss(part(features), targets).backward()
                    optimizer.step()
            weights = [stop - first for first, stop in split(begin, end, workers)]
            with torch.no_grad():
                for index, parameter in enumerate(module.parameters()):
                    theirs = [
                        weight * list(part.parameters())[index]
                        for weight, part in zip(weights, parts, strict=True)
                    ]
                    parameter.copy_(torch.stack(theirs).sum(0) / sum(weights))
        reference.assert_equal(module, tolerance=1e-4 if name == "Adam" else 2e-5)

    @pytest.mark.parametrize(
        ("optimizer", "schedule"),
        [
            ("Adam", None),
            ("SGD", {"name": "Step", "stepSize": 10, "gamma": 0.3}),
            ("SGD", {"name": "Cosine"}),
            ("SGD", {"name": "Step", "stepEpochs": 1, "gamma": 0.3}),
        ],
    )
    def test_local_steps_of_one_worker_are_the_steps_without_them(
        self, places: Places, optimizer: str, schedule: dict[str, Any] | None
    ) -> None:
        # 120 samples are 24 batches of 5: the fourth round of an epoch has three of its seven steps.
        changes: dict[str, Any] = {
            "workers": 1,
            "merge_structure": [1, 1],
            "data_batchSize": 5,
            "algorithm_steps": None,
            "algorithm_epochs": 3,
            "optimizer_name": optimizer,
            "optimizer_learningRate": 0.02,
            "optimizer_schedule": schedule,
        }
        rounds = {"algorithm_localSteps": 7, "algorithm_localState": "Average"}
        one, local = trained(places, **changes), trained(places, **changes, **rounds)
        *_, last = local.commits()
        assert last.updates == 3 * 24
        first, second = Reference(one).result(), Reference(local).result()
        for name, value in first.items():
            np.testing.assert_allclose(value, second[name], rtol=1e-5, atol=1e-5, err_msg=name)


class TestSameBits:
    """What must not change a single bit of the result."""

    def test_shards_with_clipping(self, places: Places) -> None:
        changes: dict[str, Any] = {
            "model_args": {"hidden": [48, 48]},
            "optimizer_name": "Adam",
            "optimizer_clipNorm": 0.3,
            "optimizer_weightDecay": 0.01,
        }
        assert len({sha256(places, merge_shards=shards, **changes) for shards in (1, 2, 3)}) == 1

    def test_shards_with_batch_norm_and_local_steps(self, places: Places) -> None:
        changes: dict[str, Any] = {
            "model_args": {"hidden": [48, 48], "batchNorm": True},
            "algorithm_localSteps": 2,
            "algorithm_localState": "Average",
            "algorithm_steps": 3,
        }
        assert len({sha256(places, merge_shards=shards, **changes) for shards in (1, 2, 3, 6)}) == 1

    def test_merging_in_reused_workers(self, places: Places) -> None:
        structure = [1, 2, 4]
        assert sha256(places, merge_structure=structure) == sha256(
            places, merge_structure=structure, merge_reuseWorkers=True
        )

    @pytest.mark.parametrize("structure", [[1, 6], [1, 2, 6], [1, 4, 6], [1, 2, 3, 6]])
    def test_one_structure_gives_the_same_bits_again_and_any_structure_the_same_numbers(
        self, places: Places, structure: list[int]
    ) -> None:
        flat = trained(places, workers=6, merge_structure=[1, 6])
        tree = trained(places, workers=6, merge_structure=structure)
        again = sha256(places, workers=6, merge_structure=structure, seed=7)
        assert_close(flat, tree)
        assert again == Simulation(tree).run()["sha256"]

    @pytest.mark.parametrize("micro", [1, 3, 5])
    def test_micro_batches_give_the_same_numbers_as_whole_batches(self, places: Places, micro: int) -> None:
        assert_close(trained(places), trained(places, data_microBatchSize=micro))


TIME_LIMITED: dict[str, tuple[dict[str, Any], str]] = {
    "gradient": ({"data_microBatchSize": 2}, "train"),
    "gradient with dropout and batch norm": (
        {"data_microBatchSize": 2, "model_args": {"hidden": [8], "batchNorm": True, "dropout": 0.3}},
        "train",
    ),
    "local steps": (
        {"data_microBatchSize": 3, "algorithm_localSteps": 3, "optimizer_name": "Adam", "algorithm_steps": 3},
        "train",
    ),
    "local steps with travelling state and batch norm": (
        {
            "data_microBatchSize": 3,
            "algorithm_localSteps": 2,
            "algorithm_localState": "Average",
            "algorithm_steps": 3,
            "model_args": {"hidden": [8], "batchNorm": True},
        },
        "train",
    ),
    "local steps with the state of each rank": (
        {
            "data_microBatchSize": 3,
            "algorithm_localSteps": 2,
            "algorithm_localState": "Keep",
            "optimizer_name": "Adam",
            "algorithm_steps": 3,
        },
        "train",
    ),
    "merger": (
        {"workers": 38, "merge_structure": [1, 2, 38], "data_batchSize": 2, "algorithm_steps": 3},
        "merge",
    ),
    "root": ({"workers": 38, "merge_structure": [1, 38], "data_batchSize": 2, "algorithm_steps": 3}, "root"),
    "sharded root": (
        {
            "workers": 20,
            "merge_structure": [1, 20],
            "merge_shards": 2,
            "model_args": {"hidden": [32, 32]},
            "data_batchSize": 3,
            "algorithm_steps": 2,
        },
        "root",
    ),
}


class TestTimeLimits:
    """A limit far shorter than the work: each invocation does one unit and leaves a cursor."""

    @pytest.mark.parametrize(("changes", "op"), TIME_LIMITED.values(), ids=TIME_LIMITED.keys())
    def test_the_result_is_that_without_a_limit_bit_for_bit(
        self, places: Places, changes: dict[str, Any], op: str
    ) -> None:
        limited = Simulation(places.place(tiny_job(**changes)), hurry=1.0)
        whole = Simulation(places.place(tiny_job(**changes)))
        assert limited.run()["sha256"] == whole.run()["sha256"]
        seen, expected = (
            [(one.measured.loss, one.measured.accuracy, one.measured.samples) for one in run.place.commits()]
            for run in (limited, whole)
        )
        assert seen == expected
        continued = [one for one in requests(limited.functions.log, op) if "cursor" in one]
        assert continued
        left = [name for name in limited.place.listing() if name.startswith("work")]
        assert left == []

    def test_each_invocation_does_one_micro_batch(self, places: Places) -> None:
        simulation = Simulation(places.place(tiny_job(data_microBatchSize=2, algorithm_steps=3)), hurry=1.0)
        simulation.run()
        assert len(requests(simulation.functions.log, "train")) == 3 * 4 * 4

    def test_an_evaluation_is_cut_too(self, places: Places) -> None:
        limited = Simulation(places.place(tiny_job(data_batchSize=4)), hurry=1.0)
        outcome = limited.run()
        whole = Simulation(places.place(tiny_job(data_batchSize=4))).run()
        positions = [
            one["position"] for one in requests(limited.functions.log, "evaluate") if one["version"] == 2
        ]
        assert positions == list(range(0, 30, 4))
        assert outcome["validationLoss"] == whole["validationLoss"]
        assert outcome["validationAccuracy"] == whole["validationAccuracy"]


class TestData:
    @pytest.mark.parametrize("workers", [1, 2, 3, 5, 7, 8, 13])
    @pytest.mark.parametrize("local", [1, 2])
    def test_every_sample_is_used_once_an_epoch(self, places: Places, workers: int, local: int) -> None:
        place = places.place(
            tiny_job(
                workers=workers,
                merge_structure=None,
                data_batchSize=9,
                algorithm_steps=None,
                algorithm_epochs=2,
                algorithm_localSteps=local,
            )
        )
        simulation = Simulation(place)
        simulation.run()
        sent = requests(simulation.functions.log, "train")
        used = np.zeros((2, 120), int)
        for request in sent:
            for piece in request["slices"]:
                assert piece["end"] > piece["begin"]
                first = piece["range"][0]
                used[request["epoch"], first + piece["begin"] : first + piece["end"]] += 1
        assert (used == 1).all()
        reference = Reference(place)
        first, second = (reference.samples(epoch, 0, 120)[0].numpy() for epoch in (0, 1))
        assert not np.array_equal(first, second)
        assert np.array_equal(np.sort(first.sum(axis=1)), np.sort(second.sum(axis=1)))

    def test_an_epoch_that_was_interrupted_goes_on_where_its_last_commit_stands(self, places: Places) -> None:
        place = places.place(tiny_job(algorithm_steps=6))
        whole = Simulation(places.place(tiny_job(algorithm_steps=6)))
        whole.run()
        interrupted = Simulation(place, crashes=[Crash(9, "before")])
        interrupted.run()

        def used(simulation: Simulation) -> set[tuple[int, int, int, str]]:
            return {
                (request["version"], request["rank"], request["epoch"], str(request["slices"]))
                for request in requests(simulation.functions.log, "train")
            }

        assert used(interrupted) == used(whole)
        repeated = len(requests(interrupted.functions.log, "train")) - len(used(whole))
        assert 0 <= repeated <= 4
