"""The networks that workers train: built-in ones and users' own. This package imports torch."""

from sapflow.models.build import BUILT_IN, build
from sapflow.models.examine import examine
from sapflow.models.facts import ModelFacts, describe
from sapflow.models.flops import forward_flops

__all__ = [
    "BUILT_IN",
    "ModelFacts",
    "build",
    "describe",
    "examine",
    "forward_flops",
]
