"""Counts the arithmetic of a model, from which the planner predicts how long a worker computes."""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from sapflow.models.build import build

_SAMPLES = 2


def forward_flops(
    name_or_entrypoint: str,
    args: Mapping[str, Any],
    *,
    inputs: tuple[int, ...],
    outputs: int,
    env: Mapping[str, str] | None = None,
) -> int:
    """Floating-point operations of matrix products, convolutions and attention in a forward pass, per sample.

    Backward takes twice as many. Built-in models are counted on torch's meta device, without computing anything.
    Raises what `build` raises; `examine` explains what is wrong with a model.
    """
    own = ":" in name_or_entrypoint
    with torch.random.fork_rng(devices=[]), nullcontext() if own else torch.device("meta"):
        model = build(name_or_entrypoint, args, inputs=inputs, outputs=outputs, seed=0, env=env).eval()
        device = next(model.parameters()).device
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(torch.zeros((_SAMPLES, *inputs), device=device))
    return int(counter.get_total_flops()) // _SAMPLES
