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
    vector = workspace.buffer("sum", request.sizes.with_frozen)
    with timing.phase("read"):
        metadata = contribution.read_range(store, request.params, 0, request.sizes.with_frozen, vector)
    raw = np.frombuffer(base64.b64decode(metadata.get("raw", "")), np.uint8)
    arrays: dict[str, np.ndarray] = {}
    for entry in request.layout:
        dtype = safetensor.dtype_of(entry["dtype"])
        count = math.prod(entry["shape"]) * (dtype.itemsize if entry["kind"] == "raw" else 1)
        source, stop = raw if entry["kind"] == "raw" else vector, entry["offset"] + count
        if stop > len(source):
            raise CorruptObject(f"tensor {entry['name']} lies outside of version {request.version}")
        found = source[entry["offset"] : stop]
        if entry["kind"] == "raw":
            # A copy, because the bytes may lie where numbers of this type may not.
            found = np.frombuffer(found.tobytes(), dtype)
        arrays[entry["name"]] = found.reshape(entry["shape"])
    header = safetensor.encode_header({n: (a.dtype, a.shape) for n, a in arrays.items()}, request.metadata)
    parts: list[bytes | memoryview] = [header]
    parts += [memoryview(array.reshape(-1).view(np.uint8)) for array in arrays.values() if array.size]
    return parts
