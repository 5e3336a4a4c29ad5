"""What a driver has to do for the cells of a placed job: the channel of each contribution, litter, lost volumes."""

import logging
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from sapflow.errors import CellLost, ObjectMissing, SapflowError
from sapflow.messages.requests import COLLECTED_AT_ONCE
from sapflow.objects import keys
from sapflow.quantities import structure
from sapflow.records.commits import Plan

log = logging.getLogger(__name__)

REPETITIONS = {CellLost.reason: 8, ObjectMissing.reason: 2}
"""Times that one step is made anew because a cell was lost under it; or because the store has lost a contribution that
it had taken: nothing makes those durable, and one was seen to go with a MinIO that was killed."""
_LITTERED = 100_000
"""Keys that wait in a cell to be removed; of more the oldest are left to go with the volume."""


class Channels:
    """Which way a contribution takes by a plan: inside its cell where its reader is there too, else by the store."""

    def __init__(self, plan: Plan) -> None:
        self._tree, self._cells = plan.structure, plan.cells
        self._top = structure.levels(plan.structure)

    def cell(self, level: int, index: int) -> int | None:
        """The cell of a node, None where the job is not placed."""
        return None if self._cells is None else self._cells[level][index]

    def of(self, level: int, index: int, key: str) -> str:
        """The key by which what a node writes gets to its reader: to the merger above it, or the root to itself."""
        cell = self.cell(level, index)
        if cell is None:
            return key
        above = index if level == self._top else structure.parent(self._tree, level, index)
        return keys.in_cell(cell, key) if self.cell(min(level + 1, self._top), above) == cell else key


class Litter:
    """Keys that a cell's functions are to remove from its volume, which no driver can reach.

    Lost with its driver: what it held then goes with the volume.
    """

    def __init__(self, cells: int) -> None:
        self._waiting: list[OrderedDict[str, None]] = [OrderedDict() for _ in range(cells)]

    def take_in(self, names: Iterable[str]) -> list[str]:
        """Keep what lies on volumes, copies of parameters included; the names of what lies in the store."""
        left = []
        for name in names:
            cell = keys.cell_of(name)
            if cell is not None:
                self.put(cell, [name])
                continue
            left.append(name)
            if keys.is_params(name):
                for each in range(len(self._waiting)):
                    self.put(each, [name])
        return left

    def put(self, cell: int, names: Iterable[str]) -> None:
        waiting = self._waiting[cell]
        waiting.update(dict.fromkeys(names))
        while len(waiting) > _LITTERED:
            waiting.popitem(last=False)

    def take(self, cell: int) -> list[str]:
        """As many keys as one request carries."""
        waiting = self._waiting[cell]
        return [waiting.popitem(last=False)[0] for _ in range(min(len(waiting), COLLECTED_AT_ONCE))]


@contextmanager
def collecting(litter: Litter | None, cell: int | None) -> Iterator[list[str]]:
    """Keys for a call to remove in its cell; another does where it fails."""
    names = [] if litter is None or cell is None else litter.take(cell)
    try:
        yield names
    except BaseException:
        if litter is not None and cell is not None:
            litter.put(cell, names)
        raise


class Losses:
    """Steps that were lost with a cell's volume, or for an object: each may be made anew a few times."""

    def __init__(self) -> None:
        self._version, self._times = -1, dict.fromkeys(REPETITIONS, 0)

    def may_repeat(self, failure: SapflowError, version: int) -> bool:
        """Whether the step after `version`, which has failed, is to be made anew."""
        most = REPETITIONS.get(failure.reason)
        if most is None:
            return False
        if version != self._version:
            self._version, self._times = version, dict.fromkeys(REPETITIONS, 0)
        self._times[failure.reason] += 1
        times = self._times[failure.reason]
        log.warning("step %d is made anew (%d of %d): %s", version + 1, times, most, failure)
        return times <= most
