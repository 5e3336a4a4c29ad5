"""The networks that workers train: built-in ones and the user's own. torch is imported here."""

from sapflow.models.build import BUILT_IN, build
from sapflow.models.examine import examine
from sapflow.models.facts import ModelFacts, describe
from sapflow.models.flops import forward_flops
from sapflow.models.losses import LossFunction, default_loss, loss_for

__all__ = [
    "BUILT_IN",
    "LossFunction",
    "ModelFacts",
    "build",
    "default_loss",
    "describe",
    "examine",
    "forward_flops",
    "loss_for",
]
