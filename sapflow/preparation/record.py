"""What a step counts of some rows, what it knows between two passes, and what it has learnt: numbers, words and arrays.

All three travel between functions and lie in the store in one form: a safetensors object whose metadata has the rest
as JSON. So a fitted preparation is data, never code.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sapflow.errors import CorruptObject
from sapflow.objects import safetensor

_NOTES = "notes"


@dataclass(frozen=True, slots=True)
class Record:
    """`notes` is JSON, whose floats keep all their bits; `arrays` are numpy's, of the types that safetensors has."""

    notes: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)

    def encode(self) -> bytes:
        """The object. The same record has the same bytes, whoever made it."""
        arrays = {name: np.ascontiguousarray(self.arrays[name]) for name in sorted(self.arrays)}
        header = safetensor.encode_header(
            {name: (array.dtype, array.shape) for name, array in arrays.items()},
            {_NOTES: json.dumps(self.notes, sort_keys=True, separators=(",", ":"), allow_nan=False)},
        )
        return b"".join([header, *(array.tobytes() for array in arrays.values())])

    @classmethod
    def decode(cls, data: bytes | memoryview, key: str) -> "Record":
        """The record of an object. Raises CorruptObject."""
        arrays, metadata = safetensor.decode(memoryview(data), key)
        try:
            notes = json.loads(metadata[_NOTES])
        except (KeyError, ValueError) as error:
            raise CorruptObject(f"object {key} is no record of a preparation: {error}") from error
        if not isinstance(notes, dict):
            raise CorruptObject(f"object {key} is no record of a preparation: its notes are no JSON object")
        return cls(notes, {name: _aligned(array) for name, array in arrays.items()})


def _aligned(array: np.ndarray) -> np.ndarray:
    """The array where numbers of its type may lie: numpy sums others in pieces, and so to other bits."""
    return array if array.flags.aligned else array.copy()


def joined(records: Mapping[str, Record]) -> Record:
    """Several records as one; `parts` gives them back."""
    return Record(
        {name: dict(each.notes) for name, each in records.items()},
        {f"{name}/{inner}": array for name, each in records.items() for inner, array in each.arrays.items()},
    )


def parts(record: Record) -> dict[str, Record]:
    """The records that were joined, by name."""
    found: dict[str, dict[str, np.ndarray]] = {name: {} for name in record.notes}
    for name, array in record.arrays.items():
        owner, _, inner = name.partition("/")
        found[owner][inner] = array
    return {name: Record(record.notes[name], arrays) for name, arrays in found.items()}


def words_to_arrays(name: str, words: Sequence[str]) -> dict[str, np.ndarray]:
    """Words as arrays of a record: their UTF-8 bytes in a row, and where each ends."""
    encoded = [word.encode("utf-8", "surrogatepass") for word in words]
    return {
        f"{name}.bytes": np.frombuffer(b"".join(encoded), np.uint8),
        f"{name}.ends": np.cumsum([len(each) for each in encoded], dtype=np.int64),
    }


def words_of(name: str, arrays: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    """The words that `words_to_arrays` has made arrays of."""
    data, ends = arrays[f"{name}.bytes"].tobytes(), arrays[f"{name}.ends"].tolist()
    begins = [0, *ends][: len(ends)]
    return tuple(
        data[begin:end].decode("utf-8", "surrogatepass") for begin, end in zip(begins, ends, strict=True)
    )
