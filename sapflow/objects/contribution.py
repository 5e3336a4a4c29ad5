"""Contributions, which flow up the merge tree: sums over samples as one flat float32 vector, and their scalars.

A contribution over n samples holds Σ gradient (P values) and n × the averaged values (A values). Its metadata are
`Sums`: the weight n, sums of losses in float64, and what cannot be summed. Parameters and optimiser state are flat
vectors of the same kind. Each vector is one safetensors object with one tensor named `flat`.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from sapflow.errors import CorruptObject
from sapflow.messages.vectors import Part
from sapflow.objects import safetensor
from sapflow.objects.stores.protocol import ObjectReader, Opens

NAME = "flat"
FLOAT = np.dtype("<f4")


def encode(vector: np.ndarray, metadata: Mapping[str, str]) -> list[bytes | memoryview]:
    """The parts of an object that holds a flat float32 vector; the vector is not copied."""
    header = safetensor.encode_header({NAME: (FLOAT, vector.shape)}, metadata)
    return [header, memoryview(vector).cast("B")]


def read_header(reader: ObjectReader, key: str, count: int) -> dict[str, str]:
    """Read the header of a flat vector of `count` elements, and return its metadata. The reader is then at the data.

    Raises CorruptObject if the object is anything else, before any memory is allocated.
    """
    prefix = bytes(reader.next(8))
    size = safetensor.header_length(prefix, key)
    header = safetensor.decode_header(prefix + bytes(reader.next(size - 8)), key)
    tensor = header.tensors.get(NAME)
    if tensor is None or tensor.dtype != FLOAT or tensor.shape != (count,):
        found = "no such tensor" if tensor is None else f"{tensor.dtype} {list(tensor.shape)}"
        raise CorruptObject(f"object {key}: expected tensor {NAME!r} of {count} float32, found {found}")
    if header.object_size != reader.size:
        raise CorruptObject(f"object {key} has {reader.size} bytes, its header says {header.object_size}")
    return header.metadata


def read_vector(store: Opens, key: str, out: np.ndarray) -> dict[str, str]:
    """Read a flat vector into `out` (float32, contiguous), and return its metadata."""
    with store.open(key) as reader:
        metadata = read_header(reader, key, len(out))
        reader.readinto(memoryview(out).cast("B"))
    return metadata


def read_range(
    store: Opens, parts: Sequence[Part], start: int, stop: int, out: np.ndarray, *, rows: int = 1
) -> dict[str, str]:
    """Read elements `start` to `stop` of a vector that is stored in parts into `out`.

    Returns the metadata of the first part that was read. With `rows` each object holds several vectors one after the
    other (optimiser state), and `out` is [rows, stop − start]. Raises CorruptObject if the parts leave a gap.
    """
    target = out.reshape(rows, stop - start)
    metadata: dict[str, str] | None = None
    position = start
    for part in sorted(parts, key=lambda part: part.start):
        if part.stop <= position or part.start >= stop:
            continue
        if part.start > position:
            break
        length, first, last = part.stop - part.start, position, min(part.stop, stop)
        if rows == 1 and (first, last) == (part.start, part.stop):
            texts = read_vector(store, part.key, target[0, first - start : last - start])
        else:
            texts = _read_rows(
                store, part.key, length, first - part.start, target[:, first - start : last - start]
            )
        metadata = texts if metadata is None else metadata
        position = last
    if position != stop or metadata is None:
        raise CorruptObject(f"elements {position} to {stop} lie in none of {[part.key for part in parts]}")
    return metadata


def _read_rows(store: Opens, key: str, length: int, skip: int, target: np.ndarray) -> dict[str, str]:
    rows, count = target.shape
    with store.open(key) as reader:
        metadata = read_header(reader, key, rows * length)
        for row in range(rows):
            _skip(reader, skip)
            reader.readinto(memoryview(target[row]).cast("B"))
            _skip(reader, length - skip - count)
    return metadata


def _skip(reader: ObjectReader, elements: int) -> None:
    """Skip elements in pieces, so that memory stays small."""
    left = elements * FLOAT.itemsize
    while left:
        left -= len(reader.next(min(left, 1 << 20)))
