"""Garbage on the volumes of cells, which the cells' functions must remove because the driver cannot reach volumes."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from sapflow.messages.requests import COLLECTED_AT_ONCE
from sapflow.objects import keys
from sapflow.steps.leftovers import Leftovers

_MOST = 100_000
"""The most keys that wait for removal in a cell. If there are more, the oldest stay until the volume is removed."""


class CellGarbage:
    """The keys that each cell is to remove. Calls to the cell carry them.

    They are lost with the driver; the objects then stay until the volume is removed.
    """

    def __init__(self, cells: int) -> None:
        self._waiting: list[OrderedDict[str, None]] = [OrderedDict() for _ in range(cells)]

    def take_in(self, leftovers: Leftovers) -> None:
        """Add leftovers that are on volumes, including copies of parameters, which every cell may have."""
        for cell, key in leftovers.in_cells:
            self.put(cell, [key])
        for key in leftovers.keys:
            if keys.is_params(key):
                for each in range(len(self._waiting)):
                    self.put(each, [key])

    def put(self, cell: int, names: Iterable[str]) -> None:
        waiting = self._waiting[cell]
        waiting.update(dict.fromkeys(names))
        while len(waiting) > _MOST:
            waiting.popitem(last=False)

    def take(self, cell: int) -> list[str]:
        """As many keys as a request can carry."""
        waiting = self._waiting[cell]
        return [waiting.popitem(last=False)[0] for _ in range(min(len(waiting), COLLECTED_AT_ONCE))]


@contextmanager
def collecting(garbage: CellGarbage | None, cell: int | None) -> Iterator[list[str]]:
    """Keys that a call is to remove in its cell. If the call fails, another one gets them."""
    names = [] if garbage is None or cell is None else garbage.take(cell)
    try:
        yield names
    except BaseException:
        if garbage is not None and cell is not None:
            garbage.put(cell, names)
        raise
