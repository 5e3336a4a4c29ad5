"""Constants from steps that were measured."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sapflow.planning.constants import FITTED, Constants, Units
from sapflow.planning.cost_model import Law, Leg, Work
from sapflow.planning.least_squares import non_negative
from sapflow.quantities.structure import Structure

_PULL = 1e-4
"""Where nothing but the steps themselves is known of the constants."""
_ROUNDS = 4
_LEAST_PART = 0.02
"""Of a step: the error of a shorter part of it does not count for more."""


@dataclass(frozen=True, slots=True)
class Level:
    """What the calls of one level took in a step, all together, and by phase inside the functions; level 0 computes."""

    calls: int
    seconds: float
    slowest: float
    phases: Mapping[str, float] = field(default_factory=dict)

    @property
    def compute_seconds(self) -> float:
        """Of one worker: computing, and how far the slowest call, for which a step waits, is behind the others."""
        return (self.phases.get("compute", 0.0) - self.seconds) / max(self.calls, 1) + self.slowest


@dataclass(frozen=True, slots=True)
class Measurement:
    """A warm step: what it did, as it was measured, `work.compute_seconds` included, and how long it took.

    `levels` are its parts, workers first; empty where they were not timed.
    """

    work: Work
    structure: Structure
    shards: int
    seconds: float
    levels: Sequence[Level] = ()


def fit(measurements: Sequence[Measurement], start: Constants, *, pull: float = _PULL) -> Constants:
    """The constants ≥ 0 of least squared relative error.

    Steps of a few structures cannot tell all constants apart: what they and their parts say nothing of stays near
    `start`. Which calls a step waits for depends on the constants themselves, hence the rounds. `pull` is the weight of
    a constant's earlier value against one measurement's relative error.
    """
    names = [name for name in FITTED if getattr(start, name) > 0]
    scale = np.array([getattr(start, name) for name in names])
    fitted = start
    for _ in range(_ROUNDS):
        rows, values = [], []
        for each in measurements:
            for units, seconds in _equations(each, fitted):
                weight = 1 / max(seconds, _LEAST_PART * each.seconds)
                rows.append(
                    [weight * units.get(name, 0.0) * start for name, start in zip(names, scale, strict=True)]
                )
                values.append(weight * seconds)
        matrix = np.vstack([np.array(rows), pull * np.eye(len(names))])
        wanted = np.concatenate([np.array(values), np.full(len(names), pull)])
        factors = non_negative(matrix, wanted)
        found = {name: float(value) for name, value in zip(names, factors * scale, strict=True)}
        fitted = start.changed(f"{len(measurements)} measured steps", found)
    return fitted


def learn(step: Measurement, start: Constants) -> Constants:
    """As `fit`, of one job's steps, whose store may be farther away than that of `start`.

    Steps of one tree cannot tell whether a merger's children take long because there are many, or because the store
    answers late: it asks for some at once, and those share one wait. But requests for parameters are not shared. What
    they, and bytes, take longer than where `start` was measured is taken for the way to the store, and children are
    expected to wait as long.
    """
    first = fit([step], start)
    far = {
        "fetch": start.fetch + max(0.0, first.request - start.request),
        "fetch_byte": start.fetch_byte + max(0.0, first.read - start.read),
    }
    return fit([step], start.changed(start.origin, far))


def _equations(one: Measurement, constants: Constants) -> Iterator[tuple[Units, float]]:
    """(units, the seconds that they took): of the whole step, and of its parts."""
    law = Law(one.work, constants)
    legs = tuple(law.legs(one.structure, one.shards))
    computing = legs[0].waves * one.work.compute_seconds
    yield law.path(legs, waiting=True), max(one.seconds - computing, 0.0)
    for index, level in enumerate(one.levels):
        if level.calls:
            # The root's two phases, where there are shards, are one level.
            mine = legs[index:] if index == len(one.structure) - 1 else legs[index : index + 1]
            yield from _parts(index, mine, level)


def _parts(index: int, legs: Sequence[Leg], level: Level) -> Iterator[tuple[Units, float]]:
    """Of one call of a level below the root, by phase; of one call of each of the root's phases, as a whole."""
    calls = level.calls / len(legs)
    root = legs[0].name.startswith("root")
    units: dict[str, float] = {}
    for leg in legs:
        for name, number in leg.units.items():
            units[name] = units.get(name, 0.0) + number
    if root:
        yield units, level.seconds / calls
        return
    phases = {name: seconds / calls for name, seconds in level.phases.items()}
    requests = units["request"]
    if index == 0:
        # Half of a worker's requests read the parameters, half write its contribution.
        requests /= 2
        yield {"request": requests, "read": units["read"]}, phases.get("read", 0.0)
    else:
        yield (
            {name: units[name] for name in ("fetch", "fetch_byte", "child", "child_byte")},
            phases.get("merge", 0.0),
        )
    yield {"request": requests, "write": units["write"]}, phases.get("write", 0.0)
    yield {"call": units["call"]}, max(0.0, level.seconds / calls - sum(phases.values()))
