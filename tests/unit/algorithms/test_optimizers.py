from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from helpers.memory import peak_bytes
from hypothesis import given, settings
from hypothesis import strategies as st

from sapflow.algorithms.hyperparameters import KINDS
from sapflow.algorithms.optimizers import (
    NAMES,
    RULES,
    Float32,
    Group,
    Grouping,
    OptimizerSettings,
    apply,
    block_size,
    clip_scale,
    finite,
    initial,
    slots,
    squared_norms,
)

RATE, STEPS, SIZE = 0.05, 25, 40_000
O = OptimizerSettings  # noqa: E741
T = torch.optim

CASES: dict[str, tuple[OptimizerSettings, Callable[[list[torch.Tensor]], T.Optimizer]]] = {
    "SGD": (O("SGD"), lambda p: T.SGD(p, RATE)),
    "SGD-decay": (O("SGD", weight_decay=0.01), lambda p: T.SGD(p, RATE, weight_decay=0.01)),
    "Momentum": (O("Momentum", momentum=0.8), lambda p: T.SGD(p, RATE, momentum=0.8)),
    "Momentum-damped-decay": (
        O("Momentum", dampening=0.3, weight_decay=0.01),
        lambda p: T.SGD(p, RATE, momentum=0.9, dampening=0.3, weight_decay=0.01),
    ),
    "Nesterov": (O("Nesterov"), lambda p: T.SGD(p, RATE, momentum=0.9, nesterov=True)),
    "Nesterov-decay": (
        O("Nesterov", weight_decay=0.01),
        lambda p: T.SGD(p, RATE, momentum=0.9, nesterov=True, weight_decay=0.01),
    ),
    "Adam": (O("Adam"), lambda p: T.Adam(p, RATE)),
    "Adam-decay": (
        O("Adam", beta1=0.8, beta2=0.95, epsilon=1e-6, weight_decay=0.01),
        lambda p: T.Adam(p, RATE, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.01),
    ),
    "AdamW": (O("AdamW", weight_decay=0.1), lambda p: T.AdamW(p, RATE, weight_decay=0.1)),
    "Adagrad": (O("Adagrad"), lambda p: T.Adagrad(p, RATE)),
    "Adagrad-decay-start": (
        O("Adagrad", weight_decay=0.01, initial_accumulator=0.1),
        lambda p: T.Adagrad(p, RATE, weight_decay=0.01, initial_accumulator_value=0.1),
    ),
    "RMSprop": (O.of("RMSprop"), lambda p: T.RMSprop(p, RATE)),
    "RMSprop-decay": (
        O.of("RMSprop", alpha=0.9, epsilon=1e-6, weight_decay=0.01),
        lambda p: T.RMSprop(p, RATE, alpha=0.9, eps=1e-6, weight_decay=0.01),
    ),
    "RMSprop-momentum": (O.of("RMSprop", momentum=0.8), lambda p: T.RMSprop(p, RATE, momentum=0.8)),
    "RMSprop-centered-momentum": (
        O.of("RMSprop", momentum=0.8, centered=True, epsilon=1e-3),
        lambda p: T.RMSprop(p, RATE, momentum=0.8, centered=True, eps=1e-3),
    ),
}


def fresh_state(chosen: OptimizerSettings, size: int) -> list[Float32]:
    return [np.full(size, initial(chosen, slot), np.float32) for slot in slots(chosen)]


def gradients(size: int, steps: int) -> Iterator[Float32]:
    generator = np.random.default_rng(7)
    for _ in range(steps):
        yield generator.standard_normal(size, dtype=np.float32)


@pytest.mark.parametrize("case", CASES)
def test_updates_equal_torch_s_on_the_same_gradients(case: str) -> None:
    chosen, make = CASES[case]
    params = np.random.default_rng(1).standard_normal(SIZE, dtype=np.float32)
    tensor = torch.from_numpy(params.copy()).requires_grad_()
    theirs = make([tensor])
    state = fresh_state(chosen, SIZE)
    for step, gradient in enumerate(gradients(SIZE, STEPS), start=1):
        tensor.grad = torch.from_numpy(gradient.copy())
        theirs.step()
        apply(chosen, params=params, grads=gradient, state=state, learning_rate=RATE, step=step)
    np.testing.assert_allclose(params, tensor.detach().numpy(), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("case", [case for case in CASES if case not in ("SGD", "SGD-decay")])
def test_state_equals_torch_s_too(case: str) -> None:
    chosen, make = CASES[case]
    params = np.ones(100, np.float32)
    tensor = torch.ones(100, requires_grad=True)
    theirs = make([tensor])
    state = fresh_state(chosen, 100)
    for step, gradient in enumerate(gradients(100, STEPS), start=1):
        tensor.grad = torch.from_numpy(gradient.copy())
        theirs.step()
        apply(chosen, params=params, grads=gradient, state=state, learning_rate=RATE, step=step)
    names = {"momentum": "momentum_buffer"}
    for slot, ours in zip(slots(chosen), state, strict=True):
        their: Any = theirs.state[tensor][names.get(slot, slot)]
        np.testing.assert_allclose(ours, their.numpy(), rtol=2e-5, atol=2e-6)


def test_each_optimizer_that_the_spec_knows_has_a_rule() -> None:
    assert set(NAMES) == set(KINDS) == set(RULES)


@pytest.mark.parametrize("name", NAMES)
def test_a_request_carries_what_an_optimizer_takes_and_no_more(name: Any) -> None:
    chosen = OptimizerSettings.of(name)
    assert OptimizerSettings(**chosen.to_json()) == chosen
    assert len(chosen.to_json()) == 2 + len(KINDS[name].defaults)


@pytest.mark.parametrize("name", [name for name in NAMES if not KINDS[name].layerwise])
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_any_cut_of_the_vector_gives_the_same_bits(name: Any, data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 70_000))
    cuts = sorted(data.draw(st.lists(st.integers(0, size), max_size=5)))
    stops = sorted({*data.draw(st.lists(st.integers(1, size), max_size=5)), size})
    groups = (Group(0.01), Group(0.0), Group(0.1, factor=0.5))
    grouping = Grouping(groups, tuple((stop, index % 3) for index, stop in enumerate(stops)))
    chosen = OptimizerSettings.of(name)
    whole, cut = (np.linspace(-1, 1, size, dtype=np.float32) for _ in range(2))
    whole_state, cut_state = (fresh_state(chosen, size) for _ in range(2))
    for step, gradient in enumerate(gradients(size, 3), start=1):
        for start, stop in zip([0, *cuts], [*cuts, size], strict=True):
            apply(
                chosen,
                params=cut[start:stop],
                grads=gradient[start:stop].copy(),
                state=[vector[start:stop] for vector in cut_state],
                learning_rate=RATE,
                step=step,
                grouping=grouping.between(start, stop),
            )
        apply(
            chosen,
            params=whole,
            grads=gradient,
            state=whole_state,
            learning_rate=RATE,
            step=step,
            grouping=grouping,
        )
    assert whole.tobytes() == cut.tobytes()
    assert [v.tobytes() for v in whole_state] == [v.tobytes() for v in cut_state]


def test_memory_does_not_grow_with_the_vector() -> None:
    chosen, size = OptimizerSettings("Adam", weight_decay=0.01), 4_000_000
    params, grads = np.ones(size, np.float32), np.ones(size, np.float32)
    state = fresh_state(chosen, size)
    groups = tuple(Group(0.01 * index) for index in range(16))
    grouping = Grouping(groups, tuple((size // 64 * (each + 1), each % 16) for each in range(64)))

    def update() -> None:
        apply(chosen, params=params, grads=grads, state=state, learning_rate=RATE, step=1, grouping=grouping)
        squared_norms(params, block_size(size))

    assert peak_bytes(update, enough=1 << 20) < 1 << 20


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "Adamw"},
        {"name": "Nesterov", "dampening": 0.1},
        {"name": "Nesterov", "momentum": 0.0},
        {"name": "Adam", "beta1": 1.0},
        {"name": "SGD", "weight_decay": -1.0},
        {"name": "RMSprop", "alpha": 1.0},
    ],
)
def test_settings_that_torch_refuses_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        OptimizerSettings(**wrong)


def test_vectors_that_do_not_fit_are_refused() -> None:
    good = np.zeros(4, np.float32)
    sgd, adam = OptimizerSettings("SGD"), OptimizerSettings("Adam")
    cases: list[tuple[OptimizerSettings, Any, list[Float32], int]] = [
        (sgd, np.zeros(3, np.float32), [], 1),
        (sgd, np.zeros(4), [], 1),
        (adam, good.copy(), [good.copy()], 1),
        (sgd, good.copy(), [], 0),
    ]
    for chosen, grads, state, step in cases:
        with pytest.raises(ValueError):
            apply(chosen, params=good, grads=grads, state=state, learning_rate=RATE, step=step)


@given(st.integers(0, 10**10))
def test_norm_blocks_are_powers_of_two_and_at_most_4096(parameters: int) -> None:
    block = block_size(parameters)
    assert block >= 1024
    assert block & (block - 1) == 0
    assert -(-parameters // block) <= 4096
    assert block == 1024 or -(-parameters // (block // 2)) > 4096


@given(st.integers(1, 300_000), st.sampled_from([1024, 2048, 65_536]), st.integers(0, 300))
@settings(max_examples=50, deadline=None)
def test_norms_of_a_shard_are_those_of_the_whole_bit_for_bit(size: int, block: int, cut: int) -> None:
    vector = np.random.default_rng(size).standard_normal(size, dtype=np.float32)
    whole = squared_norms(vector, block)
    edge = min(size, cut * block)
    parts = np.concatenate([squared_norms(vector[:edge].copy(), block), squared_norms(vector[edge:], block)])
    assert whole.tobytes() == parts.tobytes()
    assert whole.sum() == pytest.approx(float(np.square(vector, dtype=np.float64).sum()), rel=1e-12)


def test_large_values_do_not_overflow_and_nan_and_infinity_are_found() -> None:
    vector = np.full(3000, 1e38, np.float32)
    assert finite(squared_norms(vector, 1024))
    for poison in (np.nan, np.inf, -np.inf):
        vector[2999] = poison
        assert not finite(squared_norms(vector, 1024))


@pytest.mark.parametrize("max_norm", [0.01, 1.0, 1e6])
def test_clipping_equals_torch_s_on_the_averaged_gradient(max_norm: float) -> None:
    total = np.random.default_rng(3).standard_normal(5000, dtype=np.float32) * 64
    tensor = torch.zeros(5000, requires_grad=True)
    tensor.grad = torch.from_numpy(total / np.float32(64))
    torch.nn.utils.clip_grad_norm_([tensor], max_norm)
    scale = clip_scale(squared_norms(total, 1024), 64, max_norm)
    np.testing.assert_allclose(total / np.float32(64) * np.float32(scale), tensor.grad.numpy(), rtol=1e-5)


def test_without_a_limit_nothing_is_clipped() -> None:
    assert clip_scale(np.array([1e30]), 1.0, None) == 1.0


def test_a_gradient_of_no_samples_has_no_norm() -> None:
    with pytest.raises(ValueError, match="average"):
        clip_scale(np.array([1.0]), 0, 1.0)
