"""The files of a model, from a store: copied to disk while they are hashed, and mapped."""

import hashlib
import mmap
import tempfile
from dataclasses import dataclass

from sapflow.errors import AlteredObject, CorruptObject, ObjectMissing
from sapflow.objects import keys, safetensor
from sapflow.objects.stores.protocol import Store

PIECE = 4 << 20


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model and what lies beside it."""

    model: memoryview
    sha256: str
    preparation: bytes | None
    golden: bytes | None


def fetched(store: Store, key: str, sha256: str | None) -> ModelFiles:
    """The files of the model under `key`. Only the part of the model that is used is in memory.

    Raises AlteredObject where its SHA-256 is another than `sha256`, CorruptObject, ObjectMissing, StoreUnavailable.
    """
    model, found = _mapped(store, key)
    if sha256 is not None and found != sha256:
        raise AlteredObject(
            f"object {key} has the SHA-256 {found}, and {sha256} is to be served: somebody replaced it"
        )
    folder, _, name = key.rpartition("/")
    stem = name.removesuffix(".safetensors")
    prefix = f"{folder}/" if folder else ""

    def beside(own: str) -> bytes | None:
        for each in (f"{prefix}{stem}.{own}", f"{prefix}{own}"):
            try:
                return bytes(store.read(each))
            except ObjectMissing:
                continue
        return None

    return ModelFiles(model, found, beside(keys.fitted_preparation("")), beside(keys.GOLDEN_ROWS))


def _mapped(store: Store, key: str) -> tuple[memoryview, str]:
    """The object, mapped from a file that has no name, and its SHA-256."""
    digest = hashlib.sha256()
    with tempfile.TemporaryFile() as file, store.open(key) as reader:

        def take(count: int) -> bytes:
            data = bytes(reader.next(count))
            digest.update(data)
            file.write(data)
            return data

        head = take(8)
        head += take(safetensor.header_length(head, key) - 8)
        size = safetensor.decode_header(head, key).object_size
        left = size - len(head)
        while left:
            left -= len(take(min(PIECE, left)))
        file.flush()
        if not size:
            raise CorruptObject(f"object {key} is empty")
        return memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)), digest.hexdigest()
