"""One CSV file: its bytes, its text in UTF-8, and its header."""

import codecs
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

from sapflow.data.data_file import DataFile
from sapflow.data.formats.header import PEEK, is_header
from sapflow.errors import DataError
from sapflow.preparation.reading.compression import BROKEN, is_packed, unpacked
from sapflow.preparation.reading.csv_options import CsvOptions
from sapflow.preparation.reading.csv_records import first_record, windows
from sapflow.preparation.reading.quoting import CR, LF

READ_BYTES = 4 << 20
HEAD_BYTES = 64 << 10
_BOM = codecs.BOM_UTF8
_UNDECODABLE = "sapflow.undecodable"
# A lone surrogate is no UTF-8 when it is encoded again, so its record is told from the others like any that is none.
codecs.register_error(_UNDECODABLE, lambda error: ("\udc80", getattr(error, "end", 0)))


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

    file: DataFile
    options: CsvOptions

    @property
    def can_be_cut(self) -> bool:
        """Whether its records can be found from any of its bytes on."""
        return self.options.one_byte and not is_packed(self.file.name)

    @contextmanager
    def reading(self) -> Iterator[Callable[[int, int], bytes]]:
        """A function that gives the file's bytes from one offset to another."""
        with self.file.open() as stream:

            def read(begin: int, end: int) -> bytes:
                stream.seek(begin)
                found = stream.read(end - begin)
                if len(found) < min(end, self.file.size) - begin:
                    raise DataError(
                        f"{self.file.name} ends at {begin + len(found)} of {self.file.size} bytes: it was changed"
                    )
                return found

            yield read

    def origin(self, read: Callable[[int, int], bytes]) -> int:
        """Where its text begins, after a byte order mark."""
        return len(_BOM) if self.options.is_utf8 and read(0, len(_BOM)) == _BOM else 0

    def text(self, begin: int = 0, end: int | None = None, step: int = READ_BYTES) -> Iterator[bytes]:
        """Its text from one offset to another (None: to its end), or of a file that cannot be cut from an offset of its
        text on, in pieces of UTF-8 for which `step` bytes are read. Raises DataError."""
        if self.can_be_cut:
            yield from self._utf8(self._bytes(begin, self.file.size if end is None else end, step))
            return
        left = begin
        for piece in self._utf8(self._stream()):
            if left < len(piece):
                yield piece[left:]
            left = max(0, left - len(piece))

    def head(self, header: bool, known: Collection[str] = ()) -> Head:
        """Its beginning, which has a `header` or not. Raises DataError: no row at all, a name twice, none of the names
        that are `known`."""
        begin = self._origin()
        first = first_record(self.text(begin, step=HEAD_BYTES), self.options.marks, self.file.name)
        if first is None:
            raise DataError(f"{self.file.name} has no rows: leave it out of the source")
        if header and (reason := first.reason(0, 0, self.options.encoding)) and not first.counts_differ(0):
            raise DataError(f"{self.file.name}, line {first.line[0]}: {reason}")
        cells = [cell.strip() for cell in first.cells(0, self.options.marks)]
        if not header:
            return Head(None, len(cells), begin, 1)
        names = tuple(cell or f"Unnamed: {place}" for place, cell in enumerate(cells))
        twice = sorted({name for name in names if names.count(name) > 1})
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
        size = len(text) if self.can_be_cut and not self.options.is_utf8 else len(text.encode())
        lines = text.replace("\r\n", "\n").replace("\r", "\n").count("\n")
        return Head(names, len(names), begin + size, 1 + lines)

    def has_header(self, known: Collection[str]) -> bool:
        """Whether the first record names the columns, as `header` in the options says or by the records after it.
        `known` are names that it may have. Raises DataError where that cannot be told."""
        if self.options.header != "Auto":
            return self.options.header == "Present"
        rows = [[cell.strip() for cell in row] for row in islice(self.rows(), 1 + PEEK)]
        return bool(rows) and is_header(rows[0], rows[1:], known, self.file.name)

    def rows(self) -> Iterator[list[str]]:
        """The fields of its records from the first on."""
        marks = self.options.marks
        for window in windows(self.text(self._origin(), step=HEAD_BYTES), marks, 0, 1, self.file.name):
            for records in window:
                for number in range(len(records)):
                    yield records.cells(number, marks)

    def _origin(self) -> int:
        if not self.can_be_cut:
            return 0
        with self.reading() as read:
            return self.origin(read)

    def _bytes(self, begin: int, end: int, step: int) -> Iterator[bytes]:
        with self.reading() as read:
            for at in range(begin, end, step):
                yield read(at, min(end, at + step))

    def _stream(self) -> Iterator[bytes]:
        with unpacked(self.file) as stream:
            while piece := _some(stream.read, self.file.name):
                yield piece

    def _utf8(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        if self.options.is_utf8:
            if self.can_be_cut:
                yield from pieces
                return
            first = next(pieces, b"")
            yield first.removeprefix(_BOM)
            yield from pieces
            return
        decoder = codecs.getincrementaldecoder(self.options.encoding)(_UNDECODABLE)
        start = True
        for piece in pieces:
            text = decoder.decode(piece)
            if start and text:
                text, start = text.removeprefix("\ufeff"), False
            yield text.encode("utf-8", "surrogatepass")
        yield decoder.decode(b"", final=True).encode("utf-8", "surrogatepass")


def _some(read: Callable[[int], bytes], name: str) -> bytes:
    try:
        return read(READ_BYTES)
    except BROKEN as error:
        raise DataError(f"{name} is corrupt: {error}") from error


def _list(names: Collection[str]) -> str:
    some = list(names)
    return ", ".join(some[:5]) + (" …" if len(some) > 5 else "")
