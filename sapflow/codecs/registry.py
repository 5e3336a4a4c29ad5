"""Codecs by name."""

from sapflow.codecs.codec import Codec
from sapflow.codecs.float32 import Float32
from sapflow.errors import CorruptObject

_CODECS: dict[str, Codec] = {codec.name: codec for codec in (Float32(),)}


def codec_of(name: str, key: str) -> Codec:
    """The codec that the object under `key` says it is encoded by. Raises CorruptObject for an unknown one."""
    codec = _CODECS.get(name)
    if codec is None:
        raise CorruptObject(f"object {key} is encoded as {name!r}; this function knows: {', '.join(_CODECS)}")
    return codec
