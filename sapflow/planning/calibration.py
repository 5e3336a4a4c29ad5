"""Fitting the cost model's constants to measured steps."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sapflow.planning.constants import FITTED, Constants, Units
from sapflow.planning.cost_model import CostModel, Stage, Work
from sapflow.planning.least_squares import non_negative
from sapflow.quantities.structure import Structure

_PULL = 1e-4
"""The weight of a constant's starting value, where the starting values are little more than a guess."""
_ROUNDS = 4
_LEAST_PART = 0.02
"""Parts shorter than this share of their step are weighted as if they were this long."""


@dataclass(frozen=True, slots=True)
class LevelTime:
    """Time that the calls of one level took in a step: all together, the slowest, and by phase inside the functions.

    Level 0 is the workers, which compute.
    """

    calls: int
    seconds: float
    slowest: float
    phases: Mapping[str, float] = field(default_factory=dict)
    child_latency: float | None = None
    """The least seconds until a child began to arrive; None where that was not measured."""

    @property
    def compute_seconds(self) -> float:
        """Computing time of one worker, plus how far the slowest call, for which a step waits, lags the mean."""
        return (self.phases.get("compute", 0.0) - self.seconds) / max(self.calls, 1) + self.slowest

    @property
    def data_seconds(self) -> float:
        """Seconds in which one worker waited for its samples."""
        return self.phases.get("data", 0.0) / max(self.calls, 1)


@dataclass(frozen=True, slots=True)
class Measurement:
    """A warm step that was measured: what it had to do, and how long it took.

    `work.compute_seconds` and `work.data_seconds` are measured, too. `levels` holds the times by level, workers
    first; it is empty where they were not measured.
    """

    work: Work
    structure: Structure
    shards: int
    seconds: float
    levels: Sequence[LevelTime] = ()


def fit(measurements: Sequence[Measurement], start: Constants, *, pull: float = _PULL) -> Constants:
    """The constants ≥ 0 of least squared relative error.

    Steps of a few structures cannot tell all constants apart: constants that the measurements do not determine stay
    near `start`. Which calls a step waits for depends on the constants themselves, so the fit is repeated a few times.
    `pull` is the weight of a constant's starting value against one measurement's relative error.
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
    """Like `fit`, for the steps of one job, whose store may be farther away than the one that `start` was measured on.

    Steps of one tree cannot tell whether merging is slow because a merger has many children or because the store
    answers late, since a merger asks for several children at once and waits once. So mergers measure how long the first
    bytes of a child take. What that exceeds a near store's answer by, which is in `child`, is `fetch`. Where nobody
    measured it, children are expected to wait as much longer than with `start` as requests for parameters do, which do
    not overlap; so are the bytes of children.
    """
    first = fit([step], start)
    measured = [each.child_latency for each in step.levels if each.child_latency is not None]
    far = {
        "fetch": start.fetch
        + max(0.0, min(measured) - start.child if measured else first.request - start.request),
        "fetch_byte": start.fetch_byte + max(0.0, first.read - start.read),
    }
    return fit([step], start.changed(start.origin, far))


def _equations(one: Measurement, constants: Constants) -> Iterator[tuple[Units, float]]:
    """Pairs (units, the seconds that they took): one for the whole step, the others for its parts."""
    model = CostModel(one.work, constants)
    stages = tuple(model.stages(one.structure, one.shards))
    computing = stages[0].waves * one.work.worker_seconds
    path = model.path(stages, waiting=True)
    yield path, max(one.seconds - computing - _known(path, constants), 0.0)
    for index, level in enumerate(one.levels):
        if level.calls:
            # The root's two phases, where there are shards, are one level.
            mine = stages[index:] if index == len(one.structure) - 1 else stages[index : index + 1]
            yield from _parts(index, mine, level, constants)


def _known(units: Units, constants: Constants) -> float:
    """Seconds by a constant that is not fitted: what the bytes of inline contributions take on their way."""
    return constants.seconds({"inline_byte": units.get("inline_byte", 0.0)})


def _parts(
    index: int, stages: Sequence[Stage], level: LevelTime, constants: Constants
) -> Iterator[tuple[Units, float]]:
    """The equations of one level: below the root one call by phase, at the root one call of each of its phases."""
    calls = level.calls / len(stages)
    root = stages[0].name.startswith("root")
    units: dict[str, float] = {}
    for stage in stages:
        for name, number in stage.units.items():
            units[name] = units.get(name, 0.0) + number
    known = _known(units, constants)
    if root:
        yield units, max(0.0, level.seconds / calls - known)
        return
    phases = {name: seconds / calls for name, seconds in level.phases.items()}
    requests, stored = units.get("request", 0.0), "write" in units
    if index == 0:
        if stored:
            # Half of a worker's requests read parameters, the other half write its contribution.
            requests /= 2
        if "read" in units:
            yield {"request": requests, "read": units["read"]}, phases.get("read", 0.0)
    else:
        children = ("fetch", "fetch_byte", "child", "child_byte", "inline")
        yield {name: units[name] for name in children if name in units}, phases.get("merge", 0.0)
    if stored:
        yield {"request": requests, "write": units["write"]}, phases.get("write", 0.0)
    yield {"call": units["call"]}, max(0.0, level.seconds / calls - sum(phases.values()) - known)
