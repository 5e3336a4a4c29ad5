"""What an epoch reads from the store, in times the data set, by the number of workers and instances.

Logistic regression's data of `bench.partition`: 1,600 samples of 21,300 floats, 200 samples a step whatever n.
Instances are readers of the released path in this process, over a store that counts; nothing is computed.
"""

import random
from collections.abc import Iterator

import numpy as np

from bench.result import Result
from sapflow.data.block_size import MAX_BLOCK_BYTES
from sapflow.data.dealing import Deal
from sapflow.data.manifest import Manifest, encode_block
from sapflow.data.order import Orders
from sapflow.data.sampler import Reader
from sapflow.objects.stores.directory import DirectoryStore

SAMPLES, FEATURES, STEP = 1_600, 21_300, 200
WORKERS = (1, 2, 4, 8, 16, 32)
EPOCHS = 3
ROOM = 140 << 20
"""What a worker of 512 MiB, the default, has left for data beside torch and this model."""
BEFORE = {
    ("own", 1): 0.90, ("own", 2): 1.75, ("own", 4): 3.51, ("own", 8): 7.02, ("own", 16): 13.98, ("own", 32): 26.56,
    ("two", 1): 0.90, ("two", 2): 1.75, ("two", 4): 1.80, ("two", 8): 1.80, ("two", 16): 1.80, ("two", 32): 1.77,
    ("any", 1): 0.90, ("any", 2): 1.67, ("any", 4): 3.26, ("any", 8): 6.11, ("any", 16): 11.79, ("any", 32): 22.15,
    ("any two", 1): 0.90, ("any two", 2): 1.67, ("any two", 4): 1.77, ("any two", 8): 1.80, ("any two", 16): 1.80,
    ("any two", 32): 1.77,
}  # fmt: skip
"""The same by the rule before: all ranks in one order, windows of four whole blocks, 64 MiB of them kept."""
WORDS = {
    "own": "as many instances, a rank on its own",
    "two": "two instances, a rank on its own",
    "any": "as many instances, a rank on any",
    "any two": "two instances, a rank on any",
}


class Memory(DirectoryStore):
    """Blocks in memory; counts the bytes that are read."""

    def __init__(self, blocks: list[bytes]) -> None:
        self.blocks, self.bytes = blocks, 0

    def read(self, key: str, start: int = 0, count: int | None = None) -> memoryview:
        found = memoryview(self.blocks[int(key.rpartition("/")[2])])[start:]
        found = found if count is None else found[:count]
        self.bytes += len(found)
        return found


def data() -> tuple[Manifest, Memory]:
    """The data set's blocks, all zeros."""
    rows = (MAX_BLOCK_BYTES - 512) // (4 * FEATURES + 4)
    counts = [min(rows, SAMPLES - start) for start in range(0, SAMPLES, rows)]
    blocks = [
        b"".join(
            bytes(part) for part in encode_block(np.zeros((n, FEATURES), np.float32), np.zeros(n, np.int32))
        )
        for n in counts
    ]
    return Manifest("s", "classification", (FEATURES,), "float32", (), 2, tuple(counts), ()), Memory(blocks)


def epochs(
    manifest: Manifest, store: Memory, workers: int, instances: int, *, own: bool, fixed: bool = False
) -> list[float]:
    """The bytes that each epoch reads, in times the data set."""
    size = sum(map(len, store.blocks))
    readers = [Reader(store, "p/", manifest, cache_bytes=ROOM) for _ in range(instances)]
    orders = Orders(manifest.train, 0, fixed=fixed)
    deal, chance, found = Deal(SAMPLES, STEP // workers, workers), random.Random(0), []
    for epoch in range(EPOCHS):
        store.bytes = 0
        for step in range(deal.steps):
            for rank in range(workers):
                reader = readers[rank % instances if own else chance.randrange(instances)]
                if shares := deal.shares(rank, step):
                    reader.serve(rank, orders.pieces(epoch, shares))
                    reader.batch(orders.locate(epoch, shares))
        found.append(store.bytes / size)
    return found


def measure() -> Iterator[Result]:
    """A row for each n and way; the goal is 1.15 where each rank has an instance, else what was read before."""
    manifest, store = data()
    for workers in WORKERS:
        for way, words in WORDS.items():
            instances = min(2, workers) if "two" in way else workers
            found = epochs(manifest, store, workers, instances, own=way in ("own", "two"))
            before = BEFORE[way, workers]
            each = ", ".join(f"{one:.2f}" for one in found)
            yield Result(
                f"data read an epoch, n = {workers}: {words}; the mean of {EPOCHS} epochs ({each})",
                f"{sum(found) / EPOCHS:.2f} ×",
                f"{before:.2f} × before",
                max(found) if way == "own" else sum(found) / EPOCHS,
                1.15 if way == "own" else before,
            )
        first, *rest = epochs(manifest, store, workers, workers, own=True, fixed=True)
        yield Result(
            f"data read an epoch after the first, n = {workers}, Fixed (the first: {first:.2f})",
            f"{max(rest):.2f} ×",
            "0 where partitions fit",
            max(rest),
            0.0 if workers > 1 else 1.15,
        )
