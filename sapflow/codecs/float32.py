"""The codec without compression: four bytes a float, little-endian, in the safetensors format of all vectors."""

from collections.abc import Mapping

import numpy as np

from sapflow.objects import contribution
from sapflow.objects.stores.protocol import ObjectReader


class _Floats:
    """A Decoding that returns the reader's bytes and copies as little as possible."""

    def __init__(self, reader: ObjectReader, metadata: Mapping[str, str]) -> None:
        self._reader, self.metadata = reader, metadata

    def readinto(self, piece: np.ndarray) -> None:
        self._reader.readinto(memoryview(piece).cast("B"))

    def next(self, count: int) -> np.ndarray:
        return np.frombuffer(self._reader.next(count * contribution.FLOAT.itemsize), contribution.FLOAT)


class Float32:
    """A Codec that does not change the floats."""

    name = "float32"

    def encode(self, vector: np.ndarray, metadata: Mapping[str, str]) -> list[bytes | memoryview]:
        return contribution.encode(vector, metadata)

    def decode(self, reader: ObjectReader, key: str, count: int) -> _Floats:
        return _Floats(reader, contribution.read_header(reader, key, count))
