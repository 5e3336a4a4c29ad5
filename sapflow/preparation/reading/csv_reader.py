"""CSV files: cut exactly at records, and read with types that are fixed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sapflow.data.data_file import DataFile
from sapflow.data.options import parse
from sapflow.errors import DataError
from sapflow.preparation.batch import Column, Kind
from sapflow.preparation.reading import column_types
from sapflow.preparation.reading.content_check import refuse_other_content
from sapflow.preparation.reading.csv_file import CsvFile, Head
from sapflow.preparation.reading.csv_options import CsvOptions
from sapflow.preparation.reading.csv_records import Records, windows
from sapflow.preparation.reading.csv_table import Fields, Tables
from sapflow.preparation.reading.quoting import Marks
from sapflow.preparation.reading.reader import (
    Asked,
    Parsed,
    Plan,
    PlannedColumn,
    Reader,
)
from sapflow.preparation.reading.text_cut import (
    cut_exactly,
    first_lines,
    scan_pieces,
    text_partitions,
    to_index,
)
from sapflow.preparation.reading.text_file import TextFile
from sapflow.preparation.reading.typed_fields import Notation
from sapflow.preparation.record import Record

_SAMPLE_BYTES = 1 << 20
"""That are read at once where types are found."""


class CsvReader(Reader):
    """Reads CSV. Files in UTF-8 and in encodings of one byte a character are cut anywhere; others, and compressed ones,
    are one partition each."""

    format = "csv"

    def survey(self, files: Sequence[DataFile], asked: Asked) -> Plan:
        options = parse(CsvOptions, asked.options, "the format csv")
        refuse_other_content(files[0], options.encoding)
        first = CsvFile.of(files[0], options)
        header = first.has_header({*asked.columns})
        head = first.head(header)
        names = _names(head)
        if len(names) == 1 and "delimiter" not in options.model_fields_set:
            _refuse_other_delimiter(names[0] if header else "", first)
        column_types.refuse_unknown(asked.columns, names, files[0].name)
        if images := [name for name, kind in asked.columns.items() if kind == "Image"]:
            raise DataError(
                f"prepare.columns: {images[0]} cannot be an Image in a CSV file: name a folder of images with format: "
                "images, and this file in options: table"
            )
        sample = _Sample.of(first, head, tuple(asked.missing))
        kinds = column_types.found(names, sample.read, asked.columns)
        texts = [TextFile(file, options.written_in) for file in files]
        partitions, to_scan = text_partitions(texts)
        return Plan(
            format=self.format,
            columns=tuple(PlannedColumn(name=name, kind=kinds[name]) for name in names),
            partitions=partitions,
            to_scan=to_scan,
            to_index=to_index(texts),
            options=options.model_dump(),
            missing=tuple(asked.missing),
            notes={"header": header},
        )

    def partitioned(self, files: Sequence[DataFile], plan: Plan) -> Plan:
        options = CsvOptions.model_validate(plan.options)
        partitions, to_scan = text_partitions([TextFile(file, options.written_in) for file in files])
        return plan.model_copy(update={"partitions": partitions, "to_scan": to_scan})

    def scan(self, files: Sequence[DataFile], plan: Plan, number: int) -> Record:
        options = CsvOptions.model_validate(plan.options)
        partition = plan.partitions[number]
        pieces = {each.file: TextFile(files[each.file], options.written_in) for each in partition.pieces}
        return scan_pieces(pieces, partition, options.marks)

    def cut(self, plan: Plan, scans: Sequence[Record]) -> Plan:
        return cut_exactly(plan, scans)

    def batches(self, files: Sequence[DataFile], plan: Plan, number: int, first: int = 0) -> Iterator[Parsed]:
        options = CsvOptions.model_validate(plan.options)
        partition = plan.partitions[number]
        batch = rows = 0
        with Tables(plan, options, number) as tables:
            for piece, line in zip(partition.pieces, first_lines(partition), strict=True):
                if piece.begin == piece.end:
                    continue
                table = tables.of(CsvFile.of(files[piece.file], options))
                for window in table.windows(piece, line):
                    if batch >= first:
                        yield table.parsed(window, rows)
                    rows += sum(map(len, window))
                    batch += 1


@dataclass(frozen=True, slots=True)
class _Sample:
    """The first rows of a file, from which types are found."""

    window: Sequence[Records]
    width: int
    notation: Notation
    marks: Marks

    @classmethod
    def of(cls, file: CsvFile, head: Head, missing: tuple[str, ...]) -> "_Sample":
        marks = file.options.marks
        text = file.text.pieces(head.begin, step=_SAMPLE_BYTES)
        found = windows(text, marks, head.width, head.line, file.file.name, column_types.ROWS)
        return cls(next(found, []), head.width, file.options.notation(missing), marks)

    def read(self, kind: Kind) -> Sequence[Column]:
        """All columns as if they were of one kind."""
        with Fields([kind] * self.width, self.notation, self.marks) as fields:
            columns, _ = fields.read(self.window)
        return columns


def _refuse_other_delimiter(name: str, file: CsvFile) -> None:
    """Raise DataError where the only column is named as several that something else than a comma separates."""
    for mark, said in ((";", "';'"), ("\t", "a tab"), ("|", "'|'")):
        if mark in name:
            raise DataError(
                f"{file.file.name} has one column, {name!r}: if {said} separates columns, say options: delimiter: "
                f"{mark!r}; if not, say options: delimiter: ','"
            )


def _names(head: Head) -> tuple[str, ...]:
    return tuple(map(str, range(head.width))) if head.names is None else head.names
