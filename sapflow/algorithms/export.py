"""The export: writes a version's flat vector as named tensors into the file that people load."""

import base64
import hashlib
import math

import numpy as np

from sapflow.algorithms.merge import Workspace
from sapflow.errors import CorruptObject
from sapflow.messages.replies import ExportReply
from sapflow.messages.requests import ExportRequest
from sapflow.objects import contribution, safetensor
from sapflow.objects.stores.protocol import Store
from sapflow.timing import Timing


def export(store: Store, request: ExportRequest, workspace: Workspace, timing: Timing) -> ExportReply:
    """Write `model.safetensors`. The same version gives the same bytes, so the SHA-256 identifies the weights."""
    parts = file_of(store, request, workspace, timing)
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    with timing.phase("write"):
        store.create(request.output, parts, durable=True)
    return ExportReply(done=True, sha256=digest.hexdigest(), **timing.report())


def file_of(
    store: Store, request: ExportRequest, workspace: Workspace, timing: Timing
) -> list[bytes | memoryview]:
    """The parts of the file of a version's named tensors. Raises ObjectMissing where the version is not kept."""
    vector = workspace.buffer("sum", request.sizes.total)
    with timing.phase("read"):
        metadata = contribution.read_range(store, request.params, 0, request.sizes.total, vector)
    integers = np.frombuffer(base64.b64decode(metadata.get("integers", "")), "<i8")
    arrays: dict[str, np.ndarray] = {}
    for entry in request.layout:
        source = integers if entry["kind"] == "integer" else vector
        stop = entry["offset"] + math.prod(entry["shape"])
        if stop > len(source):
            raise CorruptObject(f"tensor {entry['name']} lies outside of version {request.version}")
        array = source[entry["offset"] : stop].reshape(entry["shape"])
        dtype = np.dtype(entry["dtype"] if entry["kind"] == "integer" else "<f4")
        # ascontiguousarray would give a scalar the shape [1].
        arrays[entry["name"]] = array.astype(dtype, order="C", copy=False)
    header = safetensor.encode_header({n: (a.dtype, a.shape) for n, a in arrays.items()}, request.metadata)
    parts: list[bytes | memoryview] = [header]
    parts += [memoryview(array.reshape(-1)).cast("B") for array in arrays.values() if array.size]
    return parts
