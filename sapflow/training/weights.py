"""The weights that training starts from: tensors of a safetensors file, copied into a fresh model."""

import fnmatch
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import nn

from sapflow.errors import CorruptObject, ObjectMissing, SpecError, StoreError, StoreUnavailable
from sapflow.objects import safetensor
from sapflow.objects.stores.directory import DirectoryReader
from sapflow.objects.stores.factory import credentials_from_environment, open_store
from sapflow.objects.stores.protocol import ObjectReader, Store
from sapflow.spec.learning import ModelSpec
from sapflow.spec.sources import beside, s3_location

FIELD, MATCH = "spec.model.weights", "spec.model.weightsMatch"
_PIECE = 1 << 20


def load(model: ModelSpec, module: nn.Module, store: Store, may_go_on: Callable[[], None]) -> str | None:
    """Copy the tensors of the file that `model.weights` names into the module; the file's SHA-256, None without a file.

    The file is read once, front to back, and one tensor at a time is in memory. An s3:// URL without an endpoint is
    read from the store's. `may_go_on` is called between tensors. Raises SpecError where file and model do not fit,
    StoreUnavailable.
    """
    if model.weights is None:
        return None
    with _opened(model.weights, store) as reader:
        try:
            return _load(reader, model.weights, model.weights_match, module, may_go_on)
        except CorruptObject as error:
            raise SpecError([(FIELD, f"{model.weights} is no complete safetensors file: {error}")]) from error


def _load(
    reader: ObjectReader,
    name: str,
    patterns: Sequence[str] | None,
    module: nn.Module,
    may_go_on: Callable[[], None],
) -> str:
    digest = hashlib.sha256()
    start = bytes(reader.next(8))
    head = start + bytes(reader.next(safetensor.header_length(start, name) - 8))
    header = safetensor.decode_header(head, name)
    if header.object_size != reader.size:
        raise CorruptObject(f"it has {reader.size} bytes where its header says {header.object_size}")
    digest.update(head)
    state = module.state_dict(keep_vars=False)
    wanted = _wanted(state, header.tensors, name, patterns)
    for each, tensor in sorted(header.tensors.items(), key=lambda item: (item[1].start, item[1].stop)):
        may_go_on()
        if each in wanted and tensor.stop > tensor.start:
            values = np.empty(tensor.shape, tensor.dtype)
            flat = memoryview(values.reshape(-1)).cast("B")
            reader.readinto(flat)
            digest.update(flat)
            with torch.no_grad():
                state[each].copy_(torch.from_numpy(values))
        else:
            left = tensor.stop - tensor.start
            while left:
                piece = reader.next(min(left, _PIECE))
                digest.update(piece)
                left -= len(piece)
    return digest.hexdigest()


def _wanted(
    state: Mapping[str, torch.Tensor],
    found: Mapping[str, safetensor.Tensor],
    name: str,
    patterns: Sequence[str] | None,
) -> set[str]:
    """The names of the tensors to be taken. Raises SpecError with all that does not fit."""
    problems = []
    wanted = set(state)
    if patterns is not None:
        for pattern in patterns:
            if not any(fnmatch.fnmatchcase(each, pattern) for each in state):
                problems.append((MATCH, f"{pattern!r} matches no tensor of the model: it has {_some(state)}"))
        wanted = {each for each in state if any(fnmatch.fnmatchcase(each, one) for one in patterns)}
    elif others := found.keys() - state.keys():
        problems.append(
            (
                FIELD,
                f"{name} has tensors that the model has not: {_some(others)}; name what to take by weightsMatch",
            )
        )
    if missing := wanted - found.keys():
        remedy = "" if patterns is not None else "; name what to take by weightsMatch"
        problems.append((FIELD, f"{name} lacks tensors of the model: {_some(missing)}{remedy}"))
    for each in sorted(wanted & found.keys()):
        shape, dtype = tuple(state[each].shape), state[each].dtype
        given = torch.from_numpy(np.empty(0, found[each].dtype)).dtype
        if found[each].shape != shape:
            problems.append(
                (
                    FIELD,
                    f"{each} has shape {list(found[each].shape)} in {name}, and {list(shape)} in the model",
                )
            )
        elif given != dtype and not (given.is_floating_point and dtype.is_floating_point):
            problems.append((FIELD, f"{each} is {given} in {name}, and {dtype} in the model"))
    if problems:
        raise SpecError(problems[:8])
    return wanted


def _some(names: "set[str] | Mapping[str, object]") -> str:
    known = sorted(names)
    return ", ".join(known[:5]) + (f" and {len(known) - 5} more" if len(known) > 5 else "")


@contextmanager
def _opened(url: str, store: Store) -> Iterator[ObjectReader]:
    """The file, to be read front to back. Raises SpecError if it cannot be read, StoreUnavailable."""
    location = s3_location(url)
    if location is None:
        # A link that the user names is followed: tools that download models keep them behind links.
        path = Path(url.removeprefix("file://")).expanduser().resolve()
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            size = os.fstat(file).st_size
        except OSError as error:
            raise SpecError([(FIELD, f"{url} cannot be read: {error.strerror}")]) from error
        with DirectoryReader(str(path), file, size) as reader:
            yield reader
        return
    bucket, key, _ = location
    place = beside(url, store.url)
    opened = open_store(f"s3://{bucket}?{place.partition('?')[2]}", credentials_from_environment(os.environ))
    try:
        try:
            remote = opened.open(key)
        except StoreUnavailable:
            raise
        except StoreError as error:
            why = "there is no such object" if isinstance(error, ObjectMissing) else str(error)
            raise SpecError(
                [(FIELD, f"{url} cannot be read: {why}; the credentials need read there")]
            ) from error
        with remote as reader:
            yield reader
    finally:
        opened.close()
