"""Chooses the channel of each contribution of a step, by the step's plan."""

from sapflow.messages.refs import CELL, INLINE, STORE, Ref
from sapflow.quantities import structure
from sapflow.records.commits import Plan


class Routes:
    """The routes from each node of the merge tree to its reader: the merger above, or the root itself."""

    def __init__(self, plan: Plan) -> None:
        self._tree, self._cells, self._inline = plan.structure, plan.cells, plan.inline or ()
        self._top = structure.levels(plan.structure)

    def cell(self, level: int, index: int) -> int | None:
        """The cell of a node, None if the job is not placed."""
        return None if self._cells is None else self._cells[level][index]

    def ref(self, level: int, index: int, key: str, start: int, stop: int) -> Ref:
        """Where a node writes elements `start` to `stop`: on its cell's volume where the reader is there too, else
        inside its answer where the plan has its level inline, else in the store."""
        cell = self.cell(level, index)
        if cell is not None:
            above = index if level == self._top else structure.parent(self._tree, level, index)
            if self.cell(min(level + 1, self._top), above) == cell:
                return Ref(channel=CELL, key=key, start=start, stop=stop, cell=cell)
        channel = INLINE if level in self._inline else STORE
        return Ref(channel=channel, key=key, start=start, stop=stop)
