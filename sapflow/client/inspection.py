"""A look at raw data, for the command line: the source is found, read and judged in this process."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sapflow.data.shared_data import finder
from sapflow.preparation.inspection import findings, inspection, proposal
from sapflow.preparation.inspection.findings import Finding
from sapflow.preparation.inspection.inspection import DEFAULT_ROWS as DEFAULT_ROWS
from sapflow.preparation.inspection.inspection import Inspection
from sapflow.preparation.inspection.proposal import Proposal
from sapflow.preparation.inspection.source_rows import open_rows
from sapflow.preparation.needed_packages import needed_packages


@dataclass(frozen=True, slots=True)
class Inspected:
    """What was found, what is remarkable in it, and a block to begin with."""

    found: Inspection
    findings: Sequence[Finding]
    proposal: Proposal


def inspect(
    source: str,
    *,
    format: str | None = None,
    options: Mapping[str, object] | None = None,
    missing: Sequence[str] | None = None,
    target: str | None = None,
    rows: int | None = DEFAULT_ROWS,
    store: str = "",
    tell: Callable[[int], None] = lambda rows: None,
) -> Inspected:
    """Look at a source: a path, or s3://bucket/prefix, whose endpoint is that of `store` if it names none.

    Its first `rows` rows are read, all if that is None. Raises DataError, StoreError.
    """
    with needed_packages():
        opened = open_rows(source, format, options or {}, missing, finder(store))
        found = inspection.inspect(opened, target, rows, tell)
    return Inspected(found, findings.findings(found), proposal.propose(found))
