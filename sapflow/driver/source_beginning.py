"""The plan of a source without its later partitions, for a rehearsal of its preparation."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from sapflow.messages.documents import Document
from sapflow.objects.documents import read_document
from sapflow.objects.stores.protocol import Store
from sapflow.preparation.reading.gzip_beginning import beginning_borders, beginning_bytes


@dataclass(frozen=True, slots=True)
class SourceBeginning:
    """The first `partitions` of a source."""

    store: Store
    partitions: int

    @property
    def borders(self) -> int:
        """So many borders of partitions of a packed file are needed, at most."""
        return beginning_borders(self.partitions)

    @property
    def unpacked_bytes(self) -> int:
        """So much of packed files is to be known."""
        return beginning_bytes(self.partitions)

    async def of_survey(self, plan: Document) -> tuple[Document, list[int]]:
        """The plan of the survey, and what of it is to be scanned: where a partition ends, the next one's scan says.
        Raises AlteredObject, StoreError."""
        document, body = await asyncio.to_thread(self._cut, plan, self.partitions + 1)
        return document, body["to_scan"]

    async def of_exact(self, plan: Document) -> tuple[Document, int]:
        """The exact plan, and the number of its partitions. Raises AlteredObject, StoreError."""
        document, body = await asyncio.to_thread(self._cut, plan, self.partitions)
        return document, len(body["partitions"])

    def _cut(self, plan: Document, most: int) -> tuple[Document, dict[str, Any]]:
        body = read_document(self.store, plan)
        if len(body["partitions"]) <= most:
            return plan, body
        body["partitions"] = body["partitions"][:most]
        body["to_scan"] = [number for number in body["to_scan"] if number < most]
        data = json.dumps(body, sort_keys=True).encode()
        key = f"{plan.key}.{most}"
        self.store.create(key, data)
        return Document.of(key, data), body
