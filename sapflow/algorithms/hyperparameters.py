"""The optimisers and the hyperparameters that each of them takes. It does not need numpy, because the spec reads it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

OptimizerName = Literal["SGD", "Momentum", "Nesterov", "Adam", "AdamW", "Adagrad", "RMSprop", "Lion", "LAMB"]

NAMES: tuple[str, ...] = get_args(OptimizerName)


@dataclass(frozen=True, slots=True)
class Kind:
    """One optimiser as the spec sees it."""

    defaults: Mapping[str, float | bool]
    """The fields of `OptimizerSettings` that it takes, without weight decay, and their default values."""
    weight_decay: float = 0.0
    """The default weight decay."""
    layerwise: bool = False
    """Whether it needs norms of complete tensors, so that the root must hold the complete vector."""


KINDS: Mapping[str, Kind] = {
    "SGD": Kind({}),
    "Momentum": Kind({"momentum": 0.9, "dampening": 0.0}),
    "Nesterov": Kind({"momentum": 0.9}),
    "Adam": Kind({"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}),
    "AdamW": Kind({"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}, weight_decay=0.01),
    "Adagrad": Kind({"epsilon": 1e-10, "initial_accumulator": 0.0}),
    "RMSprop": Kind({"alpha": 0.99, "epsilon": 1e-8, "momentum": 0.0, "centered": False}),
    "Lion": Kind({"beta1": 0.9, "beta2": 0.99}),
    "LAMB": Kind({"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-6}, layerwise=True),
}


def takers(field: str) -> tuple[str, ...]:
    """The optimisers that take a field of `OptimizerSettings`, in the order of `NAMES`."""
    return tuple(name for name in NAMES if field in KINDS[name].defaults)


@dataclass(frozen=True, slots=True)
class OptimizerSettings:
    """The settings of an optimiser, which ignores the fields that it does not use.

    `epsilon` None is the optimiser's own default. `weight_decay` is an L2 term added to the gradient; AdamW and Lion
    shrink the parameters by it instead, and LAMB adds it to the step before that is scaled.
    Raises ValueError for values that torch.optim refuses.
    """

    name: OptimizerName
    momentum: float = 0.9
    dampening: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float | None = None
    weight_decay: float = 0.0
    initial_accumulator: float = 0.0
    alpha: float = 0.99
    centered: bool = False

    def __post_init__(self) -> None:
        if self.name not in KINDS:
            raise ValueError(f"unknown optimizer {self.name!r}: use one of {', '.join(NAMES)}")
        if self.name == "Nesterov" and (self.momentum <= 0 or self.dampening != 0):
            raise ValueError("Nesterov needs a momentum above 0 and no dampening")
        for field in ("beta1", "beta2", "alpha"):
            if not 0 <= getattr(self, field) < 1:
                raise ValueError(f"{field} is {getattr(self, field)}, it must be at least 0 and below 1")
        for field in ("momentum", "weight_decay", "initial_accumulator"):
            if getattr(self, field) < 0:
                raise ValueError(f"{field} is {getattr(self, field)}, it must not be negative")

    @classmethod
    def of(cls, name: OptimizerName, **given: Any) -> "OptimizerSettings":
        """An optimiser with its own defaults for all values that are not given."""
        kind = KINDS[name]
        return cls(name=name, **{"weight_decay": kind.weight_decay, **kind.defaults, **given})

    @property
    def resolved_epsilon(self) -> float:
        """`epsilon`, or the optimiser's own."""
        return float(KINDS[self.name].defaults["epsilon"]) if self.epsilon is None else self.epsilon

    @property
    def layerwise(self) -> bool:
        """Whether the optimiser needs norms of whole tensors."""
        return KINDS[self.name].layerwise

    def to_json(self) -> dict[str, Any]:
        """Name, weight decay and the fields that the optimiser takes, as a request has them."""
        taken = {field: getattr(self, field) for field in KINDS[self.name].defaults}
        taken = {field: value for field, value in taken.items() if value is not None}
        return {"name": self.name, "weight_decay": self.weight_decay, **taken}
