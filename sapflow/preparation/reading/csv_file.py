"""One CSV file: its header, and how it is written."""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from sapflow.data.data_file import DataFile
from sapflow.data.formats.header import PEEK, is_header
from sapflow.errors import DataError
from sapflow.preparation.reading.csv_options import CsvOptions
from sapflow.preparation.reading.csv_records import first_record, windows
from sapflow.preparation.reading.quoting import CR, LF
from sapflow.preparation.reading.text_file import TextFile

HEAD_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Head:
    """The beginning of a file."""

    names: tuple[str, ...] | None
    """None where the file has no header."""
    width: int
    begin: int
    """Where the records of its rows begin: a byte of the file, or of its text in UTF-8 where it cannot be cut."""
    line: int


@dataclass(frozen=True, slots=True)
class CsvFile:
    """A file and how it is written."""

    text: TextFile
    options: CsvOptions

    @classmethod
    def of(cls, file: DataFile, options: CsvOptions) -> "CsvFile":
        return cls(TextFile(file, options.written_in), options)

    @property
    def file(self) -> DataFile:
        return self.text.file

    def head(self, header: bool, known: Collection[str] = ()) -> Head:
        """Its beginning, which has a `header` or not. Raises DataError: no row at all, a name twice, none of the names
        that are `known`."""
        begin = self.text.begin()
        first = first_record(self.text.pieces(begin, step=HEAD_BYTES), self.options.marks, self.file.name)
        if first is None:
            raise DataError(f"{self.file.name} has no rows: leave it out of the source")
        if header and (reason := first.reason(0, 0, self.options.encoding)) and not first.counts_differ(0):
            raise DataError(f"{self.file.name}, line {first.line[0]}: {reason}")
        cells = [cell.strip() for cell in first.cells(0, self.options.marks)]
        if not header:
            return Head(None, len(cells), begin, 1)
        names = tuple(cell or f"Unnamed: {place}" for place, cell in enumerate(cells))
        twice = sorted(name for name, count in Counter(names).items() if count > 1)
        if twice:
            raise DataError(
                f"{self.file.name} has the column {twice[0]!r} twice: give each a name of its own"
            )
        if known and not {*names} & {*known}:
            raise DataError(
                f"{self.file.name} begins with {_list(names)}, which names none of the columns {_list(known)}: all "
                "files of a source have a header, or none has (options: header)"
            )
        stop = int(first.stop[0])
        two = first.text[stop : stop + 2].tobytes() == bytes([CR, LF])
        text = first.text[: stop + 1 + two].tobytes().decode()
        # In the encodings that can be cut a character is a byte.
        size = (
            len(text) if self.text.can_be_cut and not self.options.written_in.is_utf8 else len(text.encode())
        )
        lines = text.replace("\r\n", "\n").replace("\r", "\n").count("\n")
        return Head(names, len(names), begin + size, 1 + lines)

    def has_header(self, known: Collection[str]) -> bool:
        """Whether the first record names the columns, as `header` in the options says or by the records after it.
        `known` are names that it may have. Raises DataError where that cannot be told."""
        if self.options.header != "Auto":
            return self.options.header == "Present"
        rows = [[cell.strip() for cell in row] for row in self._rows(1 + PEEK)]
        return bool(rows) and is_header(rows[0], rows[1:], known, self.file.name)

    def _rows(self, count: int) -> Iterator[list[str]]:
        """The fields of so many of its records from the first on, or of fewer that have more than a batch's bytes."""
        marks, text = self.options.marks, self.text.pieces(self.text.begin(), step=HEAD_BYTES)
        for records in next(windows(text, marks, 0, 1, self.file.name, count), []):
            for number in range(len(records)):
                yield records.cells(number, marks)


def _list(names: Collection[str]) -> str:
    some = list(names)
    return ", ".join(some[:5]) + (" …" if len(some) > 5 else "")
