"""What the root does with an averaged gradient: update rules on flat float32 vectors, in numpy.

One module an optimiser; `hyperparameters` says what each takes. Every rule is elementwise, so the result is
bit-identical for every cut of the vector into ranges, but for a layerwise one (LAMB), which needs whole tensors. What
is not elementwise (clipping, the check for NaN) goes through sums of squares over fixed blocks, which any cut on block
boundaries reproduces.
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
