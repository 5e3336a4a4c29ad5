"""Headers of safetensors objects that no writer of good faith makes."""

import json
import struct
from typing import Any

import numpy as np
import pytest

from sapflow.client import predict
from sapflow.data.blocks import parse_manifest
from sapflow.errors import CorruptObject, DataError
from sapflow.messages import frames
from sapflow.objects import safetensor

DEEP = b"[" * 100_000 + b"]" * 100_000


def with_header(text: bytes, data: bytes = b"") -> memoryview:
    return memoryview(struct.pack("<Q", len(text)) + text + data)


def tensor(begin: int, end: int, shape: list[Any] | None = None, dtype: str = "F32") -> dict[str, Any]:
    return {
        "dtype": dtype,
        "shape": [(end - begin) // 4] if shape is None else shape,
        "data_offsets": [begin, end],
    }


def decoded(header: dict[str, Any], data: bytes) -> dict[str, np.ndarray]:
    return safetensor.decode(with_header(json.dumps(header).encode(), data), "m")[0]


@pytest.mark.parametrize("text", [DEEP, b'{"a": ' + DEEP + b"}", b'{"__metadata__": {"a": ' + DEEP + b"}}"])
def test_a_header_that_is_nested_too_deeply_is_refused(text: bytes) -> None:
    with pytest.raises(CorruptObject, match="nested too deeply"):
        safetensor.decode(with_header(text), "m")


@pytest.mark.parametrize(
    ("tensors", "problem"),
    [
        ({"a": tensor(0, 8), "b": tensor(4, 12)}, "tensors a and b overlap"),
        ({"b": tensor(0, 12), "a": tensor(4, 8)}, "tensors b and a overlap"),
        ({"a": tensor(0, 8), "b": tensor(0, 8)}, "tensors a and b overlap"),
        ({"a": tensor(0, 4), "b": tensor(8, 12)}, "4 bytes between tensors a and b belong to none"),
        ({"a": tensor(4, 12)}, "4 bytes before tensor a belong to none"),
        ({"a": tensor(0, 12, [True, 3])}, "negative or fractional sizes"),
        ({"a": tensor(0, 0, [0, 1 << 62])}, "a shape that no array has"),
        ({"a": tensor(0, 4, [1] * 65)}, "a shape that no array has"),
    ],
)
def test_tensors_that_overlap_or_leave_gaps_are_refused(tensors: dict[str, Any], problem: str) -> None:
    with pytest.raises(CorruptObject, match=problem):
        decoded(tensors, bytes(12))


def test_a_name_that_stands_twice_is_refused() -> None:
    one = json.dumps(tensor(0, 4))
    with pytest.raises(CorruptObject, match="a name stands in it twice"):
        safetensor.decode(with_header(f'{{"a": {one}, "a": {one}}}'.encode(), bytes(4)), "m")


def test_the_order_in_the_header_is_free_and_tensors_may_be_empty() -> None:
    found = decoded(
        {"b": tensor(4, 8), "empty": tensor(4, 4, [0]), "a": tensor(0, 4), "none": tensor(8, 8, [2, 0])},
        bytes(8),
    )
    assert {name: array.shape for name, array in found.items()} == {
        "a": (1,), "b": (1,), "empty": (0,), "none": (2, 0),
    }  # fmt: skip


def test_a_model_file_whose_description_is_nested_too_deeply_is_refused() -> None:
    header = safetensor.encode_header({}, {"sapflow": DEEP.decode()})
    with pytest.raises(DataError, match="nested too deeply"):
        predict.decode(memoryview(header), "m")


def test_other_documents_that_are_nested_too_deeply_are_refused_too() -> None:
    with pytest.raises(CorruptObject, match="nested too deeply"):
        parse_manifest(DEEP, "manifest.json")
    with pytest.raises(ValueError, match="nested too deeply"):
        frames.decode(DEEP)
