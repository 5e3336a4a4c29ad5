"""Objects that are written with the SHA-256 of their bytes at hand.

A store's client does not hash what it sends (`signature.py`), so the bytes are hashed here, once. Large ones are hashed
on a thread of their own while they are written, because `hashlib` lets go of the interpreter.
"""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from sapflow.objects.stores.buffers import byte_views
from sapflow.objects.stores.protocol import Store
from sapflow.objects.stores.together import Content, create_all

APART = 1 << 20
"""Bytes from which a thread of its own is worth its start; fewer are hashed in less than a millisecond."""
_PIECE = 4 << 20


class Digested(NamedTuple):
    """Whether a call created an object, and the SHA-256 of what stands under its key now, in hex digits."""

    created: bool
    sha256: str


def create_digested(
    store: Store, objects: Sequence[tuple[str, Content]], *, durable: bool = False
) -> list[Digested]:
    """`create_all`, and the SHA-256 of each object.

    Where another writer was first, its object is read back and hashed: it counts, and only a fault makes it differ.
    Raises what `create_all` and `Store.open` raise.
    """
    size = sum(len(view) for _, content in objects for view in byte_views(content))
    if size < APART:
        found = sha256s(objects)
        made = create_all(store, objects, durable=durable)
    else:
        with ThreadPoolExecutor(1) as thread:
            hashing = thread.submit(sha256s, objects)
            made = create_all(store, objects, durable=durable)
            found = hashing.result()
    return [
        Digested(created, sha256 if created else sha256_of(store, key))
        for created, sha256, (key, _) in zip(made, found, objects, strict=True)
    ]


def sha256_of(store: Store, key: str) -> str:
    """The SHA-256 of an object in the store. Raises ObjectMissing, CorruptObject, StoreUnavailable."""
    digest = hashlib.sha256()
    with store.open(key) as reader:
        left = reader.size
        while left:
            left -= len(piece := reader.next(min(left, _PIECE)))
            digest.update(piece)
    return digest.hexdigest()


def sha256s(objects: Sequence[tuple[str, Content]]) -> list[str]:
    """The SHA-256 of each object, in hex digits."""
    found = []
    for _, content in objects:
        digest = hashlib.sha256()
        for view in byte_views(content):
            digest.update(view)
        found.append(digest.hexdigest())
    return found
