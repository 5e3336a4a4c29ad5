"""A store that does not answer for a while, to nobody: as one whose server was killed and starts again."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from sapflow.errors import StoreUnavailable
from sapflow.objects.stores.protocol import Buffer, Listed, ObjectReader, Store


@dataclass(frozen=True)
class Outage:
    """The store's requests number `start` to `start` + `count` − 1 have no answer."""

    start: int
    count: int


@dataclass
class AwayStore:
    """Passes everything on, but for its outages. What was to be written then is not there."""

    inner: Store
    outages: Sequence[Outage] = ()
    url: str = field(init=False)
    remote: bool = False

    def __post_init__(self) -> None:
        self.url = self.inner.url
        self.asked = 0
        """Requests so far."""

    def _ask(self) -> None:
        number, self.asked = self.asked, self.asked + 1
        if any(each.start <= number < each.start + each.count for each in self.outages):
            raise StoreUnavailable("the store does not answer")

    def create(self, key: str, parts: Buffer | Sequence[Buffer], *, durable: bool = False) -> bool:
        self._ask()
        return self.inner.create(key, parts)

    def delete(self, keys: Iterable[str]) -> None:
        self._ask()
        self.inner.delete(keys)

    def read(self, key: str, start: int = 0, count: int | None = None) -> memoryview:
        self._ask()
        return self.inner.read(key, start, count)

    def open(self, key: str) -> ObjectReader:
        self._ask()
        return self.inner.open(key)

    def exists(self, key: str) -> bool:
        self._ask()
        return self.inner.exists(key)

    def list(self, prefix: str, *, shallow: bool = False) -> Iterator[Listed]:
        self._ask()
        return self.inner.list(prefix, shallow=shallow)

    def delete_prefix(self, prefix: str) -> None:
        self._ask()
        self.inner.delete_prefix(prefix)

    def probe(self, prefix: str = "") -> None:
        self.inner.probe(prefix)

    def close(self) -> None:
        self.inner.close()
