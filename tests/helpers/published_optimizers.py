"""What published implementations of Lion and LAMB make of given gradients, kept beside the tests as JSON.

python tests/helpers/published_optimizers.py > tests/unit/algorithms/published_optimizers.json

It needs torch with lion-pytorch 0.2.5 and timm 1.0.31 (`pip install --no-deps` is enough). timm's LAMB is asked for the
paper's form: norms of all tensors, and no clipping of its own.
"""

import importlib
import importlib.metadata
import importlib.util
import json
import sys
import types
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

STEPS = 12
SHAPES: Mapping[str, tuple[int, ...]] = {
    "first.weight": (7, 5),
    "first.bias": (7,),
    "last.weight": (3, 7),
    "last.bias": (3,),
}
RATES = {"Lion": 0.003, "LAMB": 0.02}
CASES: tuple[Mapping[str, Any], ...] = (
    {"optimizer": "Lion", "given": {}},
    {"optimizer": "Lion", "given": {"beta1": 0.8, "beta2": 0.95, "weight_decay": 0.1}},
    {"optimizer": "LAMB", "given": {}},
    {"optimizer": "LAMB", "given": {"beta1": 0.8, "beta2": 0.95, "epsilon": 1e-4, "weight_decay": 0.1}},
    {"optimizer": "LAMB", "given": {"weight_decay": 0.1}, "bare": "*.bias"},
)
"""`bare`: parameters without weight decay, whose learning rate is halved."""


def start(name: str) -> npt.NDArray[np.float32]:
    """A tensor's first values, of its shape; one bias starts at zero, as biases do."""
    size = int(np.prod(SHAPES[name]))
    values = 0.0 * np.arange(size) if name == "first.bias" else np.sin(1.7 * np.arange(size) + len(name))
    return np.asarray(values.reshape(SHAPES[name]), np.float32)


def gradient(name: str, step: int) -> npt.NDArray[np.float32]:
    """A tensor's gradient at `step`, from 1, of its shape."""
    size = int(np.prod(SHAPES[name]))
    values = np.cos(0.9 * step + 2.3 * np.arange(size) + 0.1 * len(name)) * (1 + np.arange(size) % 3)
    return np.asarray(values.reshape(SHAPES[name]), np.float32)


def _lamb() -> Any:
    """timm's LAMB without the rest of timm, which needs torchvision."""
    if "timm" not in sys.modules:
        found = importlib.util.find_spec("timm")
        assert found is not None
        assert found.submodule_search_locations is not None
        for name, folder in (("timm", ""), ("timm.optim", "/optim")):
            package = types.ModuleType(name)
            package.__path__ = [each + folder for each in found.submodule_search_locations]
            sys.modules[name] = package
    return importlib.import_module("timm.optim.lamb").Lamb


def _run(case: Mapping[str, Any]) -> dict[str, Any]:
    import torch

    given = dict(case["given"])
    lion = case["optimizer"] == "Lion"
    package = "lion-pytorch" if lion else "timm"
    make: Any = importlib.import_module("lion_pytorch").Lion if lion else _lamb()
    options: dict[str, Any] = {
        "lr": RATES[case["optimizer"]],
        "betas": (given.get("beta1", 0.9), given.get("beta2", 0.99 if lion else 0.999)),
        "weight_decay": given.get("weight_decay", 0.0),
    }
    if not lion:
        options |= {"eps": given.get("epsilon", 1e-6), "always_adapt": True, "max_grad_norm": None}
    tensors = {name: torch.from_numpy(start(name)).requires_grad_() for name in SHAPES}
    bare = [name for name in SHAPES if "bare" in case and name.endswith(".bias")]
    groups: list[dict[str, Any]] = [{"params": [tensors[name] for name in SHAPES if name not in bare]}]
    if bare:
        groups.append(
            {"params": [tensors[name] for name in bare], "weight_decay": 0.0, "lr": options["lr"] / 2}
        )
    optimizer = make(groups, **options)
    for step in range(1, STEPS + 1):
        for name, tensor in tensors.items():
            tensor.grad = torch.from_numpy(gradient(name, step))
        optimizer.step()
    return {
        **case,
        "package": f"{package} {importlib.metadata.version(package)}",
        "last": {name: tensor.detach().reshape(-1).tolist() for name, tensor in tensors.items()},
    }


if __name__ == "__main__":
    json.dump([_run(case) for case in CASES], sys.stdout, indent=1)
    sys.stdout.write("\n")
