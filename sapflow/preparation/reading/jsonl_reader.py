"""JSON Lines: an object a line, read strictly. Objects within objects are columns of dotted names."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from sapflow.data.data_file import DataFile
from sapflow.data.options import Options, parse
from sapflow.errors import DataError
from sapflow.preparation.batch import Batch, Column, Kind, Origins, Text, missing, taken
from sapflow.preparation.reading import column_types
from sapflow.preparation.reading.content_check import refuse_other_content
from sapflow.preparation.reading.csv_records import Records, windows
from sapflow.preparation.reading.json_rows import BadLine, Path, RowDecoder, paths_of
from sapflow.preparation.reading.quoting import Marks
from sapflow.preparation.reading.reader import (
    RAW_CHARACTERS,
    Asked,
    Parsed,
    Piece,
    Plan,
    PlannedColumn,
    Reader,
    Rejected,
)
from sapflow.preparation.reading.text_cut import (
    cut_exactly,
    first_lines,
    scan_pieces,
    text_partitions,
    to_index,
)
from sapflow.preparation.reading.text_file import TextFile
from sapflow.preparation.reading.typed_fields import Notation, TypedFields
from sapflow.preparation.record import Record

_LINES = Marks(0, None)
"""A record is a line; a byte 0 is in none, since JSON refuses it."""
_FIELD = Marks(ord(","), ord('"'))


class JsonLinesOptions(Options):
    """Options of JSON Lines that are prepared. `unknown` says what becomes of a row with a field that is no column."""

    unknown: Literal["Refuse", "Ignore"] = "Refuse"


class JsonLinesReader(Reader):
    """Reads JSON Lines in UTF-8."""

    format = "jsonl"

    def survey(self, files: Sequence[DataFile], asked: Asked) -> Plan:
        options = parse(JsonLinesOptions, asked.options, "the format jsonl")
        refuse_other_content(files[0])
        rows = _first_rows(TextFile(files[0]))
        if not rows:
            raise DataError(
                f"{files[0].name} begins with no line that is a JSON object: write each row as an object in a line of "
                "its own, without brackets around them"
            )
        paths = paths_of(rows, tuple(asked.columns))
        columns = [_planned(name, path, rows, asked) for name, path in paths.items()]
        texts = [TextFile(file) for file in files]
        partitions, to_scan = text_partitions(texts)
        return Plan(
            format=self.format,
            columns=tuple(columns),
            partitions=partitions,
            to_scan=to_scan,
            to_index=to_index(texts),
            options=options.model_dump(),
            missing=tuple(asked.missing),
            notes={"paths": [list(path) for path in paths.values()]},
        )

    def partitioned(self, files: Sequence[DataFile], plan: Plan) -> Plan:
        partitions, to_scan = text_partitions([TextFile(file) for file in files])
        return plan.model_copy(update={"partitions": partitions, "to_scan": to_scan})

    def scan(self, files: Sequence[DataFile], plan: Plan, number: int) -> Record:
        partition = plan.partitions[number]
        return scan_pieces(
            {each.file: TextFile(files[each.file]) for each in partition.pieces}, partition, _LINES
        )

    def cut(self, plan: Plan, scans: Sequence[Record]) -> Plan:
        return cut_exactly(plan, scans)

    def batches(self, files: Sequence[DataFile], plan: Plan, number: int, first: int = 0) -> Iterator[Parsed]:
        options = JsonLinesOptions.model_validate(plan.options)
        paths: list[Path] = [tuple(path) for path in plan.notes["paths"]]
        decoder = RowDecoder(plan.columns, paths, plan.missing, ignore=options.unknown == "Ignore")
        partition = plan.partitions[number]
        batch = rows = 0
        with _Times() as times:
            for piece, line in zip(partition.pieces, first_lines(partition), strict=True):
                file = files[piece.file]
                for window in _windows(TextFile(file), piece, line):
                    if batch >= first:
                        yield _parsed(window, decoder, times, plan, file.name, rows, number)
                    rows += sum(map(len, window))
                    batch += 1


class _Times:
    """Reads times as they are read in CSV files."""

    def __init__(self) -> None:
        self._fields = TypedFields(["Time"], Notation(), _FIELD)

    def __enter__(self) -> "_Times":
        return self

    def __exit__(self, *_: object) -> None:
        self._fields.close()

    def of(self, text: Text) -> np.ndarray:
        """datetime64[us] [n]; NaT where there is no text or it says no time."""
        quoted = ['"' + word.replace('"', '""') + '"\n' for word in text.words]
        columns, bad = self._fields.read("".join(quoted).encode(), len(quoted))
        times = np.where(bad, np.datetime64("NaT"), np.asarray(columns[0]))
        return np.asarray(np.append(times, np.datetime64("NaT")).astype("datetime64[us]")[text.codes])


def _windows(text: TextFile, piece: Piece, line: int) -> Iterator[list[Records]]:
    if piece.begin == piece.end:
        return
    begin = text.begin() if piece.begin == 0 else piece.begin
    pieces = text.pieces(begin, piece.end if text.can_be_cut else None)
    yield from windows(pieces, _LINES, 1, line, text.file.name)


def _parsed(
    window: Sequence[Records],
    decoder: RowDecoder,
    times: _Times,
    plan: Plan,
    file: str,
    before: int,
    partition: int,
) -> Parsed:
    """A batch of the window, before which the partition has so many rows."""
    lines = [each for records in window for each in _lines(records)]
    columns, numbers, bad = decoder.rows(lines)
    kept = np.ones(len(numbers), bool)
    found: dict[str, Column] = {}
    for planned, column in zip(plan.columns, columns, strict=True):
        if planned.kind == "Time":
            assert isinstance(column, Text), "times come as text"
            read = times.of(column)
            for row in np.flatnonzero(missing(read) & ~missing(column)).tolist():
                kept[row] = False
                word = column.words[column.codes[row]]
                bad.setdefault(
                    int(numbers[row]), BadLine(planned.name, f"{word[:80]!r} is not a date or a time")
                )
            column = read
        found[planned.name] = column
    if not kept.all():
        found = {name: taken(column, kept) for name, column in found.items()}
    begins = np.concatenate([records.line for records in window])
    rejected = tuple(
        Rejected(
            before + number,
            file,
            int(begins[number]),
            bad[number].column,
            bad[number].reason,
            lines[number].decode("utf-8", "replace")[:RAW_CHARACTERS],
        )
        for number in sorted(bad)
    )
    origins = Origins.of_file(file, before, begins)
    return Parsed(Batch(found, before + numbers[kept], partition, origins=origins), rejected)


def _lines(records: Records) -> list[bytes]:
    data = records.text.tobytes()
    return [
        data[begin:stop] for begin, stop in zip(records.begin.tolist(), records.stop.tolist(), strict=True)
    ]


def _first_rows(text: TextFile) -> list[dict[str, Any]]:
    """The objects among the first lines of a file, from which types are found."""
    window = next(_windows(text, Piece(file=0, begin=0, end=text.file.size), 1), [])
    lines = [line for records in window for line in _lines(records)][: column_types.ROWS]
    rows = []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue  # told as a rejected row when it is read
        if isinstance(row, dict):
            rows.append(row)
    return rows


def _planned(name: str, path: Path, rows: Sequence[Mapping[str, Any]], asked: Asked) -> PlannedColumn:
    """What a column is read as: the declared type, or that of its values. Raises DataError where it has none."""
    values = [value for row in rows if (value := _inner(row, path)) is not None]
    declared = asked.columns.get(name)
    if declared == "Image":
        raise DataError(
            f"prepare.columns: {name} cannot be an Image in JSON Lines: name a folder of images instead"
        )
    if values and isinstance(values[0], list) and declared in (None, "Number"):
        if not values[0] or not all(isinstance(each, int | float | None) for each in values[0]):
            raise DataError(f"column {name} holds lists that are not of numbers: take it out of the files")
        return PlannedColumn(name=name, kind="Number", width=len(values[0]))
    return PlannedColumn(name=name, kind=declared or _kind(values, asked.missing))


def _kind(values: Sequence[Any], none: Sequence[str]) -> Kind:
    words = [value for value in values if isinstance(value, str) and value not in none]
    others = [value for value in values if not isinstance(value, str)]
    if others and not words:
        return "Number"
    if words and not others:
        with _Times() as times:
            if not missing(times.of(Text.of(words))).any():
                return "Time"
    return "Text"


def _inner(row: Mapping[str, Any], path: Path) -> Any:
    value: Any = row
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value
