"""Columns of a result of DuckDB, which come as Arrow's arrays, as those of a batch.

No value becomes an object of Python but the different words of text, and bytes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sapflow.errors import DataError
from sapflow.preparation.batch import Blobs, Column
from sapflow.preparation.reading.words import text_of

_NUMBERS: dict[str, Any] = {
    "int8": np.int8,
    "uint8": np.uint8,
    "int16": np.int16,
    "uint16": np.uint16,
    "int32": np.int32,
    "uint32": np.uint32,
    "int64": np.int64,
    "uint64": np.uint64,
    "float": np.float32,
    "double": np.float64,
}


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of an array, which is nanoarrow's."""

    view: Any
    begin: int
    rows: int

    @property
    def first(self) -> int:
        """The first row's place in the array's buffers."""
        return int(self.view.offset) + self.begin

    @property
    def stop(self) -> int:
        return self.first + self.rows


@dataclass(frozen=True, slots=True)
class ArrowColumn:
    """Some rows of a column of a result."""

    name: str
    format: str
    """Its type as Arrow's C interface writes it."""
    parts: Sequence[Part]

    def valid(self) -> np.ndarray:
        """bool [n]: where there is a value."""
        return np.concatenate([np.empty(0, bool), *map(_valid, self.parts)])

    def booleans(self) -> np.ndarray:
        """bool [n] of a column of truth values; false where there is none."""
        return np.concatenate([np.empty(0, bool), *(_bits(each, 1) & _valid(each) for each in self.parts)])

    def column(self) -> Column:
        """Numbers and truth values as float64 with NaN, times as datetime64[us] with NaT, text, bytes, or lists of
        numbers that all have one length as float64 [n, k]. Raises DataError for others."""
        if self.format in ("u", "U"):
            return text_of(*self._bytes(), self.valid())
        if self.format in ("z", "Z"):
            return self._blobs()
        if self.format.startswith("+"):
            return np.concatenate([np.empty((0, self._width())), *map(self._vectors, self.parts)])
        if self.format.startswith("ts"):
            times = [np.where(_valid(each), _values(each), np.iinfo(np.int64).min) for each in self.parts]
            return np.concatenate([np.empty(0, np.int64), *times]).view("datetime64[us]")
        return np.concatenate([np.empty(0), *map(_numbers, self.parts)])

    def _bytes(self) -> tuple[np.ndarray, np.ndarray]:
        """The bytes of all values in a row, and where they end."""
        parts, edges, before = [np.empty(0, np.uint8)], [np.zeros(1, np.int64)], 0
        for each in self.parts:
            offsets = _offsets(each)
            parts.append(np.frombuffer(each.view.buffer(2), np.uint8)[offsets[0] : offsets[-1]])
            edges.append(offsets[1:] - offsets[0] + before)
            before = int(edges[-1][-1]) if len(edges[-1]) else before
        return np.concatenate(parts), np.concatenate(edges)

    def _blobs(self) -> Blobs:
        data, edges = self._bytes()
        held, ends = data.tobytes(), edges.tolist()
        return Blobs(
            tuple(
                held[ends[row] : ends[row + 1]] if there else None
                for row, there in enumerate(self.valid().tolist())
            )
        )

    def _width(self) -> int:
        if self.format.startswith("+w:"):
            return int(self.format[3:])
        lengths = np.concatenate(
            [np.empty(0, np.int64), *(np.diff(_offsets(each))[_valid(each)] for each in self.parts)]
        )
        if len(lengths) and lengths.min() != lengths.max():
            raise DataError(
                f"column {self.name}: lists of {lengths.min()} to {lengths.max()} numbers; those of a column must all "
                "have one length"
            )
        return int(lengths[0]) if len(lengths) else 0

    def _vectors(self, part: Part) -> np.ndarray:
        """float64 [n, k] of lists; NaN where a list is missing."""
        width, valid, child = self._width(), _valid(part), part.view.child(0)
        found = np.full((part.rows, width), np.nan)
        if self.format.startswith("+w:"):
            values = _numbers(Part(child, part.first * width, part.rows * width))
            found[valid] = values.reshape(-1, width)[valid]
        elif width and valid.any():
            offsets = _offsets(part)
            values = _numbers(Part(child, int(offsets[0]), int(offsets[-1] - offsets[0])))
            found[valid] = values[(offsets[:-1] - offsets[0])[valid][:, None] + np.arange(width)]
        return found


Columns = dict[str, ArrowColumn]


def columns_of(relation: Any) -> Columns:
    """The columns of a relation of DuckDB's, by name; its query runs. Raises duckdb.Error."""
    schema, arrays = _stream(relation)
    return _columns(schema, [(array, 0, array.length) for array in arrays])


def batches_of(relation: Any, rows: int) -> Iterator[Columns]:
    """The columns of a relation of DuckDB's, so many rows at a time, while its query runs. Raises duckdb.Error."""
    schema, arrays = _stream(relation)
    waiting: list[tuple[Any, int, int]] = []
    missing = rows
    for array in arrays:
        at = 0
        while at < array.length:
            taken = min(missing, array.length - at)
            waiting.append((array, at, taken))
            at, missing = at + taken, missing - taken
            if not missing:
                yield _columns(schema, waiting)
                waiting, missing = [], rows
    if waiting:
        yield _columns(schema, waiting)


def _stream(relation: Any) -> tuple[Any, Iterator[Any]]:
    import nanoarrow  # of use for tables alone

    stream = nanoarrow.c_array_stream(relation.__arrow_c_stream__())
    return stream.get_schema(), iter(stream)


def _columns(schema: Any, rows: Sequence[tuple[Any, int, int]]) -> Columns:
    """The columns of some rows of arrays: (array, the first one, how many)."""
    return {
        child.name: ArrowColumn(
            child.name,
            child.format,
            [Part(array.child(place).view(), begin, count) for array, begin, count in rows if count],
        )
        for place, child in enumerate(schema.children)
    }


def _bits(part: Part, buffer: int) -> np.ndarray:
    packed = np.frombuffer(part.view.buffer(buffer), np.uint8)
    bits = np.unpackbits(packed[part.first // 8 : (part.stop + 7) // 8], bitorder="little")
    return bits[part.first % 8 :][: part.rows].astype(bool)


def _valid(part: Part) -> np.ndarray:
    if not part.view.null_count or not part.view.buffer(0).size_bytes:
        return np.ones(part.rows, bool)
    return _bits(part, 0)


def _values(part: Part) -> np.ndarray:
    """int64 [n] of times."""
    return np.frombuffer(part.view.buffer(1), np.int64)[part.first : part.stop]


def _offsets(part: Part) -> np.ndarray:
    """int64 [n + 1] of text, bytes or lists."""
    kind = np.int64 if part.view.storage_type.startswith("large") else np.int32
    return np.frombuffer(part.view.buffer(1), kind)[part.first : part.stop + 1].astype(np.int64)


def _numbers(part: Part) -> np.ndarray:
    """float64 [n] of numbers or truth values. Raises DataError for others."""
    storage = part.view.storage_type
    if storage == "bool":
        values = _bits(part, 1).astype(np.float64)
    elif storage in _NUMBERS:
        values = np.frombuffer(part.view.buffer(1), _NUMBERS[storage])[part.first : part.stop].astype(
            np.float64
        )
    else:
        raise DataError(f"values of Arrow's type {storage} are no numbers")
    if part.view.null_count:
        values[~_valid(part)] = np.nan
    return values
