"""One interface to object storage.

Every write is create-only: the first writer of a key wins, everybody else reads what is there.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

Buffer = bytes | bytearray | memoryview


class Listed(NamedTuple):
    """An object in a listing."""

    key: str
    size: int
    """Bytes; 0 of a folder, whose key ends in '/'."""


class ObjectReader(Protocol):
    """One object read front to back. Use as a context manager."""

    size: int

    def next(self, count: int) -> memoryview:
        """The next `count` bytes in a 64-byte aligned buffer, valid until the next call.

        Raises CorruptObject when the object ends early.
        """

    def readinto(self, target: memoryview) -> None:
        """Fill `target` with the next bytes. Raises CorruptObject when the object ends early."""

    def __enter__(self) -> "ObjectReader": ...

    def __exit__(self, *exc: object) -> None: ...


class Store(Protocol):
    """Create-only object storage. Safe to use from several threads."""

    url: str
    remote: bool
    """True where a read is a network round trip, so that reading ahead pays."""

    def create(self, key: str, parts: Buffer | Sequence[Buffer], *, durable: bool = False) -> bool:
        """Write an object unless the key exists; True when this call made it.

        `parts` are written one after the other. A lost answer is resolved by reading back: the object is
        ours if its bytes are. `durable` objects survive a power failure once this returns.
        Raises StoreUnavailable, StoreError.
        """

    def read(self, key: str, start: int = 0, count: int | None = None) -> memoryview:
        """Bytes of an object (a range of it). The buffer's address is 64-byte aligned where `start` is.

        Raises ObjectMissing, CorruptObject (shorter than asked), StoreUnavailable.
        """

    def open(self, key: str) -> ObjectReader:
        """An object to read front to back in one request. Raises ObjectMissing, StoreUnavailable."""

    def exists(self, key: str) -> bool: ...

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; missing ones are passed over."""

    def list(self, prefix: str, *, shallow: bool = False) -> Iterator[Listed]:
        """The objects whose keys start with `prefix` ('' for all), in the order of their keys, read page by page.

        With `shallow`, what lies in folders below the prefix's own counts as one entry of its folder.
        A job's keys are computed, never listed. These alone list: the clean-up of a deleted job, the reader of a
        user's source files, and commands that show which jobs a directory holds.
        Raises BucketMissing, StoreUnavailable, StoreError; objects that come or go meanwhile may be in it or not.
        """

    def delete_prefix(self, prefix: str) -> None:
        """Remove all objects whose keys start with `prefix`: clean-up of a deleted job only."""

    def probe(self, prefix: str = "") -> None:
        """Refuse a store on which two writers can both win, by writing below `prefix` (it ends in '/').

        Raises StoreUnsafe, StoreUnavailable.
        """

    def close(self) -> None: ...
