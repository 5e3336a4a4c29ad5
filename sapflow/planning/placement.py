"""Placement: the cell of each node of a job's merge tree, and the bytes that then pass through the store.

A cell is the part of a job that is kept on one Kubernetes node, with storage there that its functions share. A
contribution goes through that storage if its reader is in the same cell, else through the object store.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from sapflow.errors import SpecError
from sapflow.planning import packing
from sapflow.planning.packing import Cells, Problem
from sapflow.quantities import structure
from sapflow.quantities.memory import format_quantity, parse_quantity
from sapflow.quantities.roles import Role
from sapflow.quantities.structure import Structure
from sapflow.text import count

if TYPE_CHECKING:
    from sapflow.spec.training_job import TrainingJob

ROOT_CELL = 0
"""The root's cell. Calls that are no part of a step (data, evaluations, the result) go there, too."""


@dataclass(frozen=True)
class Placement:
    """A merge tree packed into cells. All shards of a merger are in the same cell."""

    tree: Structure
    shards: int
    cells: Cells
    reuse_workers: bool = False

    def to_json(self) -> dict[str, Any]:
        """The placement as a JSON value; `read` reads it back."""
        return {
            "structure": list(self.tree),
            "shards": self.shards,
            "reuseWorkers": self.reuse_workers,
            "cells": [list(row) for row in self.cells],
        }

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> "Placement":
        """Reads what `to_json` wrote. Raises KeyError or TypeError if it is no placement."""
        cells = tuple(tuple(row) for row in body["cells"])
        return cls(tuple(body["structure"]), body["shards"], cells, body["reuseWorkers"])

    @cached_property
    def count(self) -> int:
        """The number of cells that hold something."""
        return max(max(row) for row in self.cells) + 1

    @cached_property
    def _workers(self) -> Counter[int]:
        return Counter(self.cells[0])

    @cached_property
    def _mergers(self) -> Counter[int]:
        """Merge calls at once in each cell: those of its widest level, since a level waits for the one below."""
        most: Counter[int] = Counter()
        for row in self.cells[1:]:
            for cell, nodes in Counter(row).items():
                most[cell] = max(most[cell], nodes * self.shards)
        return most

    def instances(self, cell: int) -> dict[Role, int]:
        """Calls of each role that may be under way in a cell at once; with 0 the cell needs no such function."""
        workers, mergers = self._workers[cell], self._mergers[cell]
        if self.reuse_workers:
            workers, mergers = max(workers, mergers), 0
        if cell == ROOT_CELL:
            # Evaluations, the first version and the export of the last one are made here.
            workers, mergers = max(workers, 1), max(mergers, 1)
        return {"worker": workers, "merger": mergers}

    def outline(self) -> dict[str, Any]:
        """A summary as a JSON value: cells, workers in each, edges of the tree, and edges that cross cells."""
        return {
            "cells": self.count,
            "workers": [self._workers[cell] for cell in range(self.count)],
            "edges": sum(self.tree[1:]),
            "crossing": sum(packing.crossings(self.tree, self.cells)),
        }

    @property
    def words(self) -> str:
        """The outline as a line of text."""
        of = self.outline()
        shares = " + ".join(map(str, of["workers"]))
        return f"{of['cells']:,}: {shares} workers; {of['crossing']:,} of {of['edges']:,} edges cross"

    def traffic(self, contribution: int, parameters: int, state: int = 0) -> "Traffic":
        """Bytes that a warm step moves through the store, from the bytes of each vector; `state` is the optimiser's.

        The root keeps parameters and state in memory, and leaves a copy of the parameters in its cell; every other
        cell with workers reads them once.
        """
        crossing = sum(packing.crossings(self.tree, self.cells)) * contribution
        readers = sum(cell != ROOT_CELL for cell in self._workers)
        return Traffic(crossing + readers * parameters, crossing + parameters + state)


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes read from and written to the store."""

    read: int
    written: int

    @property
    def total(self) -> int:
        return self.read + self.written


def traffic_unplaced(
    tree: Structure, instances: int, contribution: int, parameters: int, state: int = 0
) -> Traffic:
    """Like `Placement.traffic`, for a job without cells whose ranks are served by `instances` warm workers."""
    edges = sum(tree[1:]) * contribution
    return Traffic(edges + instances * parameters, edges + parameters + state)


def of(job: "TrainingJob") -> Placement | None:
    """The placement that a job asks for; None if its functions may run anywhere.

    Raises SpecError if they do not fit into the cells.
    """
    spec = job.spec
    if spec.affinity is None:
        return None
    tree, shards, asked = job.structure, job.shards, spec.placement
    cells = min((asked and asked.cells) or 1, spec.workers)
    memory = asked.memory_per_cell if asked else None
    weights: dict[tuple[str, str], int] = {(each.child, each.parent): each.weight for each in spec.affinity}
    problem = Problem(
        tree,
        tuple(weights.get(_ends(tree, level), 0) for level in range(structure.levels(tree))),
        cells,
        (asked and asked.workers_per_cell) or -(-spec.workers // cells),
        None if memory is None else parse_quantity(memory),
        parse_quantity(spec.memory.worker),
        0 if spec.merge.reuse_workers else parse_quantity(spec.memory.merger) * shards,
    )
    packed = _pack(problem)
    if packed is None:
        need = tree[-1] * problem.worker_bytes + sum(tree[:-1]) * problem.merger_bytes
        room = count(problem.workers, "worker")
        remedy = "raise placement.cells or placement.workersPerCell"
        if memory is not None:
            room = f"{memory} and {room}"
            remedy += ", placement.memoryPerCell, or ask for less memory or fewer workers"
        message = (
            f"the functions need {format_quantity(need)} together, and no way was found to fit them into "
            f"{count(cells, 'cell')} of {room} each: {remedy}"
        )
        raise SpecError([("spec.placement", message)])
    return Placement(tree, shards, packed, spec.merge.reuse_workers)


def _ends(tree: Structure, level: int) -> tuple[str, str]:
    """The kinds of nodes that the edges from a level upwards join."""
    return (
        "Merger" if level else "Worker",
        "Root" if level == structure.levels(tree) - 1 else "Merger",
    )


@lru_cache(maxsize=64)
def _pack(problem: Problem) -> Cells | None:
    return packing.pack(problem)
