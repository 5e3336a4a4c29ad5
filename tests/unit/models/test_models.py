import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sapflow.errors import SpecError
from sapflow.models import BUILT_IN, build, describe
from sapflow.models.builtin import LocalResponseNorm

CASE_A = {"hidden": [100] * 5}

FACTORIES = """
import torch
from torch import nn

def plain(width, inputs, outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs[0], width), nn.ReLU(), nn.Linear(width, outputs))

def keywords(**given):
    return nn.Linear(given["inputs"][0], given["outputs"])

def fixed():
    return nn.Linear(20, 3)

class Looks(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.layer = nn.Linear(20, outputs)

    def forward(self, x):
        return self.layer(x) if x.abs().max().item() >= 0 else self.layer(-x)

def doubles():
    return nn.Linear(20, 3).double()

def lazy():
    return nn.LazyLinear(3)

def frozen():
    return nn.Linear(20, 3).requires_grad_(False)

def text():
    return "a model"

number = 3

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Linear(20, 20, bias=False)
        self.two = nn.Linear(20, 20, bias=False)
        self.two.weight = self.one.weight
        self.register_buffer("scratch", torch.zeros(7), persistent=False)

    def forward(self, x):
        return self.two(self.one(x))
"""


@pytest.fixture(autouse=True)
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "users_models.py").write_text(FACTORIES)
    (tmp_path / "users_broken.py").write_text("import no_such_library_anywhere")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "users_models", raising=False)


def made(
    name: str, args: dict[str, Any] | None = None, inputs: tuple[int, ...] = (20,), outputs: int = 3
) -> nn.Module:
    return build(name, args or {}, inputs=inputs, outputs=outputs, seed=5)


def refusal(name: str, args: dict[str, Any] | None = None, inputs: tuple[int, ...] = (20,)) -> str:
    with pytest.raises(SpecError) as caught:
        made(name, args, inputs)
    return str(caught.value)


def test_case_a_has_the_paper_s_42601_parameters() -> None:
    assert describe(made("mlp", CASE_A, outputs=1), (20,)).parameters == 42_601


def test_case_b_has_the_tutorial_s_sizes_and_layers() -> None:
    model = made("cnn", {"crop": 24}, (3, 32, 32), 10)
    assert describe(model, (3, 32, 32)).parameters == 1_068_298
    kinds = [type(each) for each in model.modules()]
    for kind, count in ((nn.Conv2d, 2), (nn.MaxPool2d, 2), (LocalResponseNorm, 2), (nn.Linear, 3)):
        assert kinds.count(kind) == count


def test_case_b_normalises_as_tensorflow_defines_it() -> None:
    x = torch.randn(2, 64, 3, 3) * 20
    norm = next(
        each for each in made("cnn", {}, (3, 32, 32)).modules() if isinstance(each, LocalResponseNorm)
    )
    sums = torch.stack([x[:, max(0, c - 4) : c + 5].square().sum(1) for c in range(64)], 1)
    torch.testing.assert_close(norm(x), x / (1 + 0.001 / 9 * sums) ** 0.75)
    torch.testing.assert_close(norm(x), nn.LocalResponseNorm(9, alpha=0.001, beta=0.75, k=1.0)(x))


@pytest.mark.parametrize("side", [28, 32])
def test_lenet_5_has_its_61706_parameters(side: int) -> None:
    assert describe(made("lenet", {}, (1, side, side), 10), (1, side, side)).parameters == 61_706


@pytest.mark.parametrize("name", ["cnn", "lenet", "mlp"])
@pytest.mark.parametrize("inputs", [(1, 4, 4), (1, 8, 8), (3, 13, 21), (1, 28, 28), (3, 32, 32), (2, 50, 40)])
def test_image_networks_take_images_of_any_size(name: str, inputs: tuple[int, int, int]) -> None:
    model = made(name, {}, inputs, 7)
    outputs = model(torch.zeros(2, *inputs))
    assert outputs.shape == (2, 7)
    outputs.sum().backward()
    assert all(each.grad is not None for each in model.parameters())


def test_a_crop_keeps_the_middle_of_the_image() -> None:
    model = made("cnn", {"crop": 8}, (1, 12, 12))
    image = torch.randn(1, 1, 12, 12)
    framed = torch.full((1, 1, 12, 12), 100.0)
    framed[..., 2:10, 2:10] = image[..., 2:10, 2:10]
    torch.testing.assert_close(model(image), model(framed))


def test_mlp_arguments_shape_the_network() -> None:
    args = {"hidden": [9, 8], "activation": "tanh", "dropout": 0.2, "batchNorm": True}
    kinds = [type(each) for each in made("mlp", args).children()]
    hidden = [nn.Linear, nn.BatchNorm1d, nn.Tanh, nn.Dropout]
    assert kinds == [*hidden, *hidden, nn.Linear]


def test_an_mlp_without_hidden_layers_is_linear() -> None:
    assert describe(made("mlp", {"hidden": []}), (20,)).parameters == 63


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_seed_alone_decides_the_initial_weights(name: str) -> None:
    def weights(seed: int) -> bytes:
        model = build(name, {}, inputs=(1, 8, 8), outputs=3, seed=seed)
        return b"".join(each.detach().numpy().tobytes() for each in model.parameters())

    torch.manual_seed(1)
    first = weights(0)
    torch.manual_seed(2)
    assert weights(0) == first
    assert weights(1) != first


def test_building_and_describing_leave_global_generators_as_they_were() -> None:
    numpy_state: Any = np.random.get_state()
    before = torch.random.get_rng_state(), random.getstate(), numpy_state[1]
    model = made("mlp", {"dropout": 0.5})
    describe(model, (20,))
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    numpy_state = np.random.get_state()
    assert np.array_equal(numpy_state[1], before[2])


def test_models_come_in_training_mode() -> None:
    assert made("mlp").training


def test_an_unknown_model_is_answered_with_the_built_in_ones_and_the_way_to_your_own() -> None:
    message = refusal("resnet")
    assert "spec.model.name" in message
    assert "cnn, lenet, mlp" in message
    assert "package.module:factory" in message


@pytest.mark.parametrize(
    ("args", "path", "words"),
    [
        ({"hiden": [3]}, "spec.model.args.hiden", "allowed are hidden, activation, dropout, batchNorm"),
        ({"hidden": [10, 0]}, "spec.model.args.hidden.1", "greater than or equal to 1"),
        ({"hidden": ["10"]}, "spec.model.args.hidden.0", "valid integer"),
        ({"hidden": 10}, "spec.model.args.hidden", "valid list"),
        ({"activation": "swish"}, "spec.model.args.activation", "'relu'"),
        ({"dropout": 1.0}, "spec.model.args.dropout", "less than 1"),
        ({"batchNorm": "yes"}, "spec.model.args.batchNorm", "valid boolean"),
    ],
)
def test_wrong_arguments_are_answered_with_their_path(args: dict[str, Any], path: str, words: str) -> None:
    message = refusal("mlp", args)
    assert message.startswith(path + ":")
    assert words in message


def test_all_wrong_arguments_are_told_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        made("mlp", {"hiden": [3], "dropout": 2.0})
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize("name", ["cnn", "lenet"])
def test_image_networks_refuse_what_is_no_image(name: str) -> None:
    assert "channels × height × width" in refusal(name)
    assert "at least 4 pixels" in refusal(name, {}, (1, 3, 8))


def test_a_crop_larger_than_the_images_is_refused() -> None:
    assert "crop 24 is larger" in refusal("cnn", {"crop": 24}, (1, 8, 8))


@pytest.mark.parametrize("factory", ["plain", "keywords", "fixed", "Looks"])
def test_a_user_s_factory_gets_inputs_and_outputs_where_it_takes_them(factory: str) -> None:
    model = made(f"users_models:{factory}", {"width": 4} if factory == "plain" else {})
    assert model(torch.zeros(2, 20)).shape == (2, 3)
    assert describe(model, (20,)).parameters > 0


@pytest.mark.parametrize(
    ("entrypoint", "args", "words"),
    [
        ("users_models:", {}, "package.module:factory"),
        (":plain", {}, "package.module:factory"),
        ("no.such.module:plain", {}, "cannot import 'no.such.module'"),
        ("users_broken:plain", {}, "no_such_library_anywhere"),
        ("users_models:absent", {}, "has no 'absent'"),
        ("users_models:number", {}, "not a callable"),
        ("users_models:text", {}, "returned a str"),
        ("builtins:dict", {}, "returned a dict"),
        ("users_models:plain", {}, "missing a required argument: 'width'"),
        ("users_models:plain", {"width": 3, "depth": 2}, "unexpected keyword argument 'depth'"),
        ("users_models:doubles", {}, "weight (torch.float64)"),
        ("users_models:lazy", {}, "lazy"),
        ("users_models:frozen", {}, "without a parameter to train"),
    ],
)
def test_a_factory_that_will_not_do_is_answered_with_why(
    entrypoint: str, args: dict[str, Any], words: str
) -> None:
    message = refusal(entrypoint, args)
    assert message.startswith("spec.model.")
    assert words in message


def test_facts_count_buffers_and_see_batch_statistics_and_dropout() -> None:
    plain = describe(made("mlp", CASE_A, outputs=1), (20,))
    assert (plain.float_buffers, plain.other_buffers) == (0, 0)
    assert not plain.has_batch_statistics
    assert not plain.has_dropout
    rich = describe(made("mlp", CASE_A | {"batchNorm": True, "dropout": 0.1}, outputs=1), (20,))
    assert (rich.float_buffers, rich.other_buffers) == (1000, 5)
    assert rich.has_batch_statistics
    assert rich.has_dropout


def test_activations_are_what_backward_keeps_of_a_sample() -> None:
    assert describe(made("mlp", CASE_A, outputs=1), (20,)).activations_per_sample == 20 + 5 * 100


def test_tied_parameters_count_once_and_passing_buffers_not_at_all() -> None:
    facts = describe(made("users_models:Tied"), (20,))
    assert (facts.parameters, facts.float_buffers) == (400, 0)


def test_dropout_inside_recurrent_layers_is_seen() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cells = nn.LSTM(4, 3, num_layers=2, dropout=0.3, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.cells(x)[0]
            return out[:, -1]

    assert describe(Recurrent(), (5, 4)).has_dropout


def test_describing_changes_neither_running_statistics_nor_gradients() -> None:
    model = made("mlp", {"batchNorm": True})
    before = {name: each.clone() for name, each in model.state_dict().items()}
    describe(model, (20,))
    assert all(torch.equal(each, before[name]) for name, each in model.state_dict().items())
    assert all(each.grad is None for each in model.parameters())
    assert model.training


def test_a_model_on_the_meta_device_is_described_as_a_real_one() -> None:
    real = describe(made("cnn", {}, (3, 32, 32)), (3, 32, 32))
    with torch.device("meta"):
        model = made("cnn", {}, (3, 32, 32))
    assert describe(model, (3, 32, 32)) == real
    assert all(each.is_meta for each in model.parameters())


def test_a_model_for_other_samples_is_refused_with_their_shape() -> None:
    with pytest.raises(SpecError, match=r"samples of shape 21"):
        describe(made("users_models:fixed"), (21,))
