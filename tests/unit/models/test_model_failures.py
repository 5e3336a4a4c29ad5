"""What `sapflow validate` says where a user's own model fails, or has what cannot be trained or carried."""

import os
from pathlib import Path
from typing import Any

import pytest

from sapflow.errors import SpecError
from sapflow.models import examine

MODELS = """
import os
import torch
from torch import nn

class Raises(nn.Module):
    def __init__(self, inputs, outputs, kind):
        super().__init__()
        self.linear, self.kind = nn.Linear(inputs, outputs), kind
    def forward(self, features):
        if self.kind == "TypeError":
            len(3)
        if self.kind == "AttributeError":
            self.missing
        if self.kind == "AssertionError":
            assert features.shape[1] == 99, "99 features, please"
        if self.kind == "KeyError":
            {}["embedding"]
        return self.linear(features)

class Unpool(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.pool, self.unpool = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)
        self.conv, self.linear = nn.Conv2d(1, 1, 3, padding=1), nn.Linear(16, outputs)
    def forward(self, features):
        return self.linear(self.unpool(*self.pool(self.conv(features))).flatten(1))

class Slow(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.linear, self.slow = nn.Linear(inputs, outputs), nn.Linear(inputs, outputs).requires_grad_(False)
    def forward(self, features):
        with torch.no_grad():
            self.slow.weight.mul_(0.9).add_(self.linear.weight, alpha=0.1)
        return self.linear(features) + self.slow(features)

class Holding(nn.Module):
    def __init__(self, inputs, outputs, what):
        super().__init__()
        self.linear, self.what = nn.Linear(inputs, outputs), what
        if what == "complex128":
            self.register_buffer("table", torch.zeros(3, dtype=torch.complex128))
        if what == "large":
            self.register_buffer("table", torch.zeros(9_000_000, dtype=torch.uint8))
    def get_extra_state(self):
        return {"vocabulary": 3} if self.what == "extra" else torch.zeros(1)
    def set_extra_state(self, state):
        pass
    def forward(self, features):
        return self.linear(features)

def raises(inputs, outputs, kind): return Raises(inputs[0], outputs, kind)
def unpool(inputs, outputs): return Unpool(inputs[0], outputs)
def slow(inputs, outputs): return Slow(inputs[0], outputs)
def holding(inputs, outputs, what): return Holding(inputs[0], outputs, what)
def detached(inputs, outputs):
    class Detached(nn.Linear):
        def forward(self, features): return super().forward(features).detach()
    return Detached(inputs[0], outputs)
def from_environment(inputs, outputs): return nn.Linear(inputs[0], outputs, bias=os.environ["MY_BIAS"] == "yes")
"""


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "failing_models.py").write_text(MODELS)
    monkeypatch.syspath_prepend(tmp_path)
    return "failing_models"


def refusal(entrypoint: str, args: dict[str, Any], inputs: tuple[int, ...] = (4,)) -> str:
    with pytest.raises(SpecError) as caught:
        examine(entrypoint, args, inputs=inputs, outputs=3)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["TypeError", "AttributeError", "AssertionError", "KeyError"])
def test_whatever_forward_raises_is_a_message_that_names_the_line(models: str, kind: str) -> None:
    message = refusal(f"{models}:raises", {"kind": kind})
    assert message.startswith("spec.model.entrypoint: ")
    assert f"{kind}: " in message
    assert "(failing_models.py, line " in message
    assert message.endswith("in forward)")


def test_a_model_without_a_deterministic_backward_is_refused(models: str) -> None:
    message = refusal(f"{models}:unpool", {}, (1, 4, 4))
    assert "max_unpool" in message.lower()
    assert "take Upsample or ConvTranspose2d" in message


@pytest.mark.parametrize(
    ("factory", "args", "words"),
    [
        ("slow", {}, "changes parameters that have requires_grad=False while it trains"),
        ("detached", {}, "failed in a backward pass: RuntimeError: "),
        ("holding", {"what": "complex128"}, "buffer table is complex128, which model files cannot hold"),
        ("holding", {"what": "large"}, "9,000,000 bytes of buffers that are not float32"),
        ("holding", {"what": "extra"}, "extra state _extra_state (dict), which is no tensor"),
    ],
)
def test_what_cannot_be_trained_or_carried_is_refused_before_any_step(
    models: str, factory: str, args: dict[str, Any], words: str
) -> None:
    assert words in refusal(f"{models}:{factory}", args)


def test_a_factory_that_reads_an_environment_variable_is_given_it(models: str) -> None:
    message = refusal(f"{models}:from_environment", {})
    assert "KeyError: 'MY_BIAS'" in message
    assert "give it in spec.model.env" in message
    facts, _ = examine(f"{models}:from_environment", {}, inputs=(4,), outputs=3, env={"MY_BIAS": "yes"})
    assert facts.parameters == 4 * 3 + 3
    assert "MY_BIAS" not in os.environ
