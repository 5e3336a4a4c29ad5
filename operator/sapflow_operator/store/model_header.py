"""Reads what a model's file says of its network, without its weights, and without numpy, which takes ten MiB."""

import struct
from contextlib import closing
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sapflow.errors import CorruptObject
from sapflow.objects.stores.credentials import Credentials
from sapflow.objects.stores.factory import open_store
from sapflow.serving.without_torch import needs_torch
from sapflow.spec.learning import ModelSpec
from sapflow_operator.wanted import Place

_LENGTH = struct.Struct("<Q")
"""What safetensors begin with: how long the JSON is that follows."""
_LONGEST = 16 << 20


class _Metadata(BaseModel):
    model_config = ConfigDict(extra="ignore")
    sapflow: str
    """What describes the model, as JSON."""


class _Header(BaseModel):
    model_config = ConfigDict(extra="ignore")
    metadata: _Metadata = Field(alias="__metadata__")


class _About(BaseModel):
    model_config = ConfigDict(extra="ignore", protected_namespaces=())
    model: ModelSpec


@dataclass(frozen=True, slots=True)
class ModelHeader:
    """What a model's file says of its network."""

    torch: bool
    """Whether torch is needed to compute it."""
    entrypoint: str | None
    """Code of the user's own that builds it."""


def read_header(place: Place, owner: Credentials, key: str) -> ModelHeader:
    """What the file under `key` says. Raises CorruptObject, ObjectMissing, StoreUnavailable."""
    with closing(open_store(place.url, owner)) as store:
        (length,) = _LENGTH.unpack(bytes(store.read(key, 0, _LENGTH.size)))
        if length > _LONGEST:
            raise CorruptObject(f"object {key} is no safetensors: it claims a header of {length} bytes")
        head = bytes(store.read(key, _LENGTH.size, length))
    try:
        header = _Header.model_validate_json(head)
        about = _About.model_validate_json(header.metadata.sapflow).model
    except ValidationError as error:
        raise CorruptObject(f"object {key} does not say which model it is: {error}") from error
    return ModelHeader(needs_torch(about), about.entrypoint)
