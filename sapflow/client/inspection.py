"""`sapflow.inspect`: a look at raw data, for scripts, notebooks and the command line: it is read in this process."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from sapflow.client.report import write
from sapflow.data.shared_data import finder
from sapflow.monitoring import inspection_page, inspection_text
from sapflow.preparation.inspection import findings, inspection, proposal
from sapflow.preparation.inspection.column_summary import ColumnSummary
from sapflow.preparation.inspection.findings import Finding
from sapflow.preparation.inspection.inspection import DEFAULT_ROWS as DEFAULT_ROWS
from sapflow.preparation.inspection.inspection import Inspection
from sapflow.preparation.inspection.proposal import Proposal
from sapflow.preparation.inspection.source_rows import open_rows
from sapflow.preparation.needed_packages import needed_packages

_FRAME = '<iframe srcdoc="{page}" style="width: 100%; height: 40rem; border: 0" title="{title}"></iframe>'


@dataclass(frozen=True, slots=True)
class Inspected:
    """What was found in a source, what is remarkable in it, and a block to begin with. Its text is what the command
    prints, and below a notebook's cell it is the page."""

    found: Inspection
    warnings: Sequence[Finding]
    """Each with `code`, `column` (empty where it is about rows as such), `message` and `remedy`."""
    proposal: Proposal

    @property
    def source(self) -> str:
        return self.found.source

    @property
    def rows(self) -> int:
        """Rows that were read, bad ones among them."""
        return self.found.rows

    @property
    def complete(self) -> bool:
        """Whether these are all rows of the source."""
        return self.found.complete

    @property
    def bad_rows(self) -> int:
        return self.found.bad

    @property
    def columns(self) -> dict[str, ColumnSummary]:
        """The columns by name, in their order."""
        return {each.name: each for each in self.found.columns}

    @property
    def target(self) -> str | None:
        """The column that is to be learnt, as it was named; None if none was."""
        return self.found.target

    @property
    def data(self) -> dict[str, Any]:
        """Source, format, options and `prepare`: what a TrainingJob takes as `data`, and runs as it is."""
        return self.proposal.data

    @property
    def prepare(self) -> dict[str, Any]:
        """The block spec.data.prepare to begin with, in the words of the reference."""
        block: dict[str, Any] = self.proposal.data["prepare"]
        return block

    def to_yaml(self) -> str:
        """The block `data` to paste into a job's spec, with what is not to be seen in it as comments."""
        return self.proposal.yaml()

    def to_json(self) -> dict[str, Any]:
        """All of it as a JSON value, as `sapflow inspect --json` prints it."""
        return inspection_text.body(self.found, self.warnings, self.proposal)

    def to_html(self, path: str | Path | None = None) -> str:
        """The page, which needs no network; with `path` it is written there, too. Raises DataError if that fails."""
        page = inspection_page.render(self.found, self.warnings, self.proposal)
        if path is not None:
            write(Path(path), page)
        return page

    def __str__(self) -> str:
        return inspection_text.text(self.found, self.warnings, self.proposal)

    def __repr__(self) -> str:
        more = "" if self.complete else "the first "
        return f"<Inspected {self.source}: {more}{self.rows:,} rows, {len(self.found.columns)} columns>"

    def _repr_html_(self) -> str:
        return _FRAME.format(page=escape(self.to_html()), title=escape(self.source))


def inspect(
    source: str | Path,
    *,
    format: str | None = None,
    options: Mapping[str, object] | None = None,
    missing: Sequence[str] | None = None,
    target: str | None = None,
    rows: int | None = DEFAULT_ROWS,
    store: str = "",
    tell: Callable[[int], None] = lambda rows: None,
) -> Inspected:
    """Look at raw data before it is prepared: types, missing values, distributions, the target, bad rows.

    `source` is a path, a folder, a glob, or s3://bucket/prefix?endpoint=URL; without an endpoint that of `store` is
    meant. `options` are those of the format, `missing` the texts that mean that a value is missing, and `target` is the
    column that is to be learnt. The first `rows` rows are read, all if that is None; `tell` is told how many were.
    Memory is bounded. Raises DataError, StoreError.
    """
    if rows is not None and rows < 1:
        raise ValueError(f"rows is {rows}: give a number of at least 1, or None for all rows")
    with needed_packages():
        opened = open_rows(str(source), format, options or {}, missing, finder(store))
        found = inspection.inspect(opened, target, rows, tell)
    return Inspected(found, findings.findings(found), proposal.propose(found))
