"""The update rules that the root applies to an averaged gradient, on flat float32 vectors, in numpy.

Each optimiser is a module; `hyperparameters` has the values that each takes. Every rule is elementwise except for LAMB,
which needs complete tensors. So the result is bit-identical however the vector is divided into ranges. Clipping and the
check for NaN are not elementwise; they use sums of squares over fixed blocks, which are the same for every division on
block boundaries.
"""

from sapflow.algorithms.hyperparameters import NAMES, OptimizerName, OptimizerSettings
from sapflow.algorithms.optimizers.groups import Group, Grouping
from sapflow.algorithms.optimizers.norms import block_size, clip_scale, finite, squared_norms
from sapflow.algorithms.optimizers.rule import Float32, Float64, Rule
from sapflow.algorithms.optimizers.update import RULES, apply, initial, slots

__all__ = [
    "NAMES",
    "RULES",
    "Float32",
    "Float64",
    "Group",
    "Grouping",
    "OptimizerName",
    "OptimizerSettings",
    "Rule",
    "apply",
    "block_size",
    "clip_scale",
    "finite",
    "initial",
    "slots",
    "squared_norms",
]
