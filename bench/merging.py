"""Rows 4 to 6: a tree of merges by two concurrent mergers, compared with a textbook handler and between both stores."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator

import numpy as np

from bench import textbook
from bench.peers import Peers
from bench.result import Result
from bench.stores import MinioPlace, Place
from sapflow.messages.refs import Ref
from sapflow.messages.requests import MergeRequest
from sapflow.objects import contribution
from sapflow.objects.stores.protocol import Store
from sapflow.objects.sums import Sums
from sapflow.runtimes.embedded.runtime import EmbeddedRuntime

CHILDREN, MERGERS = 20, 4
PARAMETERS = 10_750_000
AT_ONCE = 2
REPEATS = 5
REST_SECONDS = 0.5
"""Pause before each tree, because MinIO still cleans up after the one before."""

Merge = Callable[[list[str], str, int], Awaitable[None]]
"""A merge of (children, output, number of elements)."""


def measure(
    minio: MinioPlace, directory: Place, shards: int, goal: float, goal_directory: float
) -> list[Result]:
    """Median seconds of the tree [1, 4, 20] with `shards` ranges. Each round runs all sides once."""
    ours, theirs, local = asyncio.run(_rounds(minio, directory, shards))
    cut = f", {shards} shards" if shards > 1 else ""
    what = f"merge {CHILDREN} × {4 * PARAMETERS // 10**6} MB, [1, {MERGERS}, {CHILDREN}]{cut}"
    return [
        Result(
            f"{what}, MinIO, against the textbook handler",
            f"{ours:.2f} s",
            f"{theirs:.2f} s",
            ours / theirs,
            goal,
        ),
        Result(
            f"{what}, directory against MinIO",
            f"{local:.2f} s",
            f"{ours:.2f} s",
            local / ours,
            goal_directory,
        ),
    ]


async def _rounds(minio: MinioPlace, directory: Place, shards: int) -> tuple[float, float, float]:
    size = PARAMETERS // shards
    inputs = list(_names(shards))
    vector = np.random.default_rng(0).standard_normal(size, np.float32)
    safetensor = contribution.encode(vector, Sums(1, {"loss": 1.0}).to_metadata())
    places: tuple[Place, ...] = (minio, directory)
    stores = [place.open() for place in places]
    for name in inputs:
        for store in stores:
            store.create(name, safetensor)
        stores[0].create(f"npy/{name}", textbook.encode(vector))
    runtimes = [EmbeddedRuntime(place.url, place.environ, max_instances=AT_ONCE) for place in places]
    seconds: dict[str, list[float]] = {"minio": [], "directory": [], "textbook": []}
    try:
        with Peers("bench.textbook", AT_ONCE, environ=minio.client_environ) as peers:
            sides = (
                ("textbook", "npy/", _textbook(peers), stores[0]),
                ("minio", "", _ours(runtimes[0]), stores[0]),
                ("directory", "", _ours(runtimes[1]), stores[1]),
            )
            for repeat in range(REPEATS + 1):
                for side, prefix, merge, store in sides:
                    taken = await _tree(merge, prefix, shards, size, store)
                    if repeat:
                        seconds[side].append(taken)
    finally:
        for runtime in runtimes:
            await runtime.close()
        for store in stores:
            store.delete(inputs + [f"npy/{name}" for name in inputs])
            store.close()
    return tuple(statistics.median(seconds[side]) for side in ("minio", "textbook", "directory"))  # type: ignore[return-value]


def _names(shards: int) -> Iterator[str]:
    for shard in range(shards):
        for child in range(CHILDREN):
            yield f"0-{child}.{shard}"


async def _tree(merge: Merge, prefix: str, shards: int, size: int, store: Store) -> float:
    """Seconds of all trees at once; the last merge of each shard starts as soon as its groups are done."""
    fan_in = CHILDREN // MERGERS
    outputs: list[str] = []

    async def one(children: list[str], output: str) -> str:
        await merge(children, output, size)
        outputs.append(output)
        return output

    async def shard_tree(shard: int) -> None:
        groups = [
            [f"{prefix}0-{child}.{shard}" for child in range(group * fan_in, (group + 1) * fan_in)]
            for group in range(MERGERS)
        ]
        sums = (one(children, f"{prefix}1-{group}.{shard}") for group, children in enumerate(groups))
        await one(list(await asyncio.gather(*sums)), f"{prefix}2-0.{shard}")

    await asyncio.sleep(REST_SECONDS)
    started = time.perf_counter()
    await asyncio.gather(*(shard_tree(shard) for shard in range(shards)))
    taken = time.perf_counter() - started
    store.delete(outputs)
    return taken


def _ours(runtime: EmbeddedRuntime) -> Merge:
    async def merge(children: list[str], output: str, size: int) -> None:
        refs, written = (
            [Ref(key=key, start=0, stop=size) for key in children],
            Ref(key=output, start=0, stop=size),
        )
        request = MergeRequest(job="bench", version=1, seconds_left=60, children=refs, output=written)
        await runtime.invoke("merger", request.body(), seconds=60)

    return merge


def _textbook(peers: Peers) -> Merge:
    idle = asyncio.Queue[int]()
    for rank in range(AT_ONCE):
        idle.put_nowait(rank)

    async def merge(children: list[str], output: str, size: int) -> None:
        rank = await idle.get()
        try:
            await asyncio.to_thread(peers.ask_one, rank, {"children": children, "output": output})
        finally:
            idle.put_nowait(rank)

    return merge
