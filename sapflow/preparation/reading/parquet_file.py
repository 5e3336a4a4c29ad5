"""One Parquet file as DuckDB sees it: on this machine itself, elsewhere its footer and the row groups that are read.

What is elsewhere is read into a file in memory that has the size of the whole and, but for those bytes, holes.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import UnsupportedOperation
from typing import TYPE_CHECKING, Any, BinaryIO

from sapflow.data.data_file import DataFile
from sapflow.errors import DataError

if TYPE_CHECKING:
    import duckdb

_MAGIC = b"PAR1"
_FOOTER_BYTES = 64 << 10
_COPY_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Where a row group lies: its first row, its number of rows, its bytes in the file, and how many they are when they
    are unpacked."""

    first: int
    rows: int
    begin: int
    end: int
    unpacked: int


class ParquetFile:
    """A file that is open for a connection of DuckDB's."""

    def __init__(
        self, file: DataFile, stream: BinaryIO, connection: "duckdb.DuckDBPyConnection", fd: int, here: bool
    ) -> None:
        self.file, self._stream, self._connection = file, stream, connection
        self._fd, self._here = fd, here

    @property
    def path(self) -> str:
        """Where DuckDB finds it."""
        return f"/proc/self/fd/{self._fd}"

    def row_groups(self) -> Sequence[RowGroup]:
        """The row groups in their order. Raises DataError."""
        page = "coalesce(least(nullif(dictionary_page_offset, 0), data_page_offset), data_page_offset)"
        found = self.rows_of(
            f"SELECT row_group_num_rows, min({page}), max({page} + total_compressed_size), "
            "sum(total_uncompressed_size)::BIGINT "
            f"FROM parquet_metadata('{self.path}') GROUP BY row_group_id, row_group_num_rows ORDER BY row_group_id"
        )
        groups, first = [], 0
        for rows, begin, end, unpacked in found:
            groups.append(RowGroup(first, rows, begin, end, unpacked))
            first += rows
        return groups

    def columns(self) -> list[tuple[str, Any]]:
        """(name, DuckDB's type) of each column."""
        relation = self.relation(f"SELECT * FROM read_parquet('{self.path}', hive_partitioning = false)")
        return list(zip(relation.columns, relation.types, strict=True))

    def fetch(self, groups: Sequence[RowGroup]) -> None:
        """Make the row groups readable."""
        if self._here:
            return
        for group in groups:
            at = group.begin
            while at < group.end:
                self._stream.seek(at)
                piece = self._stream.read(min(_COPY_BYTES, group.end - at))
                if not piece:
                    raise DataError(
                        f"{self.file.name} ends at {at} of {self.file.size} bytes: it was changed"
                    )
                os.pwrite(self._fd, piece, at)
                at += len(piece)

    def relation(self, query: str) -> Any:
        """A query's result, which runs as it is read. Raises DataError."""
        import duckdb

        try:
            return self._connection.sql(query)
        except duckdb.Error as error:
            raise self.unreadable(error) from error

    def rows_of(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a small result. Raises DataError."""
        import duckdb

        try:
            return list(self._connection.execute(query).fetchall())
        except duckdb.Error as error:
            raise self.unreadable(error) from error

    def unreadable(self, error: Exception) -> DataError:
        """What is told of an error of DuckDB's."""
        told = str(error).replace(self.path, self.file.name).partition("\n")[0]
        return DataError(f"{self.file.name} is no readable Parquet file: {told}")


@contextmanager
def opened(file: DataFile, connection: "duckdb.DuckDBPyConnection") -> Iterator[ParquetFile]:
    """The file, with its footer. Raises DataError."""
    with file.open() as stream:
        if file.local:
            try:
                fd = stream.fileno()
            except UnsupportedOperation:
                pass
            else:
                yield ParquetFile(file, stream, connection, fd, here=True)
                return
        memory = os.memfd_create("sapflow-parquet")
        try:
            os.ftruncate(memory, file.size)
            _copy_footer(file, stream, memory)
            yield ParquetFile(file, stream, connection, memory, here=False)
        finally:
            os.close(memory)


def _copy_footer(file: DataFile, stream: BinaryIO, memory: int) -> None:
    """Copy the beginning of 4 bytes, and the footer: its length stands before the last 4 bytes of the file."""
    size = min(file.size, _FOOTER_BYTES)
    stream.seek(file.size - size)
    tail = stream.read(size)
    if len(tail) < 12 or tail[-4:] != _MAGIC:
        raise DataError(f"{file.name} is no Parquet file: it does not end in {_MAGIC.decode()}")
    length = int.from_bytes(tail[-8:-4], "little") + 8
    if length > file.size:
        raise DataError(f"{file.name} is no readable Parquet file: its footer is longer than the file")
    if length > size:
        stream.seek(file.size - length)
        tail = stream.read(length)
    os.pwrite(memory, _MAGIC, 0)
    os.pwrite(memory, tail[-length:], file.size - length)
