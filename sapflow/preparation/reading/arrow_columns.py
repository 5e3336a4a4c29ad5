"""Columns of a result of DuckDB, which come as Arrow's arrays, as those of a batch.

No value becomes an object of Python but the different words of text, and bytes.
"""

from collections.abc import Sequence
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
class ArrowColumn:
    """A column of a result, in chunks as nanoarrow has them."""

    name: str
    format: str
    """Its type as Arrow's C interface writes it."""
    chunks: Sequence[Any]

    def valid(self) -> np.ndarray:
        """bool [n]: where there is a value."""
        return np.concatenate([np.empty(0, bool), *map(_valid, self.chunks)])

    def booleans(self) -> np.ndarray:
        """bool [n] of a column of truth values; false where there is none."""
        return np.concatenate([np.empty(0, bool), *(_bits(each, 1) & _valid(each) for each in self.chunks)])

    def column(self) -> Column:
        """Numbers and truth values as float64 with NaN, times as datetime64[us] with NaT, text, bytes, or lists of
        numbers that all have one length as float64 [n, k]. Raises DataError for others."""
        if self.format in ("u", "U"):
            return text_of(*self._bytes(), self.valid())
        if self.format in ("z", "Z"):
            return self._blobs()
        if self.format.startswith("+"):
            return np.concatenate([np.empty((0, self._width())), *map(self._vectors, self.chunks)])
        if self.format.startswith("ts"):
            times = [np.where(_valid(each), _values(each), np.iinfo(np.int64).min) for each in self.chunks]
            return np.concatenate([np.empty(0, np.int64), *times]).view("datetime64[us]")
        return np.concatenate([np.empty(0), *map(_numbers, self.chunks)])

    def _bytes(self) -> tuple[np.ndarray, np.ndarray]:
        """The bytes of all values in a row, and where they end."""
        parts, edges, before = [np.empty(0, np.uint8)], [np.zeros(1, np.int64)], 0
        for each in self.chunks:
            offsets = _offsets(each)
            parts.append(np.frombuffer(each.buffer(2), np.uint8)[offsets[0] : offsets[-1]])
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
            [np.empty(0, np.int64), *(np.diff(_offsets(each))[_valid(each)] for each in self.chunks)]
        )
        if len(lengths) and lengths.min() != lengths.max():
            raise DataError(
                f"column {self.name}: lists of {lengths.min()} to {lengths.max()} numbers; those of a column must all "
                "have one length"
            )
        return int(lengths[0]) if len(lengths) else 0

    def _vectors(self, chunk: Any) -> np.ndarray:
        """float64 [n, k] of a chunk of lists; NaN where a list is missing."""
        width, valid, values = self._width(), _valid(chunk), _numbers(chunk.child(0))
        found = np.full((chunk.length, width), np.nan)
        if self.format.startswith("+w:"):
            begin = chunk.offset * width
            found[valid] = values[begin : begin + chunk.length * width].reshape(-1, width)[valid]
        elif width and valid.any():
            found[valid] = values[_offsets(chunk)[:-1][valid][:, None] + np.arange(width)]
        return found


def columns_of(relation: Any) -> dict[str, ArrowColumn]:
    """The columns of a relation of DuckDB's, by name; its query runs. Raises duckdb.Error."""
    import nanoarrow  # of use for tables alone

    stream = nanoarrow.c_array_stream(relation.__arrow_c_stream__())
    schema = stream.get_schema()
    arrays = list(stream)
    return {
        child.name: ArrowColumn(
            child.name, child.format, [array.child(place).view() for array in arrays if array.length]
        )
        for place, child in enumerate(schema.children)
    }


def _bits(chunk: Any, buffer: int) -> np.ndarray:
    packed = np.frombuffer(chunk.buffer(buffer), np.uint8)
    last = chunk.offset + chunk.length
    return np.unpackbits(packed, count=last, bitorder="little")[chunk.offset :].astype(bool)


def _valid(chunk: Any) -> np.ndarray:
    if not chunk.null_count or not chunk.buffer(0).size_bytes:
        return np.ones(chunk.length, bool)
    return _bits(chunk, 0)


def _values(chunk: Any) -> np.ndarray:
    """int64 [n] of a chunk of times."""
    return np.frombuffer(chunk.buffer(1), np.int64)[chunk.offset : chunk.offset + chunk.length]


def _offsets(chunk: Any) -> np.ndarray:
    """int64 [n + 1] of a chunk of text, bytes or lists."""
    kind = np.int64 if chunk.storage_type.startswith("large") else np.int32
    offsets = np.frombuffer(chunk.buffer(1), kind)[chunk.offset : chunk.offset + chunk.length + 1]
    return offsets.astype(np.int64)


def _numbers(chunk: Any) -> np.ndarray:
    """float64 [n] of a chunk of numbers or truth values. Raises DataError for others."""
    if chunk.storage_type == "bool":
        values = _bits(chunk, 1).astype(np.float64)
    elif chunk.storage_type in _NUMBERS:
        kind = _NUMBERS[chunk.storage_type]
        values = np.frombuffer(chunk.buffer(1), kind)[chunk.offset : chunk.offset + chunk.length].astype(
            np.float64
        )
    else:
        raise DataError(f"values of Arrow's type {chunk.storage_type} are no numbers")
    if chunk.null_count:
        values[~_valid(chunk)] = np.nan
    return values
