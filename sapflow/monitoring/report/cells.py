"""The part of the report about a placed job's cells: their nodes, and the bytes through the store. Pure."""

from collections.abc import Sequence

from sapflow.monitoring.report import charts
from sapflow.monitoring.report.charts import Line
from sapflow.monitoring.report.elements import integer, table
from sapflow.monitoring.report.facts import Facts
from sapflow.planning.packing import Cells
from sapflow.planning.placement import Placement
from sapflow.quantities.memory import format_bytes
from sapflow.records.commits import Commit

UNKNOWN = "not told"


def section(facts: Facts) -> list[str]:
    """The section's content; empty if the job was not placed."""
    plan = facts.plan
    if plan.cells is None:
        return []
    placed = Placement(plan.structure, plan.shards, plan.cells, plan.mergers == "worker")
    of = placed.outline()
    said = (
        f"<p>{of['cells']:,} cells: {of['crossing']:,} of {of['edges']:,} edges between functions cross from one to "
        "another and go by the store, as do parameters on their way to other cells than the root's.</p>"
    )
    return [said, '<div class="grid">', _table(facts.commits, plan.cells), _bytes(facts, placed), "</div>"]


def _table(commits: Sequence[Commit], cells: Cells) -> str:
    rows = []
    for cell in range(max(map(max, cells)) + 1):
        mergers = sum(row.count(cell) for row in cells[1:])
        root = ", the root among them" if cells[-1][0] == cell else ""
        rows.append([f"{cell}", homes(commits, cell), f"{cells[0].count(cell):,}", f"{mergers:,}{root}"])
    return table(["cell", "node", "workers", "mergers"], rows)


def homes(commits: Sequence[Commit], cell: int) -> str:
    """The nodes of a cell, with the steps at which it moved."""
    found = stays(commits, cell)
    if not found:
        return UNKNOWN
    return ", ".join([found[0][1], *(f"from step {commit.version:,} {node}" for commit, node in found[1:])])


def stays(commits: Sequence[Commit], cell: int) -> list[tuple[Commit, str]]:
    """The nodes on which a cell was, each with the first commit that names it."""
    found: list[tuple[Commit, str]] = []
    for commit in commits:
        node = (commit.measured.nodes or {}).get(cell)
        if node is not None and (not found or found[-1][1] != node):
            found.append((commit, node))
    return found


def _bytes(facts: Facts, placed: Placement) -> str:
    sizes, slots = facts.start.sizes, len(facts.start.slots)
    vector = 4 * sizes.total
    predicted = placed.traffic(vector, vector, 4 * sizes.parameters * slots)
    points = [
        (float(commit.version), float(commit.measured.store_read + commit.measured.store_written))
        for commit in facts.commits
        if commit.measured.store_read is not None and commit.measured.store_written is not None
    ]
    return charts.lines(
        [Line("through the store", "s1", points)],
        x="step",
        y="bytes",
        x_format=integer,
        y_format=format_bytes,
        from_zero=True,
        limits=[("predicted", "s3", float(predicted.total))],
    )
