"""One interface to object storage.

Every write is create-only: the first writer of a key wins, and all others read what it has written.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

Buffer = bytes | bytearray | memoryview


class Listed(NamedTuple):
    """An object in a listing."""

    key: str
    size: int
    """Bytes; 0 of a folder, whose key ends in '/'."""
    tag: str = ""
    """The ETag of an object in S3."""
    modified: float = 0.0
    """When an object was written, in seconds since 1970; 0 where the store does not tell."""


class ObjectReader(Protocol):
    """An object that is read front to back. Use it as a context manager."""

    size: int

    def next(self, count: int) -> memoryview:
        """The next `count` bytes in a 64-byte aligned buffer, valid until the next call.

        Raises CorruptObject if the object ends early.
        """

    def readinto(self, target: memoryview) -> None:
        """Fill `target` with the next bytes. Raises CorruptObject if the object ends early."""

    def __enter__(self) -> "ObjectReader": ...

    def __exit__(self, *exc: object) -> None: ...


class Opens(Protocol):
    """What objects are read from by their keys."""

    def open(self, key: str) -> ObjectReader:
        """Open an object to read it front to back. Raises ObjectMissing, StoreUnavailable."""


class Store(Opens, Protocol):
    """Create-only object storage. Safe to use from several threads."""

    url: str
    remote: bool
    """Whether a read is a network round trip, so that reading ahead is worthwhile."""

    def create(self, key: str, parts: Buffer | Sequence[Buffer], *, durable: bool = False) -> bool:
        """Write an object unless the key exists. Returns True if this call created it.

        `parts` are written one after the other. If the answer is lost, the object is read back: it counts as created
        by this call if its bytes are the same. `durable` objects survive a power failure once this returns.
        Raises StoreUnavailable, StoreError.
        """

    def read(self, key: str, start: int = 0, count: int | None = None) -> memoryview:
        """The bytes of an object, or of a range of it. The buffer is 64-byte aligned if `start` is a multiple of 64.

        Raises ObjectMissing, CorruptObject (if it is shorter than the range), StoreUnavailable.
        """

    def open(self, key: str) -> ObjectReader:
        """Open an object to read it front to back in one request. Raises ObjectMissing, StoreUnavailable."""

    def exists(self, key: str) -> bool: ...

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; missing ones are ignored."""

    def list(self, prefix: str, *, shallow: bool = False) -> Iterator[Listed]:
        """The objects whose keys start with `prefix` ('' for all), in the order of their keys, read page by page.

        With `shallow`, what lies in folders below the prefix's own counts as one entry of its folder.
        A job's keys are computed, never listed, as long as it trains. These alone list: the sweep at its end (it has
        finished or failed, or a trial was stopped), the clearing after a preparation, the clean-up of a deleted job,
        the reader of a user's source files, and commands that show which jobs a directory holds, or when one began.
        Raises BucketMissing, StoreUnavailable, StoreError; objects that come or go meanwhile may be in it or not.
        """

    def delete_prefix(self, prefix: str) -> None:
        """Remove all objects whose keys start with `prefix`. Only the clean-up of a deleted job uses this."""

    def probe(self, prefix: str = "") -> None:
        """Check by writing below `prefix` (it ends in '/') that two writers cannot both win.

        Raises StoreUnsafe, StoreUnavailable.
        """

    def close(self) -> None: ...
