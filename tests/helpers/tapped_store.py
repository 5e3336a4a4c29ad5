"""A store with a failpoint before and after every write; each process of a simulation has its own view."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from sapflow.objects import keys
from sapflow.objects.stores.protocol import Buffer, Listed, ObjectReader, Store


class Killed(BaseException):
    """The simulated process is gone: like SIGKILL, no handler of errors sees it."""


@dataclass(frozen=True, slots=True)
class Write:
    """One change of the store: a create, or a delete (of `key` and perhaps more)."""

    kind: str
    key: str


Failpoint = Callable[[Write, bool], None]
"""Called before (False) and after (True) each write; may raise Killed, or run something in between."""


@dataclass
class TappedStore:
    """Passes everything on. Once `dead`, whatever its process still tries is not done."""

    inner: Store
    failpoint: Failpoint = lambda write, after: None
    dead: bool = False
    url: str = field(init=False)
    remote: bool = False

    def __post_init__(self) -> None:
        self.url = self.inner.url

    def create(self, key: str, parts: Buffer | Sequence[Buffer], *, durable: bool = False) -> bool:
        # No power fails in a simulation, and fsync would be most of its time.
        self._pass(Write("create", key), after=False)
        made = self.inner.create(key, parts)
        self._pass(Write("create", key), after=True)
        return made

    def delete(self, keys: Iterable[str]) -> None:
        names = list(keys)
        write = Write("delete", names[0] if names else "")
        self._pass(write, after=False)
        self.inner.delete(names)
        self._pass(write, after=True)

    def _pass(self, write: Write, *, after: bool) -> None:
        self._alive()
        try:
            self.failpoint(write, after)
        except Killed:
            self.dead = True
            raise

    def _alive(self) -> None:
        if self.dead:
            raise Killed

    def read(self, key: str, start: int = 0, count: int | None = None) -> memoryview:
        self._alive()
        return self.inner.read(key, start, count)

    def open(self, key: str) -> ObjectReader:
        self._alive()
        return self.inner.open(key)

    def exists(self, key: str) -> bool:
        self._alive()
        return self.inner.exists(key)

    def list(self, prefix: str, *, shallow: bool = False) -> Iterator[Listed]:
        self._alive()
        if prefix.endswith("/data/work/"):
            prepared = self.inner.exists(prefix.removesuffix("work/") + "manifest.json")
            assert prepared, "a preparation never lists before its end"
            return self.inner.list(prefix, shallow=shallow)
        parts = prefix.split("/")
        job = "/".join(parts[: 4 if parts[2] == "trials" else 2])
        # A trial that was stopped or has failed has no outcome, and is swept all the same.
        swept = parts[2] == "trials" and prefix in keys.of_versions(f"{job}/")
        ended = swept or self.inner.exists(f"{job}/result/outcome.json")
        assert ended, "training never lists before its end"
        return self.inner.list(prefix, shallow=shallow)

    def delete_prefix(self, prefix: str) -> None:
        raise AssertionError("training never removes by prefix")

    def probe(self, prefix: str = "") -> None:
        self.inner.probe(prefix)

    def close(self) -> None:
        self.inner.close()
