"""A batch of parsed rows as an object of the store, so that a source's text is parsed once.

Columns have the types that they have in memory, and lie in the object by the size of their numbers, so that each is
where its type may be: what is read again gives the same bits as what was just parsed.
"""

import json
from typing import Any

import numpy as np

from sapflow.errors import CorruptObject
from sapflow.objects import safetensor
from sapflow.preparation.batch import Batch, Blobs, Column, Origins, Text
from sapflow.preparation.record import words_of, words_to_arrays

_COLUMNS = "columns"
_NUMBERS = "numbers"
_TIMES = "M8[us]"


def encode(batch: Batch) -> list[bytes | memoryview]:
    """The parts of the object of a batch whose rows are not dealt yet."""
    arrays: dict[str, np.ndarray] = {_NUMBERS: batch.numbers.astype(np.int64, copy=False)}
    described: list[dict[str, Any]] = []
    for place, (name, column) in enumerate(batch.columns.items()):
        kind, parts = _arrays_of(column)
        described.append({"name": name, "kind": kind})
        arrays |= {f"{place}.{part}": array for part, array in parts.items()}
    if (origins := batch.origins) is not None:
        arrays |= {"origins.begins": origins.begins, "origins.lines": origins.lines}
        arrays |= {f"origins.{part}": array for part, array in _arrays_of(origins.files)[1].items()}
    ordered = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    tidy = {name: np.ascontiguousarray(arrays[name]) for name in ordered}
    header = safetensor.encode_header(
        {name: (array.dtype, array.shape) for name, array in tidy.items()},
        {_COLUMNS: json.dumps({"columns": described, "partition": batch.partition}, separators=(",", ":"))},
    )
    return [header, *(memoryview(array.reshape(-1).view(np.uint8)) for array in tidy.values() if array.size)]


def decode(data: bytes | memoryview, key: str) -> Batch:
    """The batch of an object; its arrays are views of `data`. Raises CorruptObject."""
    arrays, metadata = safetensor.decode(memoryview(data), key)
    try:
        described = json.loads(metadata[_COLUMNS])
        columns = {
            str(each["name"]): _column(str(each["kind"]), f"{place}.", arrays)
            for place, each in enumerate(described["columns"])
        }
        origins = None
        if "origins.begins" in arrays:
            files = _column("text", "origins.", arrays)
            assert isinstance(files, Text), "names of files are text"
            origins = Origins(arrays["origins.begins"], arrays["origins.lines"], files)
        return Batch(columns, arrays[_NUMBERS], int(described["partition"]), origins=origins)
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptObject(f"object {key} is no batch of parsed rows: {error}") from error


def _arrays_of(column: Column) -> tuple[str, dict[str, np.ndarray]]:
    if isinstance(column, Text):
        return "text", {"codes": column.codes, **words_to_arrays("words", column.words)}
    if isinstance(column, Blobs):
        sizes = np.array([-1 if each is None else len(each) for each in column.values], np.int64)
        joined = b"".join(each for each in column.values if each is not None)
        return "bytes", {"sizes": sizes, "bytes": np.frombuffer(joined, np.uint8)}
    if column.dtype.kind == "M":
        return "times", {"values": column.astype(_TIMES, copy=False).view(np.int64)}
    return "numbers", {"values": column}


def _column(kind: str, prefix: str, arrays: dict[str, np.ndarray]) -> Column:
    def array(part: str) -> np.ndarray:
        return arrays[f"{prefix}{part}"]

    match kind:
        case "text":
            words = words_of("words", {part: array(part) for part in ("words.bytes", "words.ends")})
            return Text(array("codes"), words)
        case "bytes":
            return Blobs(_cut(array("bytes").tobytes(), array("sizes").tolist()))
        case "times":
            return np.asarray(array("values").view(_TIMES))
        case "numbers":
            return array("values")
    raise ValueError(f"there is no kind of column {kind!r}")


def _cut(joined: bytes, sizes: list[int]) -> tuple[bytes | None, ...]:
    found: list[bytes | None] = []
    at = 0
    for size in sizes:
        found.append(None if size < 0 else joined[at : at + size])
        at += max(size, 0)
    return tuple(found)
