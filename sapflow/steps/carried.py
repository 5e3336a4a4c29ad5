"""A new version inside the root's answer: it goes to workers in their requests while the driver writes it.

So the root's answer does not wait for the store, the next step begins meanwhile, and its workers ask the store for
nothing. No commit names the objects before they stand. If the driver dies before that, the step is made again.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sapflow.errors import SapflowError, StoreError
from sapflow.objects.stores.digested import sha256_of
from sapflow.objects.stores.protocol import Store
from sapflow.objects.stores.together import create_all


class OtherBytes(SapflowError):
    """Another driver's root has made this version on another kind of CPU, and its bytes stand in the store."""

    reason = "OtherBytes"


@dataclass(frozen=True, slots=True)
class New:
    """An object that is not written yet."""

    key: str
    content: bytes
    sha256: str


class Carried:
    """The newest version that an answer brought. One of them is written at a time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._contents: dict[str, bytes] = {}
        self._writing: asyncio.Task[None] | None = None

    def take_in(self, objects: Sequence[New], read: Collection[str]) -> None:
        """Begin to write a version's objects, and keep those with the keys in `read`, which workers read."""
        self._contents = {each.key: each.content for each in objects if each.key in read}
        self._writing = asyncio.create_task(asyncio.to_thread(self._write, objects))

    def attachments(self, keys: Iterable[str]) -> Mapping[str, bytes]:
        """Those of the objects that the driver holds."""
        return {key: self._contents[key] for key in keys if key in self._contents}

    async def stored(self) -> None:
        """Wait until the version stands in the store. Raises StoreError, and OtherBytes if another one does: then
        nothing is held any more."""
        if self._writing is None:
            return
        try:
            await asyncio.shield(self._writing)
        except (OtherBytes, StoreError):
            self._contents, self._writing = {}, None
            raise
        self._writing = None

    async def close(self) -> None:
        """Wait for a write under way, whatever comes of it."""
        self._contents = {}
        if self._writing is not None:
            await asyncio.gather(self._writing, return_exceptions=True)
            self._writing = None

    def _write(self, objects: Sequence[New]) -> None:
        created = create_all(self._store, [(each.key, each.content) for each in objects], durable=True)
        for each, ours in zip(objects, created, strict=True):
            if not ours and sha256_of(self._store, each.key) != each.sha256:
                raise OtherBytes(f"{each.key} in the store is not what the root has made")
