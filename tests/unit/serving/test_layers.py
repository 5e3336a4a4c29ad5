"""Networks by numpy are those of torch."""

from typing import Any

import numpy as np
import pytest

from sapflow.errors import CorruptObject
from sapflow.models import inference
from sapflow.models.build import build
from sapflow.serving.layers import ACTIVATIONS, perceptron


def of_torch(
    args: dict[str, Any], inputs: tuple[int, ...], outputs: int
) -> tuple[Any, dict[str, np.ndarray]]:
    module = build("mlp", args, inputs=inputs, outputs=outputs, seed=3)
    generator = np.random.default_rng(5)
    for _ in range(3):  # running statistics of batches
        inference.forward(module, generator.normal(2, 3, (64, *inputs)).astype(np.float32))
    state = {name: each.detach().numpy().copy() for name, each in module.state_dict().items()}
    return inference.restore("mlp", args, inputs=inputs, outputs=outputs, tensors=state), state


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("shape", [(7,), (2, 3, 4)])
def test_an_mlp_gives_what_torch_gives(activation: str, shape: tuple[int, ...]) -> None:
    args = {"hidden": [16, 9], "activation": activation, "batchNorm": True, "dropout": 0.1}
    module, state = of_torch(args, shape, 3)
    features = np.random.default_rng(1).normal(0, 2, (50, *shape)).astype(np.float32)
    expected = inference.forward(module, features)
    np.testing.assert_allclose(perceptron(args, shape, state, "it")(features), expected, rtol=1e-5, atol=1e-5)


def test_a_linear_model_is_an_mlp_without_hidden_layers() -> None:
    module, state = of_torch({"hidden": []}, (5,), 1)
    features = np.random.default_rng(1).normal(size=(9, 5)).astype(np.float32)
    found = perceptron({"hidden": []}, (5,), state, "it")(features)
    np.testing.assert_allclose(found, inference.forward(module, features), rtol=1e-5, atol=1e-6)


def test_weights_that_are_not_complete_are_refused_by_name() -> None:
    _, state = of_torch({"hidden": [4]}, (5,), 2)
    without = {name: each for name, each in state.items() if name != "2.bias"}
    with pytest.raises(CorruptObject, match=r"lacks the tensor 2\.bias"):
        perceptron({"hidden": [4]}, (5,), without, "it")
    with pytest.raises(CorruptObject, match=r"has tensors that its mlp has not: extra"):
        perceptron({"hidden": [4]}, (5,), {**state, "extra": state["2.bias"]}, "it")
    with pytest.raises(CorruptObject, match="of the shape"):
        perceptron({"hidden": [4]}, (6,), state, "it")
