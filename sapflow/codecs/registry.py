"""Codecs by name."""

from sapflow.codecs.codec import Codec
from sapflow.codecs.float32 import Float32
from sapflow.errors import CorruptObject

_CODECS: dict[str, Codec] = {codec.name: codec for codec in (Float32(),)}


def codec_of(name: str, key: str) -> Codec:
    """The codec that the ref of the object under `key` names. Raises CorruptObject if it is unknown."""
    codec = _CODECS.get(name)
    if codec is None:
        raise CorruptObject(f"object {key} is encoded as {name!r}; this function knows: {', '.join(_CODECS)}")
    return codec
