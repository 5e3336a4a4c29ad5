"""Packing the nodes of a merge tree into cells, so that the heaviest edges stay inside them (section VI of the paper).

All cells are alike: each holds a number of workers and an amount of memory. An edge between two cells costs its
weight; of packings with equal sums of weights, the one with fewer such edges wins. That is bin packing with a tree on
top. On small trees a search finds the best packing within its budget; on others the best of several simple packings
is taken.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sapflow.quantities import structure
from sapflow.quantities.structure import Structure

Cells = tuple[tuple[int, ...], ...]
"""The cell of each node, by level (workers first) and index."""

SEARCHED = 20_000
"""The search gives up after it has placed this many nodes."""
_SEARCHABLE = 64
"""Larger trees are not searched at all."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A tree, and the cells that are to hold it. Memory is in bytes."""

    tree: Structure
    weights: tuple[int, ...]
    """Weights of the edges from each level to the one above, those of the workers first."""
    cells: int
    workers: int
    """The most workers in a cell."""
    memory: int | None = None
    """The most bytes in a cell; None means no limit."""
    worker_bytes: int = 0
    merger_bytes: int = 0

    @property
    def top(self) -> int:
        return structure.levels(self.tree)

    @property
    def unit(self) -> int:
        """The cost of a weight of 1, if a crossing edge by itself costs 1: more than all edges of the tree together."""
        return sum(self.tree) + 1

    def edge(self, level: int) -> int:
        """The cost of an edge from `level` upwards that crosses."""
        return self.weights[level] * self.unit + 1

    def size(self, level: int) -> int:
        """Bytes of a node's memory."""
        return self.merger_bytes if level else self.worker_bytes

    def fits(self, cells: Cells) -> bool:
        """Whether every cell keeps its limits."""
        if max(Counter(cells[0]).values()) > self.workers:
            return False
        if self.memory is None:
            return True
        held: Counter[int] = Counter()
        for level, row in enumerate(cells):
            for cell in row:
                held[cell] += self.size(level)
        return max(held.values()) <= self.memory

    def cost(self, cells: Cells) -> int:
        """The sum over the edges that cross, which is minimised."""
        return sum(
            self.edge(level) * count for level, count in enumerate(crossings(self.tree, cells)) if count
        )


def crossings(tree: Structure, cells: Cells) -> list[int]:
    """The number of edges from each level, those of the workers first, whose ends lie in different cells."""
    return [
        sum(
            cell != cells[level + 1][structure.parent(tree, level, index)]
            for index, cell in enumerate(cells[level])
        )
        for level in range(structure.levels(tree))
    ]


def pack(problem: Problem) -> Cells | None:
    """The best packing found, its cells numbered from the root's on; None if no packing was found that fits.

    The same problem always has the same answer.
    """
    found = [
        built for build in (_in_blocks, _by_subtrees, _round_robin) if (built := build(problem)) is not None
    ]
    best = min(found, key=problem.cost) if found else None
    if sum(problem.tree) <= _SEARCHABLE:
        best = _Search(problem, best).run()
    return None if best is None else _renumbered(best)


def _renumbered(cells: Cells) -> Cells:
    """The packing with its cells numbered in order of appearance from the root down; empty cells are left out."""
    number: dict[int, int] = {}
    for row in reversed(cells):
        for cell in row:
            number.setdefault(cell, len(number))
    return tuple(tuple(number[cell] for cell in row) for row in cells)


def _round_robin(problem: Problem) -> Cells | None:
    """Round-robin, as a scheduler would do it that knows no edges."""
    tree = reversed(problem.tree)
    return _fitting(problem, tuple(tuple(index % problem.cells for index in range(width)) for width in tree))


def _in_blocks(problem: Problem) -> Cells | None:
    """Workers in even blocks of consecutive ranks, because the ranks of a subtree are consecutive."""
    count = problem.tree[-1]
    return _with_mergers(problem, [rank * problem.cells // count for rank in range(count)])


def _by_subtrees(problem: Problem) -> Cells | None:
    """The largest subtrees first, each where it fits best; a subtree that fits nowhere is split into its children's."""
    tree = problem.tree
    room = [problem.workers] * problem.cells
    of: dict[int, int] = {}
    waiting: list[tuple[int, int, range]] = [(problem.top, 0, range(tree[-1]))]
    while waiting:
        waiting.sort(key=lambda item: (-len(item[2]), item[2].start))
        level, index, ranks = waiting.pop(0)
        fitting = [cell for cell in range(problem.cells) if room[cell] >= len(ranks)]
        if fitting:
            cell = min(fitting, key=_preference(problem, room, of, level, index))
            room[cell] -= len(ranks)
            of.update(dict.fromkeys(ranks, cell))
        elif level == 0:
            return None
        else:
            start = ranks.start
            for child in structure.children(tree, level, index):
                width = _workers_below(tree, level - 1, child)
                waiting.append((level - 1, child, range(start, start + width)))
                start += width
    return _with_mergers(problem, [of[rank] for rank in range(tree[-1])])


def _preference(
    problem: Problem, room: list[int], of: dict[int, int], level: int, index: int
) -> Callable[[int], tuple[int, int, int]]:
    """A sort key of cells: those with more of a node's siblings come first, then the fuller ones; for a single worker
    the emptier ones, so that its siblings find room beside it."""
    beside: Counter[int] = Counter()
    if level == 0:
        above = structure.parent(problem.tree, 0, index)
        beside.update(of[rank] for rank in structure.children(problem.tree, 1, above) if rank in of)
    return lambda cell: (-beside[cell], room[cell] if level else -room[cell], cell)


def _workers_below(tree: Structure, level: int, index: int) -> int:
    first = last = index
    for each in range(level, 0, -1):
        first = structure.children(tree, each, first).start
        last = structure.children(tree, each, last).stop - 1
    return last - first + 1


def _with_mergers(problem: Problem, workers: Sequence[int]) -> Cells | None:
    """A packing with the given cells of the workers and the mergers where they cost least."""
    best = _best_mergers(problem, workers)
    if problem.fits(best):
        return best
    return _fitting(problem, _mergers_one_by_one(problem, workers))


def _best_mergers(problem: Problem, workers: Sequence[int]) -> Cells:
    """The packing of least cost for the given cells of the workers, memory ignored.

    Dynamic programming: costs are computed from the workers up, the choices are then made from the root down.
    """
    tree, everywhere = problem.tree, range(problem.cells)
    never = problem.edge(max(range(problem.top), key=problem.edge)) * problem.unit
    costs = [[[0 if cell == mine else never for cell in everywhere] for mine in workers]]
    for level in range(1, problem.top + 1):
        edge, below = problem.edge(level - 1), costs[-1]
        least = [min(row) + edge for row in below]
        costs.append(
            [
                [sum(min(below[child][cell], least[child]) for child in group) for cell in everywhere]
                for group in (structure.children(tree, level, i) for i in range(structure.width(tree, level)))
            ]
        )
    rows: list[list[int]] = [[min(everywhere, key=costs[-1][0].__getitem__)]]
    for level in range(problem.top - 1, -1, -1):
        row = []
        for index, choices in enumerate(costs[level]):
            above = rows[-1][structure.parent(tree, level, index)]
            away = min(everywhere, key=choices.__getitem__)
            row.append(above if choices[above] <= choices[away] + problem.edge(level) else away)
        rows.append(row)
    return tuple(tuple(row) for row in reversed(rows))


def _mergers_one_by_one(problem: Problem, workers: Sequence[int]) -> Cells:
    """From the workers up, each merger goes to the cell with most of its children among those with enough memory."""
    rows = [list(workers)]
    held: Counter[int] = Counter()
    for cell in workers:
        held[cell] += problem.worker_bytes
    limit = problem.memory or 0
    for level in range(1, problem.top + 1):
        row: list[int] = []
        for index in range(structure.width(problem.tree, level)):
            beside = Counter(rows[-1][child] for child in structure.children(problem.tree, level, index))
            free = [c for c in range(problem.cells) if held[c] + problem.merger_bytes <= limit]
            # If no cell has enough memory, the packing is refused at the end by `_fitting`.
            cell = min(free or range(problem.cells), key=lambda c: (-beside[c], held[c], c))
            held[cell] += problem.merger_bytes
            row.append(cell)
        rows.append(row)
    return tuple(tuple(row) for row in rows)


def _fitting(problem: Problem, cells: Cells) -> Cells | None:
    return cells if problem.fits(cells) else None


class _Search:
    """A depth-first search from the root down that tries each node beside its parent first, and abandons a branch once
    it costs as much as the best packing known."""

    def __init__(self, problem: Problem, best: Cells | None) -> None:
        self._problem, self._best = problem, best
        self._bound = problem.cost(best) if best is not None else None
        self._nodes = [
            (level, index)
            for level in range(problem.top, -1, -1)
            for index in range(structure.width(problem.tree, level))
        ]
        self._rows = [[0] * width for width in reversed(problem.tree)]
        self._workers = [0] * problem.cells
        self._memory = [0] * problem.cells
        self._left = SEARCHED

    def run(self) -> Cells | None:
        """The best packing, or the best found until the budget was used up."""
        self._place(0, 0, 0)
        return self._best

    def _place(self, position: int, cost: int, used: int) -> None:
        if self._bound is not None and cost >= self._bound:
            return
        if position == len(self._nodes):
            self._best, self._bound = tuple(tuple(row) for row in self._rows), cost
            return
        level, index = self._nodes[position]
        for cell, more in self._choices(level, index, used):
            if self._left == 0:
                return
            self._left -= 1
            self._put(level, cell, 1)
            if self._holds(cell):
                self._rows[level][index] = cell
                self._place(position + 1, cost + more, max(used, cell + 1))
            self._put(level, cell, -1)

    def _choices(self, level: int, index: int, used: int) -> Iterator[tuple[int, int]]:
        """Pairs of a cell and its cost.

        Cells are alike, so only one of the empty ones is tried. Sibling workers are alike, so each is placed in the
        cell of the sibling before it or a later one.
        """
        problem = self._problem
        if level == problem.top:
            yield 0, 0
            return
        above = structure.parent(problem.tree, level, index)
        home = self._rows[level + 1][above]
        others = [cell for cell in range(min(used + 1, problem.cells)) if cell != home]
        order = [home, *others]
        if level == 0 and index > structure.children(problem.tree, 1, above).start:
            order = order[order.index(self._rows[0][index - 1]) :]
        for cell in order:
            yield cell, 0 if cell == home else problem.edge(level)

    def _put(self, level: int, cell: int, sign: int) -> None:
        if level == 0:
            self._workers[cell] += sign
        self._memory[cell] += sign * self._problem.size(level)

    def _holds(self, cell: int) -> bool:
        limit = self._problem.memory
        return self._workers[cell] <= self._problem.workers and (limit is None or self._memory[cell] <= limit)
