"""The Open Inference Protocol, version 2, over HTTP: its JSON, and its extension of binary tensors. Pure.

A request has a tensor for each raw column, of one row or of all: BYTES for text, times and images, FP64, INT64 or any
other type of numbers for numbers. An empty BYTES and a NaN are missing values.
"""

import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sapflow.serving import bodies
from sapflow.serving.input_columns import InputColumn, by_name
from sapflow.serving.input_table import InputTable
from sapflow.serving.raw_rows import RawRows
from sapflow.serving.refusal import BadRow, bad_request, bad_rows, shown

HEADER_LENGTH = "inference-header-content-length"
"""The header with the bytes of JSON before the binary tensors."""
TYPES: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
BYTES = "BYTES"
MOST_DIMENSIONS = 8


@dataclass(frozen=True, slots=True)
class Tensor:
    """A named array of an answer: numbers, or strings as an object array."""

    name: str
    datatype: str
    array: np.ndarray


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A request as it was sent."""

    id: str
    rows: RawRows
    outputs: Mapping[str, bool] | None
    """The outputs that are asked for, and whether in binary; None: all."""
    binary: bool
    """Whether outputs are binary where they do not say."""


def parse(body: bytes, header_length: str | None, table: InputTable, most_rows: int) -> InferRequest:
    """The request of a body. Raises Refused."""
    document, binary = _split(body, header_length)
    value = bodies.parsed_json(document)
    if not isinstance(value, Mapping):
        raise bad_request("the request must be a JSON object with inputs")
    inputs = value.get("inputs")
    if not isinstance(inputs, list) or not inputs:
        raise bad_request("the request has no inputs: give a tensor for each column")
    arrays: dict[str, np.ndarray] = {}
    for given in inputs:
        name, array, binary = _input(given, binary)
        if name in arrays:
            raise bad_request(f"the input {name!r} is there twice")
        arrays[name] = array
    if len(binary):
        raise bad_request(f"{len(binary):,} bytes behind the last tensor belong to none")
    parameters = _parameters(value, "the request")
    return InferRequest(
        str(value.get("id") or ""),
        rows_of(arrays, table, most_rows),
        _asked(value.get("outputs")),
        parameters.get("binary_data_output") is True,
    )


def rows_of(arrays: Mapping[str, np.ndarray], table: InputTable, most_rows: int) -> RawRows:
    """The rows of tensors by column, all of the same first dimension. Raises Refused."""
    table.check_names(arrays)
    counts = {len(each) if each.ndim else 1 for each in arrays.values()}
    if len(counts) > 1:
        raise bad_request(
            f"the inputs have {' and '.join(map(str, sorted(counts)))} rows: all must have as many"
        )
    (count,) = counts
    bodies.check_count(count, most_rows)
    known, bad = by_name(table.columns), list[BadRow]()
    columns = {
        name: _column(known[name], array, table, bad) for name, array in arrays.items() if name in known
    }
    if bad:
        raise bad_rows(bad)
    return table.of_columns(columns, count)


def _column(column: InputColumn, array: np.ndarray, table: InputTable, bad: list[BadRow]) -> Any:
    array = array.reshape(1) if not array.ndim else array
    wanted = (len(array), *column.shape)
    if array.shape != wanted and array.size != math.prod(wanted):
        shape = ", ".join(map(str, ["rows", *column.shape]))
        raise bad_request(f"the input {column.name!r} has shape {list(array.shape)}, and must have [{shape}]")
    if array.dtype == object:
        values = array.reshape(len(array), -1)[:, 0].tolist() if not column.shape else array.tolist()
        return column.read(
            [_text(column, each, row, bad) for row, each in enumerate(values)], table.notation, bad
        )
    if column.kind == "Time" or (column.kind == "Image" and not column.shape):
        raise bad_request(f"the input {column.name!r} is {array.dtype}, and must be BYTES")
    return column.of_array(array.reshape(wanted), bad)


def _text(column: InputColumn, value: object, row: int, bad: list[BadRow]) -> object:
    """A value of a BYTES tensor as JSON would have it; bytes of images stay."""
    if not isinstance(value, bytes) or column.kind == "Image":
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        bad.append(BadRow(row, column.name, "is no UTF-8"))
        return None


def _split(body: bytes, header_length: str | None) -> tuple[bytes, memoryview]:
    if header_length is None:
        return body, memoryview(b"")
    if not header_length.isascii() or not header_length.isdecimal() or int(header_length) > len(body):
        raise bad_request(f"{HEADER_LENGTH} is {shown(header_length)}, where {len(body):,} bytes were sent")
    length = int(header_length)
    return body[:length], memoryview(body)[length:]


def _parameters(value: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    found = value.get("parameters")
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise bad_request(f"the parameters of {what} must be a JSON object")
    return found


def _asked(given: object) -> Mapping[str, bool] | None:
    if given is None or given == []:
        return None
    if not isinstance(given, list) or not all(isinstance(each, Mapping) for each in given):
        raise bad_request("outputs must be a list of objects with a name each")
    found: dict[str, bool] = {}
    for each in given:
        if not isinstance(each.get("name"), str):
            raise bad_request("each of the outputs needs a name")
        found[each["name"]] = _parameters(each, "an output").get("binary_data") is True
    return found


def _input(given: object, binary: memoryview) -> tuple[str, np.ndarray, memoryview]:
    """Name and array of an input, and the binary data behind it."""
    if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
        raise bad_request("each of the inputs must be an object with name, shape, datatype and data")
    name, datatype = given["name"], given.get("datatype")
    if not isinstance(datatype, str) or (datatype != BYTES and datatype not in TYPES):
        raise bad_request(
            f"the input {name!r} has the datatype {shown(datatype)}: give BYTES, {', '.join(TYPES)}"
        )
    shape = check_shape(name, given.get("shape"))
    size = _parameters(given, f"the input {name!r}").get("binary_data_size")
    count = math.prod(shape)
    if size is not None:
        if type(size) is not int or not 0 <= size <= len(binary):
            raise bad_request(
                f"the input {name!r} has {shown(size)} binary bytes, and {len(binary):,} are left"
            )
        return name, _of_bytes(name, datatype, binary[:size], count).reshape(shape), binary[size:]
    data = given.get("data")
    if not isinstance(data, list):
        raise bad_request(f"the input {name!r} has no data")
    return name, _of_list(name, datatype, data, count).reshape(shape), binary


def check_shape(name: str, shape: object) -> list[int]:
    """The shape of an input. Raises Refused if it is none."""
    if (
        not isinstance(shape, list)
        or not all(type(each) is int and 0 <= each < 2**31 for each in shape)
        or len(shape) > MOST_DIMENSIONS
    ):
        raise bad_request(f"the input {name!r} has the shape {shown(shape)}: give a list of whole numbers")
    return shape


def of_contents(
    name: str, datatype: str, contents: memoryview | np.ndarray | list[bytes], shape: Sequence[int]
) -> np.ndarray:
    """The array of an input: of raw bytes, or of values. Raises Refused if the shape has not as many."""
    count = math.prod(shape)
    if isinstance(contents, memoryview):
        return _of_bytes(name, datatype, contents, count).reshape(shape)
    if len(contents) != count:
        raise bad_request(f"the input {name!r} has {len(contents):,} values, and its shape needs {count:,}")
    return (_objects(contents) if isinstance(contents, list) else contents).reshape(shape)


def _of_bytes(name: str, datatype: str, data: memoryview, count: int) -> np.ndarray:
    if datatype != BYTES:
        dtype = TYPES[datatype]
        if len(data) != count * dtype.itemsize:
            raise bad_request(
                f"the input {name!r} has {len(data):,} bytes, and its shape and type need {count * dtype.itemsize:,}"
            )
        return np.frombuffer(data, dtype)
    values = unpacked(data)
    if values is None or len(values) != count:
        raise bad_request(
            f"the input {name!r} must have {count:,} elements, each after its length in 4 bytes"
        )
    return _objects(values)


def unpacked(data: memoryview) -> list[bytes] | None:
    """The elements of a binary BYTES tensor; None where lengths do not fit."""
    values: list[bytes] = []
    at = 0
    while at < len(data):
        if at + 4 > len(data):
            return None
        (length,) = struct.unpack_from("<I", data, at)
        at += 4
        if at + length > len(data):
            return None
        values.append(bytes(data[at : at + length]))
        at += length
    return values


def _of_list(name: str, datatype: str, data: list[Any], count: int) -> np.ndarray:
    flat = list(_flat(data, 0))
    if len(flat) != count:
        raise bad_request(f"the input {name!r} has {len(flat):,} values, and its shape needs {count:,}")
    if datatype == BYTES:
        return _objects(flat)
    numbers = [math.nan if each is None else each for each in flat]
    if not all(type(each) in (int, float, bool) for each in numbers):
        wrong = next(each for each in numbers if type(each) not in (int, float, bool))
        raise bad_request(f"the input {name!r} is {datatype} and has {shown(wrong)}, which is no number")
    if not datatype.startswith("FP") and any(
        isinstance(each, float) and not each.is_integer() for each in numbers
    ):
        raise bad_request(f"the input {name!r} is {datatype} and has a number that is not whole")
    try:
        # Whole numbers beyond 2^53 round, as they do in the columns of training.
        return np.array(numbers, np.float64)
    except OverflowError as error:
        raise bad_request(f"the input {name!r} has a number that is too large") from error


def _flat(data: list[Any], depth: int) -> Any:
    if depth > MOST_DIMENSIONS:
        raise bad_request("the data of an input is nested too deeply")
    for each in data:
        if isinstance(each, list):
            yield from _flat(each, depth + 1)
        else:
            yield each


def _objects(values: Sequence[object]) -> np.ndarray:
    found = np.empty(len(values), object)
    found[:] = values
    return found


def answer(
    name: str, version: str, request: InferRequest, tensors: Sequence[Tensor]
) -> tuple[bytes, dict[str, str]]:
    """The body and the further headers of an answer. Raises Refused for an output that there is not."""
    known = {each.name: each for each in tensors}
    asked = request.outputs
    if asked is None:
        asked = dict.fromkeys(known, request.binary)
    told: list[dict[str, Any]] = []
    parts: list[bytes] = []
    for each, binary in asked.items():
        if each not in known:
            raise bad_request(f"there is no output {each!r}; there are {', '.join(known)}")
        tensor = known[each]
        entry: dict[str, Any] = {"name": each, "shape": list(tensor.array.shape), "datatype": tensor.datatype}
        if binary or request.binary:
            data = packed(tensor)
            entry["parameters"] = {"binary_data_size": len(data)}
            parts.append(data)
        else:
            entry["data"] = tensor.array.reshape(-1).tolist()
        told.append(entry)
    document: dict[str, Any] = {"model_name": name, "model_version": version}
    if request.id:
        document["id"] = request.id
    head = json.dumps(document | {"outputs": told}, separators=(",", ":"), allow_nan=False).encode()
    if not parts:
        return head, {"content-type": bodies.JSON}
    return b"".join([head, *parts]), {
        "content-type": "application/octet-stream",
        HEADER_LENGTH: str(len(head)),
    }


def packed(tensor: Tensor) -> bytes:
    """The binary data of a tensor."""
    if tensor.datatype == BYTES:
        texts = [str(each).encode() for each in tensor.array.reshape(-1).tolist()]
        return b"".join(struct.pack("<I", len(text)) + text for text in texts)
    return np.ascontiguousarray(tensor.array, TYPES[tensor.datatype]).tobytes()


def metadata_inputs(table: InputTable) -> list[dict[str, Any]]:
    """The inputs of a model's metadata."""
    return [
        {"name": each.name, "datatype": datatype_of(each), "shape": [-1, *each.shape]}
        for each in table.columns
    ]


def datatype_of(column: InputColumn) -> str:
    """The type that a column's tensor is told to have; others that can become it are taken as well."""
    if column.kind == "Number":
        return "FP64"
    return "UINT8" if column.shape else BYTES
