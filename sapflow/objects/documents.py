"""Reads a job's documents, and refuses those that are not the ones that the driver has read."""

import hashlib
from typing import Any

from sapflow.errors import AlteredObject, CorruptObject, ObjectMissing
from sapflow.messages.documents import Document
from sapflow.objects.stores.protocol import Store
from sapflow.text import parse_json


def read_document(store: Store, document: Document) -> Any:
    """The JSON value of a document. Raises AlteredObject if its bytes are others than the request says, CorruptObject
    if they are no JSON, and StoreError."""
    data = bytes(store.read(document.key))
    found = hashlib.sha256(data).hexdigest()
    if found != document.sha256:
        raise AlteredObject(
            f"object {document.key} is not the one that the driver has read (its SHA-256 is {found[:16]}…, "
            f"not {document.sha256[:16]}…): somebody has replaced it, and nothing of it is used. Find out who else may "
            "write to the bucket, and start the job anew"
        )
    try:
        return parse_json(data)
    except ValueError as error:
        raise CorruptObject(f"object {document.key} is not JSON: {error}") from error


def read_json(store: Store, key: str) -> Any | None:
    """The JSON value of an object; None if there is no such object. Raises StoreError, and ValueError for no JSON."""
    try:
        return parse_json(bytes(store.read(key)))
    except ObjectMissing:
        return None
