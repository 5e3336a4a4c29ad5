"""The log of a search: numbered objects, each written once and never changed, `search/<k>.json`.

A record holds the entries that were decided together. Whoever creates record k has decided; another driver that wanted
to finds it there, and goes on from what it reads. Every 256 records are also written as one segment, so that a restart
reads 20,000 trials in a few hundred requests. Records stay: a driver that was asleep must find its number taken.
"""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from sapflow.errors import CorruptObject, ObjectMissing
from sapflow.objects import keys
from sapflow.objects.stores.protocol import Store
from sapflow.text import parse_json
from sapflow.tuning import entries
from sapflow.tuning.entries import Entry

SEGMENT = 256
"""Records of a segment."""
_AT_ONCE = 16


class Log:
    """The records of the search whose keys begin with `prefix`."""

    def __init__(self, store: Store, prefix: str) -> None:
        self._store, self._prefix = store, prefix
        self._segment: list[Any] = []
        """The records since the last full segment."""
        self.count = 0
        """Records known, by reading or writing."""

    async def read(self) -> list[Entry]:
        """The entries of all records that were not known. Raises CorruptObject, StoreError."""
        found: list[Entry] = []
        while True:
            while not self._segment and (segment := await self._full()) is not None:
                for record in segment:
                    found += self._entries(record)
                    self.count += 1
            records = await asyncio.gather(
                *(self._read(keys.search_record(self._prefix, self.count + more)) for more in range(_AT_ONCE))
            )
            for record in records:
                if record is None:
                    return found
                found += self._entries(record)
                await self._took(record)

    async def append(self, found: Sequence[Entry]) -> bool:
        """Write the next record; False if another driver has written one of this number. Raises StoreError."""
        record = [entries.body(each) for each in found]
        key = keys.search_record(self._prefix, self.count)
        data = json.dumps(record, separators=(",", ":"), allow_nan=False).encode()
        if not await asyncio.to_thread(self._store.create, key, data, durable=True):
            return False
        await self._took(record)
        return True

    async def _full(self) -> list[Any] | None:
        """The next segment; None if it has not been written."""
        key = keys.search_segment(self._prefix, self.count // SEGMENT)
        value = await self._read(key)
        return None if value is None else _list(value, key)

    async def _took(self, record: Any) -> None:
        self.count += 1
        self._segment.append(record)
        if len(self._segment) == SEGMENT:
            key = keys.search_segment(self._prefix, self.count // SEGMENT - 1)
            data = json.dumps(self._segment, separators=(",", ":"), allow_nan=False).encode()
            await asyncio.to_thread(self._store.create, key, data)
            self._segment = []

    async def _read(self, key: str) -> Any:
        """The JSON value of an object, None if there is none. Raises CorruptObject, StoreError."""
        try:
            data = await asyncio.to_thread(self._store.read, key)
        except ObjectMissing:
            return None
        try:
            return parse_json(bytes(data))
        except ValueError as error:
            raise CorruptObject(f"object {key} is not JSON: {error}") from error

    def _entries(self, record: Any) -> list[Entry]:
        key = keys.search_record(self._prefix, self.count)
        return [entries.read(each, key) for each in _list(record, key)]


def _list(value: Any, key: str) -> list[Any]:
    if not isinstance(value, list):
        raise CorruptObject(f"object {key} is no list of entries")
    return value
