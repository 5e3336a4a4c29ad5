"""Encode and decode objects in the safetensors format, with data aligned to 64 bytes.

An object is an 8-byte little-endian header length, a JSON header padded with spaces, and the tensors' bytes. The
padding makes the first tensor start at a multiple of 64 bytes. So a mapped or freshly read object has the same
alignment as a warm buffer, and computations on it give the same bits. Everything is checked before memory is
allocated. See
https://github.com/huggingface/safetensors for the format.
"""

import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sapflow.errors import CorruptObject

ALIGNMENT = 64
MAX_HEADER = 16 << 20
MAX_DIMENSIONS = 32
MAX_ELEMENTS = 1 << 60
DTYPES: dict[str, np.dtype[np.generic]] = {
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype([("bfloat16", "<u2")]),
    "F8_E4M3": np.dtype([("float8_e4m3fn", "u1")]),
    "F8_E5M2": np.dtype([("float8_e5m2", "u1")]),
    "C64": np.dtype("<c8"),
    "I16": np.dtype("<i2"),
    "I32": np.dtype("<i4"),
    "I64": np.dtype("<i8"),
    "U16": np.dtype("<u2"),
    "U32": np.dtype("<u4"),
    "U64": np.dtype("<u8"),
    "U8": np.dtype("u1"),
    "I8": np.dtype("i1"),
    "BOOL": np.dtype("?"),
}
"""The types of tensors. numpy lacks some of torch's: those are records of one field, which has torch's name."""
NAMES = {dtype: name for name, dtype in DTYPES.items()}


def dtype_of(name: str) -> np.dtype[np.generic]:
    """The type that torch calls `name`. Raises KeyError if a file cannot have it."""
    return _BY_TORCH_NAME[name]


_BY_TORCH_NAME = {dtype.names[0] if dtype.names else dtype.name: dtype for dtype in DTYPES.values()}


@dataclass(frozen=True, slots=True)
class Tensor:
    """Type, shape and place of a tensor; `start` and `stop` are bytes from the beginning of the object."""

    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Header:
    """A decoded header: its own size in bytes, the tensors by name, and the free-form metadata."""

    size: int
    tensors: dict[str, Tensor]
    metadata: dict[str, str]

    @property
    def object_size(self) -> int:
        return max((tensor.stop for tensor in self.tensors.values()), default=self.size)


def encode_header(
    tensors: Mapping[str, tuple[np.dtype[np.generic], Sequence[int]]], metadata: Mapping[str, str]
) -> bytes:
    """The header of an object whose tensors follow in the given order, without gaps."""
    entries: dict[str, object] = {}
    if metadata:
        entries["__metadata__"] = dict(metadata)
    offset = 0
    for name, (dtype, shape) in tensors.items():
        end = offset + dtype.itemsize * math.prod(shape)
        entries[name] = {"dtype": NAMES[np.dtype(dtype)], "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    padding = -(8 + len(text)) % ALIGNMENT
    return struct.pack("<Q", len(text) + padding) + text + b" " * padding


def header_length(prefix: bytes | bytearray | memoryview, key: str) -> int:
    """The length of the header in bytes, its length field included, from an object's first 8 bytes."""
    if len(prefix) < 8:
        raise CorruptObject(f"object {key} ends within its first 8 bytes; it is not safetensors")
    length = int(struct.unpack("<Q", bytes(prefix[:8]))[0])
    if length > MAX_HEADER:
        raise CorruptObject(f"object {key} claims a header of {length} bytes (at most {MAX_HEADER})")
    return 8 + length


def decode_header(head: bytes | bytearray | memoryview, key: str) -> Header:
    """Parse and check a header. `head` holds at least the header's bytes. Raises CorruptObject."""
    size = header_length(head, key)
    if len(head) < size:
        raise CorruptObject(f"object {key} ends within its header")
    try:
        entries = json.loads(bytes(head[8:size]), object_pairs_hook=_distinct)
        metadata = entries.pop("__metadata__", {})
        tensors = {}
        for name, entry in entries.items():
            dtype, shape = DTYPES[entry["dtype"]], tuple(entry["shape"])
            begin, end = entry["data_offsets"]
            if not all(type(n) is int and n >= 0 for n in (*shape, begin, end)):
                raise ValueError("negative or fractional sizes")
            if len(shape) > MAX_DIMENSIONS or math.prod(max(n, 1) for n in shape) > MAX_ELEMENTS:
                raise ValueError(f"tensor {name} has a shape that no array has")
            if end - begin != dtype.itemsize * math.prod(shape):
                raise ValueError(f"tensor {name} has {end - begin} bytes for shape {list(shape)}")
            tensors[str(name)] = Tensor(dtype, shape, size + begin, size + end)
        if not all(isinstance(text, str) for text in metadata.values()):
            raise ValueError("metadata that is not text")
        _check_places(tensors, size)
    except RecursionError as error:
        raise CorruptObject(
            f"object {key} has a broken safetensors header: its values are nested too deeply"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptObject(f"object {key} has a broken safetensors header: {error}") from error
    return Header(size, tensors, metadata)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands in it twice")
    return found


def _check_places(tensors: Mapping[str, Tensor], start: int) -> None:
    """Raise ValueError unless the tensors lie one behind the other from `start` on, as the format asks for."""
    last, stop = "", start
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].stop)):
        if tensor.start < stop:
            raise ValueError(f"tensors {last} and {name} overlap")
        if tensor.start > stop:
            where = f"between tensors {last} and {name}" if last else f"before tensor {name}"
            raise ValueError(f"{tensor.start - stop} bytes {where} belong to none")
        last, stop = name, tensor.stop


def decode(buffer: memoryview, key: str = "(in memory)") -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """All tensors of a whole object as views on `buffer`, and its metadata. Raises CorruptObject."""
    header = decode_header(buffer, key)
    if header.object_size != len(buffer):
        raise CorruptObject(
            f"object {key} has {len(buffer)} bytes where its header says {header.object_size}"
        )
    arrays = {
        name: np.frombuffer(buffer[tensor.start : tensor.stop], tensor.dtype).reshape(tensor.shape)
        for name, tensor in header.tensors.items()
    }
    return arrays, header.metadata


def aligned(count: int, dtype: np.dtype[np.generic] | str = "<f4") -> np.ndarray:
    """An uninitialised vector of `count` elements whose address is a multiple of 64."""
    kind = np.dtype(dtype)
    raw = np.empty(count * kind.itemsize + ALIGNMENT, np.uint8)
    skip = -raw.ctypes.data % ALIGNMENT
    return raw[skip : skip + count * kind.itemsize].view(kind)
