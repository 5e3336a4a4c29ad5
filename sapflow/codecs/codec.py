"""The interface of codecs."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from sapflow.objects.stores.protocol import ObjectReader


class Decoding(Protocol):
    """An encoded vector that is decoded front to back."""

    metadata: Mapping[str, str]

    def readinto(self, piece: np.ndarray) -> None:
        """Decode the next floats into `piece` (float32, contiguous). Raises CorruptObject."""

    def next(self, count: int) -> np.ndarray:
        """The next `count` floats, valid until the next call. Raises CorruptObject."""


class Codec(Protocol):
    """Encodes flat float32 vectors with metadata. The same vector always gives the same bytes."""

    name: str

    def encode(self, vector: np.ndarray, metadata: Mapping[str, str]) -> list[bytes | memoryview]:
        """The parts of an object that holds a flat float32 vector."""

    def decode(self, reader: ObjectReader, key: str, count: int) -> Decoding:
        """Start to decode the vector of `count` floats in an object that was just opened.

        Raises CorruptObject if the object is anything else, before any memory is allocated.
        """
