"""CSV files: cut exactly at records, and read with types that are fixed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sapflow.data.data_file import DataFile
from sapflow.data.options import parse
from sapflow.errors import DataError
from sapflow.preparation.batch import Column, Kind
from sapflow.preparation.reading import column_types
from sapflow.preparation.reading.csv_file import CsvFile, Head
from sapflow.preparation.reading.csv_options import CsvOptions
from sapflow.preparation.reading.csv_records import MAX_RECORD_BYTES, UNCLOSED, windows
from sapflow.preparation.reading.csv_table import Tables, canonical
from sapflow.preparation.reading.pieces import grouped
from sapflow.preparation.reading.quoting import OUTSIDE, Span, scanned
from sapflow.preparation.reading.reader import (
    PARTITION_BYTES,
    Asked,
    Parsed,
    Partition,
    Piece,
    Plan,
    PlannedColumn,
    Reader,
)
from sapflow.preparation.reading.typed_fields import TypedFields
from sapflow.preparation.record import Record

_ONE_PIECE = Span(0, (OUTSIDE, OUTSIDE), (0, 0), (0, 0), (0, 0))
"""Of a file that is in one piece nothing has to be found."""
_FOUND = ("lines", "ends", "records", "first", "skipped")


class CsvReader(Reader):
    """Reads CSV. Files in UTF-8 and in encodings of one byte a character are cut anywhere; others, and compressed ones,
    are one partition each."""

    format = "csv"

    def survey(self, files: Sequence[DataFile], asked: Asked) -> Plan:
        options = parse(CsvOptions, asked.options, "the format csv")
        first = CsvFile(files[0], options)
        header = first.has_header({*asked.columns})
        head = first.head(header)
        names = _names(head)
        column_types.refuse_unknown(asked.columns, names, files[0].name)
        if images := [name for name, kind in asked.columns.items() if kind == "Image"]:
            raise DataError(
                f"prepare.columns: {images[0]} cannot be an Image in a CSV file: name a folder of images with format: "
                "images, and this file in options: table"
            )
        kinds = column_types.found(names, _Sample(first, head, tuple(asked.missing)).read, asked.columns)
        pieces = [
            Piece(file=number, begin=begin, end=min(begin + _piece_bytes(CsvFile(file, options)), file.size))
            for number, file in enumerate(files)
            if file.size
            for begin in range(0, file.size, _piece_bytes(CsvFile(file, options)))
        ]
        partitions = grouped(pieces)
        cut = {piece.file for piece in pieces if piece.begin}
        return Plan(
            format=self.format,
            columns=tuple(PlannedColumn(name=name, kind=kinds[name]) for name in names),
            partitions=partitions,
            to_scan=tuple(
                number
                for number, each in enumerate(partitions)
                if any(piece.file in cut for piece in each.pieces)
            ),
            options=options.model_dump(),
            missing=tuple(asked.missing),
            notes={"header": header},
        )

    def scan(self, files: Sequence[DataFile], plan: Plan, number: int) -> Record:
        options = CsvOptions.model_validate(plan.options)
        found = []
        for piece in plan.partitions[number].pieces:
            file = CsvFile(files[piece.file], options)
            if piece.begin == 0 and piece.end == file.file.size:
                found.append(_ONE_PIECE)
                continue
            with file.reading() as read:
                origin = file.origin(read)
                found.append(scanned(read, piece.begin, piece.end, origin, file.file.size, options.marks))
        return Record({name: [getattr(each, name) for each in found] for name in _FOUND})

    def cut(self, plan: Plan, scans: Sequence[Record]) -> Plan:
        cuts = _Cuts()
        for number, scan in zip(plan.to_scan, scans, strict=True):
            for piece, *found in zip(
                plan.partitions[number].pieces, *(scan.notes[name] for name in _FOUND), strict=True
            ):
                cuts.add(piece, dict(zip(_FOUND, found, strict=True)))
        begins = cuts.begins
        partitions = []
        for partition in plan.partitions:
            pieces, lines = [], []
            for piece in partition.pieces:
                begin, line = begins.get((piece.file, piece.begin), (piece.begin, 1))
                end, _ = begins.get((piece.file, piece.end), (piece.end, 0))
                if end - begin > piece.end - piece.begin + MAX_RECORD_BYTES:
                    raise DataError(
                        f"file {piece.file + 1} of the source, line {line} and after: a record has more than "
                        f"{MAX_RECORD_BYTES >> 20} MiB: {UNCLOSED}"
                    )
                pieces.append(Piece(file=piece.file, begin=begin, end=end))
                lines.append(line)
            partitions.append(Partition(pieces=tuple(pieces), notes={"lines": lines}))
        return plan.model_copy(update={"partitions": tuple(partitions), "to_scan": ()})

    def batches(self, files: Sequence[DataFile], plan: Plan, number: int, first: int = 0) -> Iterator[Parsed]:
        options = CsvOptions.model_validate(plan.options)
        partition = plan.partitions[number]
        lines = partition.notes.get("lines", [1] * len(partition.pieces))
        batch = rows = 0
        with Tables(plan, options, number) as tables:
            for piece, line in zip(partition.pieces, lines, strict=True):
                if piece.begin == piece.end:
                    continue
                table = tables.of(CsvFile(files[piece.file], options))
                for window in table.windows(piece, line):
                    if batch >= first:
                        yield table.parsed(window, rows)
                    rows += sum(map(len, window))
                    batch += 1


class _Cuts:
    """Where the pieces of each file truly begin, from what was found of them in their order."""

    def __init__(self) -> None:
        self.begins: dict[tuple[int, int], tuple[int, int]] = {}
        """(offset, line) of the first record of the piece of a file that was to begin at an offset."""
        self._file, self._state, self._line = -1, OUTSIDE, 1
        self._waiting: list[tuple[int, int]] = []

    def add(self, piece: Piece, found: Mapping[str, Any]) -> None:
        if piece.file != self._file:
            self._file, self._state, self._line, self._waiting = piece.file, OUTSIDE, 1, []
        self._waiting.append((piece.file, piece.begin))
        first = int(found["first"][self._state])
        if first >= 0:
            at = (0 if piece.begin == 0 else first, self._line + int(found["skipped"][self._state]))
            # Pieces in which no record begins are empty: they end where the next one begins.
            for waiting in self._waiting:
                self.begins[waiting] = at
            self._waiting = []
        for waiting in self._waiting:
            self.begins[waiting] = (piece.end, self._line)
        self._line += int(found["lines"])
        self._state = found["ends"][self._state]


@dataclass(frozen=True, slots=True)
class _Sample:
    """The first rows of a file, from which types are found."""

    file: CsvFile
    head: Head
    missing: tuple[str, ...]

    def read(self, kind: Kind) -> Sequence[Column]:
        """All columns as if they were of one kind."""
        options = self.file.options
        text = self.file.text(self.head.begin)
        window = next(windows(text, options.marks, self.head.width, self.head.line, self.file.file.name), [])
        some, rows = [], 0
        for records in window:
            kept = records.some(0, column_types.ROWS - rows)
            some.append(kept)
            rows += len(kept)
        with TypedFields([kind] * self.head.width, options.notation(self.missing), options.marks) as fields:
            columns, _ = fields.read(*canonical(some, options))
        return columns


def _piece_bytes(file: CsvFile) -> int:
    return PARTITION_BYTES if file.can_be_cut else max(1, file.file.size)


def _names(head: Head) -> tuple[str, ...]:
    return tuple(map(str, range(head.width))) if head.names is None else head.names
