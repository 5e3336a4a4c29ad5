"""A store that lies over another one: it reads what both have, and writes into itself alone.

So steps of a job can be computed again beside it, under the same keys, and nothing of the job is changed.
"""

from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from urllib.parse import quote, unquote

from sapflow.errors import ObjectMissing, StoreError
from sapflow.objects.stores.protocol import Buffer, Listed, ObjectReader, Store

SCHEME = "overlay"


def overlay_url(upper: str, lower: str) -> str:
    """The URL of the store at `upper` over the one at `lower`, by which functions open it."""
    return f"{SCHEME}:{quote(upper, safe='')}/{quote(lower, safe='')}"


def parts_of(url: str) -> tuple[str, str]:
    """The URLs of the upper and the lower store. Raises StoreError."""
    upper, found, lower = url.removeprefix(f"{SCHEME}:").partition("/")
    if not found:
        raise StoreError(f"{url!r} is no store: an overlay names two")
    return unquote(upper), unquote(lower)


class OverlayStore:
    """`upper` over `lower`. An object of `upper` hides the one of that key in `lower`."""

    def __init__(self, upper: Store, lower: Store) -> None:
        self.upper, self.lower = upper, lower
        self.url = overlay_url(upper.url, lower.url)
        self.remote = lower.remote

    def create(self, key: str, parts: Buffer | Sequence[Buffer], *, durable: bool = False) -> bool:
        """See Store.create, as if `lower` were empty. Nothing here needs to survive a power failure."""
        return self.upper.create(key, parts)

    def read(self, key: str, start: int = 0, count: int | None = None) -> memoryview:
        try:
            return self.upper.read(key, start, count)
        except ObjectMissing:
            return self.lower.read(key, start, count)

    def open(self, key: str) -> ObjectReader:
        try:
            return self.upper.open(key)
        except ObjectMissing:
            return self.lower.open(key)

    def exists(self, key: str) -> bool:
        return self.upper.exists(key) or self.lower.exists(key)

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects of `upper`; those that they hid are seen again."""
        self.upper.delete(keys)

    def list(self, prefix: str, *, shallow: bool = False) -> Iterator[Listed]:
        last = None
        both = (each.list(prefix, shallow=shallow) for each in (self.upper, self.lower))
        for found in merge(*both, key=lambda each: each.key):
            if found.key != last:
                yield found
            last = found.key

    def delete_prefix(self, prefix: str) -> None:
        self.upper.delete_prefix(prefix)

    def probe(self, prefix: str = "") -> None:
        self.upper.probe(prefix)

    def close(self) -> None:
        self.upper.close()
        self.lower.close()
