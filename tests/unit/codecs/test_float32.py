"""The codec that changes nothing, and codecs by name."""

import numpy as np
import pytest

from sapflow.codecs.registry import codec_of
from sapflow.errors import CorruptObject
from sapflow.objects.stores.protocol import Store

VECTOR = np.arange(1000, dtype=np.float32) / 7


def test_a_vector_comes_back_as_it_was_in_pieces_of_any_size(directory_store: Store) -> None:
    codec = codec_of("float32", "k")
    directory_store.create("k", codec.encode(VECTOR, {"weight": "3"}))
    with directory_store.open("k") as reader:
        decoding = codec.decode(reader, "k", len(VECTOR))
        first = decoding.next(17).copy()
        rest = np.empty(len(VECTOR) - 17, np.float32)
        decoding.readinto(rest)
    assert decoding.metadata == {"weight": "3"}
    assert np.concatenate([first, rest]).tobytes() == VECTOR.tobytes()


def test_an_object_of_another_length_is_refused_before_anything_is_read(directory_store: Store) -> None:
    codec = codec_of("float32", "k")
    directory_store.create("k", codec.encode(VECTOR, {}))
    with directory_store.open("k") as reader, pytest.raises(CorruptObject, match="1001 float32"):
        codec.decode(reader, "k", 1001)


def test_an_unknown_codec_is_refused_by_name() -> None:
    with pytest.raises(CorruptObject, match="encoded as 'gzip'; this function knows: float32"):
        codec_of("gzip", "k")
