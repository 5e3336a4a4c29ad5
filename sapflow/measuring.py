"""Constants from steps that were measured."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sapflow.constants import FITTED, Constants
from sapflow.fitting import non_negative
from sapflow.law import Law, Work
from sapflow.structure import Structure

_PULL = 1e-4
"""Where nothing but the steps themselves is known of the constants."""
_ROUNDS = 4


@dataclass(frozen=True, slots=True)
class Measurement:
    """A warm step: what it did, as it was measured, `work.compute_seconds` included, and how long it took."""

    work: Work
    structure: Structure
    shards: int
    seconds: float


def fit(measurements: Sequence[Measurement], start: Constants, *, pull: float = _PULL) -> Constants:
    """The constants ≥ 0 of least squared relative error.

    Steps of a few structures cannot tell all constants apart: what they say nothing of stays near `start`. Which
    calls a step waits for depends on the constants themselves, hence the rounds. `pull` is the weight of a
    constant's earlier value against one measurement's relative error.
    """
    names = [name for name in FITTED if getattr(start, name) > 0]
    scale = np.array([getattr(start, name) for name in names])
    fitted = start
    for _ in range(_ROUNDS):
        rows, values = [], []
        for each in measurements:
            law = Law(each.work, fitted)
            legs = tuple(law.legs(each.structure, each.shards))
            units = law.path(legs, waiting=True)
            computing = legs[0].waves * each.work.compute_seconds
            rows.append([units.get(name, 0.0) * start for name, start in zip(names, scale, strict=True)])
            values.append(each.seconds - computing)
        weight = 1 / np.array([each.seconds for each in measurements])
        matrix = np.vstack([np.array(rows) * weight[:, None], pull * np.eye(len(names))])
        wanted = np.concatenate([np.array(values) * weight, np.full(len(names), pull)])
        factors = non_negative(matrix, wanted)
        found = {name: float(value) for name, value in zip(names, factors * scale, strict=True)}
        fitted = start.changed(f"{len(measurements)} measured steps", found)
    return fitted
