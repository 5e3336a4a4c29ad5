"""The rows of a source in their order, read in one process: whole, or the first ones."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sapflow.data.data_file import DataFile
from sapflow.data.files import FindFiles
from sapflow.data.source_files import used_files
from sapflow.errors import DataError
from sapflow.preparation.reading.reader import Asked, Parsed, Plan, Reader
from sapflow.preparation.reading.registry import reader_of
from sapflow.preparation.record import Record
from sapflow.spec.preparation.prepare import DEFAULT_MISSING


@dataclass(frozen=True, slots=True)
class SourceRows:
    """A source whose columns and types are known."""

    source: str
    format: str
    files: Sequence[DataFile]
    asked: Asked
    plan: Plan
    reader: Reader

    def parsed(self) -> Iterator[Parsed]:
        """All rows, batch by batch. Partitions are scanned as they are reached, so a beginning is read soon."""
        scans: dict[int, Record] = {}
        for number in range(len(self.plan.partitions)):
            yield from self.reader.batches(self.files, self._exact(number, scans), number)

    def _exact(self, number: int, scans: dict[int, Record]) -> Plan:
        """The plan in which the partitions up to `number` are exact."""
        if number not in self.plan.to_scan:
            return self.plan
        # Where a partition ends is known by the scan of the next.
        last = number + 2
        to_scan = tuple(each for each in self.plan.to_scan if each < last)
        kept = self.plan.model_copy(
            update={"partitions": self.plan.partitions[:last], "to_scan": to_scan},
        )
        for each in to_scan:
            if each not in scans:
                scans[each] = self.reader.scan(self.files, kept, each)
        return self.reader.cut(kept, [scans[each] for each in to_scan])


def open_rows(
    source: str,
    format: str | None,
    options: Mapping[str, object],
    missing: Sequence[str] | None,
    find: FindFiles,
) -> SourceRows:
    """The source with the types that a preparation would find. Raises DataError."""
    format, files = used_files(source, format, find, raw=True)
    reader = reader_of(format)
    asked = Asked(options, {}, tuple(missing or DEFAULT_MISSING))
    plan = reader.survey(files, asked)
    if not plan.partitions:
        raise DataError(f"{source} holds no rows")
    return SourceRows(source, format, files, asked, plan, reader)
