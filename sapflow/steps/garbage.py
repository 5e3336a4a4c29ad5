"""Keys that the functions of a cell are to remove from its volume, which no driver can reach."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from sapflow.messages.requests import COLLECTED_AT_ONCE
from sapflow.objects import keys
from sapflow.steps.leftovers import Leftovers

_MOST = 100_000
"""Keys that wait in a cell to be removed; of more the oldest are left to go with the volume."""


class CellGarbage:
    """What each cell is to remove, carried there by the calls that go to it.

    It is lost with its driver: what it held then goes with the volume.
    """

    def __init__(self, cells: int) -> None:
        self._waiting: list[OrderedDict[str, None]] = [OrderedDict() for _ in range(cells)]

    def take_in(self, leftovers: Leftovers) -> None:
        """Keep what lies on volumes, copies of parameters included: every cell may have one."""
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
        """As many keys as one request carries."""
        waiting = self._waiting[cell]
        return [waiting.popitem(last=False)[0] for _ in range(min(len(waiting), COLLECTED_AT_ONCE))]


@contextmanager
def collecting(garbage: CellGarbage | None, cell: int | None) -> Iterator[list[str]]:
    """Keys for a call to remove in its cell; another call takes them where it fails."""
    names = [] if garbage is None or cell is None else garbage.take(cell)
    try:
        yield names
    except BaseException:
        if garbage is not None and cell is not None:
            garbage.put(cell, names)
        raise
