"""Parameters that are frozen or get no gradient, and buffers, come to what plain torch makes of them."""

from typing import Any

import numpy as np
import pytest
import torch
from helpers.jobs import Place, Places, Simulation, tiny_job
from helpers.models import Buffers
from helpers.reference import OPTIMIZERS, Reference, split
from safetensors.torch import load
from torch import nn

from sapflow.errors import JobFailed

WORKERS, BATCH, STEPS, DECAY = 4, 8, 11, 0.1
LIMIT = 7.5
"""Some parts of a step have a longer sepal than this."""


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    return Places(tmp_path_factory.mktemp("jobs"))


def run(places: Places, entrypoint: str, args: dict[str, Any], **changes: Any) -> Simulation:
    job = {
        "model_name": None,
        "model_entrypoint": f"helpers.models:{entrypoint}",
        "model_args": args,
        **changes,
    }
    simulation = Simulation(places.place(tiny_job(**job)))
    simulation.run()
    return simulation


def branches(places: Places, name: str, width: int = 6, **changes: Any) -> Simulation:
    rate = 0.01 if name.startswith(("Ada", "RMS")) else 0.1
    optimizer = {"optimizer_name": name, "optimizer_learningRate": rate, "optimizer_weightDecay": DECAY}
    given = {"data_normalize": "None", "algorithm_steps": STEPS, **optimizer, **changes}
    return run(places, "branches", {"limit": LIMIT, "width": width}, **given)


class Plain:
    """The same job by torch alone."""

    def __init__(self, place: Place) -> None:
        self.reference = Reference(place)
        self.module: Any = self.reference.model()
        self.used: list[set[str]] = []
        self.renew()

    def renew(self) -> None:
        self.optimizer = self.reference.optimizer(self.module)
        for group in self.optimizer.param_groups:
            group["weight_decay"] = DECAY

    def step(self, number: int, epoch: int, parts: list[tuple[int, int]]) -> None:
        """One update by the mean gradient of all parts."""
        self.optimizer.zero_grad(set_to_none=True)
        for begin, end in parts:
            self.module.step.fill_(number)
            features, targets = self.reference.samples(epoch, begin, end)
            nn.functional.cross_entropy(self.module(features), targets, reduction="sum").backward()
        total = sum(end - begin for begin, end in parts)
        for parameter in self.module.parameters():
            if parameter.grad is not None:
                parameter.grad /= total
        named = self.module.named_parameters()
        self.used.append({name for name, each in named if each.grad is not None})
        self.optimizer.step()


def assert_same(plain: Plain) -> None:
    plain.reference.assert_equal(plain.module, tolerance=1e-4)
    # What the test is about has happened.
    rare = ["rare.weight" in used for used in plain.used]
    assert any(rare)
    assert not all(rare)
    assert {"first.weight", "zero"} - plain.used[0] == {"first.weight"}
    assert all("never.weight" not in used and "backbone.weight" not in used for used in plain.used)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("shards", [1, 2])
def test_what_gets_no_gradient_is_left_alone_as_by_torch(places: Places, name: str, shards: int) -> None:
    # So wide that tensors lie across the shards' bounds.
    plain = Plain(branches(places, name, width=6 if shards == 1 else 300, merge_shards=shards).place)
    for number, (epoch, begin, end) in enumerate(plain.reference.steps(STEPS, WORKERS * BATCH)):
        plain.step(number, epoch, split(begin, end, WORKERS))
    assert_same(plain)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("state", ["Average", "Keep", "Reset"])
def test_local_steps_count_the_updates_of_each_tensor(places: Places, name: str, state: str) -> None:
    if (name, state) == ("SGD", "Keep"):
        pytest.skip("SGD has no state to keep")
    local = 7
    changes: dict[str, Any] = {
        "algorithm_localSteps": local,
        "algorithm_localState": state,
        "algorithm_steps": 5,
    }
    place = branches(places, name, workers=1, merge_structure=[1, 1], **changes).place
    plain, number = Plain(place), 0
    for epoch, begin, end in plain.reference.steps(5, BATCH * local):
        if state == "Reset":
            plain.renew()
        for at in range(begin, end, BATCH):
            plain.step(number, epoch, [(at, min(at + BATCH, end))])
            number += 1
    assert_same(plain)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_asynchronous_contributions_each_leave_alone_what_they_do_not_use(places: Places, name: str) -> None:
    changes: dict[str, Any] = {"algorithm_mode": "Async", "workers": 1, "merge_structure": None}
    plain = Plain(branches(places, name, **changes).place)
    for number, (epoch, begin, end) in enumerate(plain.reference.steps(STEPS, BATCH)):
        plain.step(number, epoch, [(begin, end)])
    assert_same(plain)


@pytest.mark.parametrize(
    "changes",
    [
        {"data_microBatchSize": 3},
        {"data_microBatchSize": 3, "algorithm_localSteps": 3, "algorithm_localState": "Average"},
        {"data_microBatchSize": 3, "algorithm_localSteps": 3, "algorithm_localState": "Keep"},
    ],
)
def test_a_time_limit_changes_no_bit(places: Places, changes: dict[str, Any]) -> None:
    job = tiny_job(
        model_name=None,
        model_entrypoint="helpers.models:branches",
        model_args={"limit": LIMIT},
        data_normalize="None",
        optimizer_name="AdamW",
        algorithm_steps=4,
        **changes,
    )
    limited, whole = Simulation(places.place(job), hurry=1.0), Simulation(places.place(job))
    assert limited.run()["sha256"] == whole.run()["sha256"]


def test_frozen_parameters_have_one_object_and_no_state(places: Places) -> None:
    place = branches(places, "AdamW").place
    first, *_, last = place.commits()
    assert first.sizes.frozen == 4 * 6 + 6
    assert [part.key for part in first.params[1:]] == [part.key for part in last.params[1:]]
    assert last.params[0].stop == last.sizes.total == last.params[1].start
    assert [part.stop for part in last.optimizer] == [first.sizes.parameters]
    assert {entry["name"] for entry in first.layout if entry["kind"] == "frozen"} == {
        "backbone.weight",
        "backbone.bias",
    }


def test_a_model_that_changes_its_frozen_parameters_is_refused(places: Places) -> None:
    with pytest.raises(JobFailed, match="requires_grad=False while it trains"):
        run(places, "momentum", {})


class TestBuffers:
    def test_all_types_are_carried_and_constants_keep_their_bytes(self, places: Places) -> None:
        # Three ranks with unequal shares: averaging the constants would round them.
        simulation = run(places, "buffers", {}, workers=3, merge_structure=[1, 3], data_batchSize=7)
        reference = Reference(simulation.place)
        module: Any = reference.model()
        found = load(simulation.place.result())
        state = module.state_dict()
        assert found.keys() == state.keys()
        for name in ("mask", "table", "turned", "large", "empty", *(f"of_{each}" for each in Buffers.TYPES)):
            assert found[name].dtype == state[name].dtype, name
            assert found[name].shape == state[name].shape, name
            mine, theirs = (each[name].reshape(-1).view(torch.uint8) for each in (found, state))
            assert torch.equal(mine, theirs), name
        assert int(found["seen"]) == 5
        assert np.isfinite(found["mean"].numpy()).all()

    def test_training_with_infinities_and_complex_numbers_is_that_of_torch(self, places: Places) -> None:
        simulation = run(places, "buffers", {}, algorithm_steps=6)
        plain = Reference(simulation.place)
        module: Any = plain.model()
        optimizer = plain.optimizer(module)
        for epoch, begin, end in plain.steps(6, WORKERS * BATCH):
            features, targets = plain.samples(epoch, begin, end)
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(features), targets).backward()
            optimizer.step()
        np.testing.assert_allclose(
            load(simulation.place.result())["linear.weight"].numpy(),
            module.linear.weight.detach().numpy(),
            rtol=2e-5,
            atol=2e-5,
        )

    @pytest.mark.parametrize("shards", [1, 2])
    def test_a_buffer_that_was_finite_and_is_not_any_more_ends_the_job(
        self, places: Places, shards: int
    ) -> None:
        with pytest.raises(JobFailed) as caught:
            run(places, "buffers", {"broken_after": 3})
        assert caught.value.reason == "NotFinite"
        assert "version 3 is the last good checkpoint" in str(caught.value)
