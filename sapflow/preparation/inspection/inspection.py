"""A look at a source before it is prepared: columns, distributions, the target, bad rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sapflow.errors import DataError
from sapflow.preparation.batch import Batch
from sapflow.preparation.inspection.association import determination
from sapflow.preparation.inspection.column_summary import ColumnSummary, Counter
from sapflow.preparation.inspection.row_sample import RowSample
from sapflow.preparation.inspection.source_rows import SourceRows
from sapflow.preparation.reading.content_check import columns_note
from sapflow.preparation.reading.reader import Rejected
from sapflow.text import some_of

DEFAULT_ROWS = 1_000_000
"""So many rows are read, if nothing else is asked for."""
MOST_REJECTED = 5
"""Bad rows that are shown."""
MOST_REASONS = 3
_COUNTED_REASONS = 1000
CLASSES = 20
"""A target of whole numbers with so many different ones at most is taken for classes."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found. `target` is the column that is to be learnt, None if none was named."""

    source: str
    format: str
    options: Mapping[str, object]
    missing: tuple[str, ...]
    files: int
    size: int
    """Bytes of all files."""
    rows: int
    """Rows that were read, bad ones among them."""
    complete: bool
    """Whether these are all rows of the source."""
    bad: int
    rejected: tuple[Rejected, ...]
    """The first bad rows."""
    reasons: tuple[tuple[str, int], ...]
    """Why rows are bad, the most frequent first, and of how many; at most MOST_REASONS."""
    sampled: int
    """Rows in the sample that quartiles, histograms and `determines` are of."""
    columns: tuple[ColumnSummary, ...]
    target: str | None
    determines: Mapping[str, float]
    """How far each column determines the target, from 0 to 1; empty without one."""

    def column(self, name: str) -> ColumnSummary:
        return next(each for each in self.columns if each.name == name)

    @property
    def classes(self) -> bool:
        """Whether the target's values are classes, and no numbers to be met."""
        return self.target is not None and are_classes(self.column(self.target))


def are_classes(target: ColumnSummary) -> bool:
    """Whether a column, taken as a target, has classes: words, or few whole numbers."""
    if target.column.kind == "Text":
        return True
    if target.numbers is None or target.column.kind != "Number" or target.column.width > 1:
        return False
    return target.numbers.integral and target.distinct is not None and target.distinct <= CLASSES


def inspect(
    source: SourceRows,
    target: str | None = None,
    rows: int | None = DEFAULT_ROWS,
    tell: Callable[[int], None] = lambda rows: None,
) -> Inspection:
    """Read the source, or its first `rows` rows. `tell` is told how many rows were read. Raises DataError, also where
    the target is no column."""
    names = [each.name for each in source.plan.columns]
    if target is not None and target not in names:
        shown = some_of(names) + columns_note(source.files, source.plan)
        raise DataError(f"target: {source.source} has no column {target!r}; it has {shown}")
    counters = [Counter(each) for each in source.plan.columns]
    sampled = [each.column.name for each in counters if each.counted]
    sample = RowSample(sampled)
    seen = bad = 0
    rejected: list[Rejected] = []
    reasons: dict[str, int] = {}
    complete = True
    for parsed in source.parsed():
        if rows is not None and seen >= rows:
            complete = False
            break
        batch, wrong = parsed.batch, parsed.rejected
        if rows is not None and len(batch) + len(wrong) > rows - seen:
            batch, wrong = _first(batch, wrong, rows - seen)
            complete = False
        seen += len(batch) + len(wrong)
        bad += len(wrong)
        rejected += wrong[: MOST_REJECTED - len(rejected)]
        for each in wrong:
            reason = f"column {each.column}: {each.reason}" if each.column else each.reason
            if reason in reasons or len(reasons) < _COUNTED_REASONS:
                reasons[reason] = reasons.get(reason, 0) + 1
        for counter in counters:
            counter.add(batch.columns[counter.column.name])
        sample.add(batch)
        tell(seen)
    if seen == 0:
        raise DataError(f"{source.source} holds no rows")
    if seen == bad:
        first = rejected[0]
        raise DataError(
            f"{source.source} has no row that can be read: {first.file}, line {first.line}: {first.reason}; see "
            "the options of its format"
        )
    summaries = tuple(each.summary(sample.values.get(each.column.name)) for each in counters)
    return Inspection(
        source.source,
        source.format,
        source.asked.options,
        tuple(source.asked.missing),
        len(source.files),
        sum(file.size for file in source.files),
        seen,
        complete,
        bad,
        tuple(rejected),
        tuple(sorted(reasons.items(), key=lambda each: -each[1])[:MOST_REASONS]),
        min(seen - bad, sample.rows),
        summaries,
        target,
        {} if target is None else _determines(summaries, target, sample.values),
    )


def _first(batch: Batch, wrong: Sequence[Rejected], rows: int) -> tuple[Batch, tuple[Rejected, ...]]:
    """The first rows of a batch and of those rejected beside it, by their numbers."""
    numbers = np.sort(np.concatenate([batch.numbers, [each.number for each in wrong]]))
    end = numbers[rows]
    return batch.take(batch.numbers < end), tuple(each for each in wrong if each.number < end)


def _determines(
    summaries: Sequence[ColumnSummary], target: str, sample: Mapping[str, np.ndarray]
) -> dict[str, float]:
    of = next(each for each in summaries if each.name == target)
    if target not in sample:
        return {}
    return {
        each.name: determination(
            sample[each.name],
            sample[target],
            words=each.column.kind == "Text",
            classes=are_classes(of),
        )
        for each in summaries
        if each.name != target and each.name in sample
    }
