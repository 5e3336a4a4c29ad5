"""The interface of channels."""

from collections.abc import Sequence
from typing import Protocol

from sapflow.messages.refs import Ref
from sapflow.objects.stores.protocol import Buffer, ObjectReader


class Channel(Protocol):
    """Carries objects by their refs. As in a store, the first writer of a key wins."""

    remote: bool
    """Whether opening an object is a network round trip, so that reading ahead is worthwhile."""

    def put(self, ref: Ref, parts: Sequence[Buffer]) -> bool:
        """Write an object, `parts` one after the other. Returns False if another writer was first.

        Raises StoreError, StoreUnavailable.
        """

    def open(self, ref: Ref) -> ObjectReader:
        """Open an object to read it front to back. Raises ObjectMissing, CellLost, StoreUnavailable."""
