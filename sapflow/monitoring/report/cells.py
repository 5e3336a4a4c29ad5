"""The part of the report about a placed job's cells: their nodes, and the bytes through the store. Pure."""

from sapflow.monitoring.report import charts
from sapflow.monitoring.report.charts import Line
from sapflow.monitoring.report.elements import integer, table
from sapflow.monitoring.report.facts import Facts
from sapflow.monitoring.report.homes import Homes
from sapflow.planning.packing import Cells
from sapflow.planning.placement import Placement
from sapflow.quantities.memory import format_bytes


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
    return [
        said,
        '<div class="grid">',
        _table(facts.history.homes, plan.cells),
        _bytes(facts, placed),
        "</div>",
    ]


def _table(homes: Homes, cells: Cells) -> str:
    rows = []
    for cell in range(max(map(max, cells)) + 1):
        mergers = sum(row.count(cell) for row in cells[1:])
        root = ", the root among them" if cells[-1][0] == cell else ""
        rows.append([f"{cell}", homes.of(cell), f"{cells[0].count(cell):,}", f"{mergers:,}{root}"])
    return table(["cell", "node", "workers", "mergers"], rows)


def _bytes(facts: Facts, placed: Placement) -> str:
    sizes, slots = facts.history.start.sizes, len(facts.history.start.slots)
    vector = 4 * sizes.total
    predicted = placed.traffic(vector, vector, 4 * sizes.parameters * slots)
    points = [
        (float(commit.version), float(commit.measured.store_read + commit.measured.store_written))
        for commit in facts.history.commits
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
