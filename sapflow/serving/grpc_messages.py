"""The messages of the Open Inference Protocol over gRPC (grpc_predict_v2.proto, package `inference`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sapflow.serving import v2, wire
from sapflow.serving.refusal import bad_request
from sapflow.serving.v2 import Tensor
from sapflow.serving.wire import Fields, Malformed

SERVICE = "inference.GRPCInferenceService"
_INTEGERS: Mapping[str, tuple[int, bool]] = {
    "BOOL": (1, False), "INT8": (2, True), "INT16": (2, True), "INT32": (2, True), "INT64": (3, True),
    "UINT8": (4, False), "UINT16": (4, False), "UINT32": (4, False), "UINT64": (5, False),
}  # fmt: skip
"""By datatype: the field of its typed contents, and whether numbers have a sign."""
_FLOATS: Mapping[str, tuple[int, str]] = {"FP32": (6, "<f4"), "FP64": (7, "<f8")}


@dataclass(frozen=True, slots=True)
class ModelName:
    """The model, and its version if one is named, that a request is about."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class InferCall:
    """A ModelInferRequest."""

    model: ModelName
    id: str
    arrays: Mapping[str, np.ndarray]
    outputs: Sequence[str]
    """The outputs that are asked for; empty: all."""


def model_name(data: bytes) -> ModelName:
    """A ModelReadyRequest or a ModelMetadataRequest. Raises Refused."""
    try:
        fields = Fields.of(data)
        return ModelName(fields.text(1), fields.text(2))
    except Malformed as error:
        raise bad_request(f"the message is none: {error}") from error


def infer_call(data: bytes) -> InferCall:
    """A ModelInferRequest. Raises Refused."""
    try:
        return _infer_call(Fields.of(data))
    except Malformed as error:
        raise bad_request(f"the message is none: {error}") from error


def _infer_call(fields: Fields) -> InferCall:
    raw, inputs = fields.blobs(7), [Fields.of(each) for each in fields.blobs(5)]
    if raw and len(raw) != len(inputs):
        raise bad_request(f"the request has {len(inputs)} inputs and {len(raw)} raw contents: give one each")
    if not inputs:
        raise bad_request("the request has no inputs: give a tensor for each column")
    arrays: dict[str, np.ndarray] = {}
    for place, each in enumerate(inputs):
        name, datatype, shape = each.text(1), each.text(2), each.integers(3, signed=True)
        if datatype != v2.BYTES and datatype not in v2.TYPES:
            raise bad_request(
                f"the input {name!r} has the datatype {datatype!r}: give BYTES, {', '.join(v2.TYPES)}"
            )
        v2.check_shape(name, shape)
        if name in arrays:
            raise bad_request(f"the input {name!r} is there twice")
        contents = memoryview(raw[place]) if raw else _contents(each, datatype)
        arrays[name] = v2.of_contents(name, datatype, contents, shape)
    outputs = [Fields.of(each).text(1) for each in fields.blobs(6)]
    return InferCall(ModelName(fields.text(1), fields.text(2)), fields.text(3), arrays, outputs)


def _contents(tensor: Fields, datatype: str) -> memoryview | np.ndarray | list[bytes]:
    found = Fields.of(b"".join(tensor.blobs(5)))
    if datatype == v2.BYTES:
        return found.blobs(8)
    if datatype in _FLOATS:
        return found.floats(*_FLOATS[datatype])
    if datatype not in _INTEGERS:
        raise bad_request(f"{datatype} must come in raw contents")
    place, signed = _INTEGERS[datatype]
    return np.array(found.integers(place, signed=signed), np.float64)


def infer_answer(model: ModelName, call: InferCall, tensors: Sequence[Tensor]) -> bytes:
    """A ModelInferResponse with raw contents. Raises Refused for an output that there is not."""
    known = {each.name: each for each in tensors}
    for name in call.outputs:
        if name not in known:
            raise bad_request(f"there is no output {name!r}; there are {', '.join(known)}")
    given = [known[name] for name in call.outputs] or tensors
    outputs = [
        wire.text(1, each.name) + wire.text(2, each.datatype) + wire.packed(3, each.array.shape)
        for each in given
    ]
    return b"".join(
        [
            wire.text(1, model.name),
            wire.text(2, model.version),
            wire.text(3, call.id),
            *(wire.blob(5, each) for each in outputs),
            *(wire.blob(6, v2.packed(each)) for each in given),
        ]
    )


def truth(value: bool) -> bytes:
    """A ServerLiveResponse, ServerReadyResponse or ModelReadyResponse."""
    return wire.number(1, int(value))


def server_metadata(told: Mapping[str, Any]) -> bytes:
    """A ServerMetadataResponse."""
    return wire.text(1, told["name"]) + wire.text(2, told["version"]) + wire.texts(3, told["extensions"])


def model_metadata(told: Mapping[str, Any]) -> bytes:
    """A ModelMetadataResponse."""

    def tensor(each: Mapping[str, Any]) -> bytes:
        return wire.text(1, each["name"]) + wire.text(2, each["datatype"]) + wire.packed(3, each["shape"])

    return b"".join(
        [
            wire.text(1, told["name"]),
            wire.texts(2, told["versions"]),
            wire.text(3, told["platform"]),
            *(wire.blob(4, tensor(each)) for each in told["inputs"]),
            *(wire.blob(5, tensor(each)) for each in told["outputs"]),
        ]
    )
