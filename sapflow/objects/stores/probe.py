"""The probe at start-up: it checks that of several writers of one key only one wins.

Some S3 look-alikes ignore `If-None-Match`, some honour it for small bodies only, and some check before they write and
so have a race. Each of these would break exactly-once silently, so the probe detects them before a job starts.
"""

import secrets
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier

from sapflow.errors import StoreError, StoreUnsafe
from sapflow.objects.stores.protocol import Store

_WRITERS = {False: 4, True: 2}
"""Number of concurrent writers, by whether the object is large; with large ones there are few, to spare slow links."""
_LARGE = 1 << 20
_SIZES = {False: (1 << 10,), True: (1 << 10, 6 << 20, 17 << 20)}
"""Object sizes in bytes, by whether the store is remote: below and above the sizes at which clients and servers store
objects in other ways (MinIO inlines small objects; multipart thresholds are 5, 8 and 16 MiB)."""


def probe_store(store: Store, prefix: str = "") -> None:
    """Write keys under `prefix` + `.probe/` twice, one after the other and from several threads, and remove them again.

    Raises StoreUnsafe if not exactly one writer wins or the content is not the winner's, and whatever the store raises
    if it cannot be written at all.
    """
    folder = f"{prefix}.probe/{secrets.token_hex(8)}"
    keys = []
    try:
        for size in _SIZES[store.remote]:
            for name, attempt in (("turn", _one_after_the_other), ("race", _at_once)):
                keys.append(f"{folder}/{name}-{size}")
                _judge(store, keys[-1], size, attempt(store, keys[-1], size))
    except StoreError:
        with suppress(StoreError):
            store.delete(keys)
        raise
    store.delete(keys)


def _body(writer: int, size: int) -> bytes:
    return bytes([writer + 1]) * size


def _one_after_the_other(store: Store, key: str, size: int) -> list[bool]:
    return [store.create(key, _body(writer, size)) for writer in range(2)]


def _at_once(store: Store, key: str, size: int) -> list[bool]:
    writers = _WRITERS[size > _LARGE]
    barrier = Barrier(writers)

    def write(writer: int) -> bool:
        body = _body(writer, size)
        barrier.wait()
        return store.create(key, body)

    with ThreadPoolExecutor(writers) as threads:
        return list(threads.map(write, range(writers)))


def _judge(store: Store, key: str, size: int, won: list[bool]) -> None:
    if sum(won) != 1:
        raise StoreUnsafe(
            f"{store.url}: {sum(won)} of {len(won)} writers of one object of {size} bytes were told that "
            "they made it, so steps could count twice; use a store that honours create-only writes "
            "(If-None-Match: * on PUT), such as AWS S3 or MinIO of 2024-11 or later"
        )
    if store.read(key) != _body(won.index(True), size):
        raise StoreUnsafe(
            f"{store.url}: an object of {size} bytes does not hold what its one successful writer wrote; "
            "use a store that honours create-only writes (If-None-Match: * on PUT)"
        )
