"""Contributions in the job's store, the channel that every function can use."""

from collections.abc import Sequence

from sapflow.messages.refs import Ref
from sapflow.objects.stores.protocol import Buffer, ObjectReader, Store


class StoreChannel:
    """A Channel over a store."""

    def __init__(self, store: Store) -> None:
        self._store, self.remote = store, store.remote

    def put(self, ref: Ref, parts: Sequence[Buffer]) -> bool:
        return self._store.create(ref.key, parts)

    def open(self, ref: Ref) -> ObjectReader:
        return self._store.open(ref.key)
