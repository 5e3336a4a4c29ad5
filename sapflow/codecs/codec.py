"""What every codec can do."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from sapflow.objects.stores.protocol import ObjectReader


class Decoding(Protocol):
    """One encoded vector, read front to back."""

    metadata: Mapping[str, str]

    def readinto(self, piece: np.ndarray) -> None:
        """The next floats into `piece` (float32, contiguous). Raises CorruptObject."""

    def next(self, count: int) -> np.ndarray:
        """The next `count` floats, valid until the next call. Raises CorruptObject."""


class Codec(Protocol):
    """Encodes flat float32 vectors with metadata. The same vector always becomes the same bytes."""

    name: str

    def encode(self, vector: np.ndarray, metadata: Mapping[str, str]) -> list[bytes | memoryview]:
        """A flat float32 vector as the parts of one object."""

    def decode(self, reader: ObjectReader, key: str, count: int) -> Decoding:
        """The vector of `count` floats in an object that was just opened.

        Raises CorruptObject where the object is not exactly that, before any memory is allocated.
        """
