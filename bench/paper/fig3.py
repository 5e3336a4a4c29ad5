"""`python -m bench.paper.fig3`: Fig. 3, gathering is linear in the number of gradient sets, broadcasting is constant.

A merger sums n sets of 42,601 values from MinIO; n workers read the same parameters at once. Each connection to the
store has the latency and bandwidth of `LINK`, like a connection to an object store across a data centre's network.
"""

import asyncio
import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench import stores
from bench.paper import figure
from bench.paper.light import runtime
from bench.paper.link import Link, behind
from bench.stores import MinioPlace
from sapflow.algorithms import optimizers
from sapflow.messages.documents import Document
from sapflow.messages.refs import Ref
from sapflow.messages.requests import MergeRequest, Slice, TrainRequest
from sapflow.messages.vectors import Part, Sizes
from sapflow.monitoring.report.charts import Line
from sapflow.objects import contribution
from sapflow.objects.sums import Sums
from sapflow.planning.least_squares import r_squared
from sapflow.runtimes.embedded.runtime import EmbeddedRuntime

PARAMETERS = 42_601
COUNTS = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64)
LINK = Link(latency=0.1, bandwidth=25e6)
ROUNDS = 7


@dataclass(frozen=True, slots=True)
class Fit:
    """A straight line through the seconds over n."""

    fixed: float
    each: float
    r_squared: float


def fit(counts: Sequence[int], seconds: Sequence[float]) -> Fit:
    """Least squares."""
    each, fixed = np.polyfit(counts, seconds, 1)
    return Fit(float(fixed), float(each), r_squared(seconds, [fixed + each * count for count in counts]))


async def measure(direct: MinioPlace, place: MinioPlace) -> tuple[list[float], list[float]]:
    """Median seconds of gathering and of broadcasting for each of `COUNTS`."""
    store = direct.open()
    vector = np.random.default_rng(0).standard_normal(PARAMETERS, np.float32)
    one = contribution.encode(vector, Sums(1, {"loss": 1.0, "correct": 0.0}).to_metadata())
    for index in range(max(COUNTS)):
        store.create(f"set-{index}", one)
    functions = runtime(place, PARAMETERS, os.environ)
    gathers: dict[int, list[float]] = {count: [] for count in COUNTS}
    broadcasts: dict[int, list[float]] = {count: [] for count in COUNTS}
    try:
        for count in range(16, max(COUNTS) + 1, 16):
            store.create(f"warm-{count}", one)
            await _broadcast(functions, f"warm-{count}", count)
        await _gather(functions, "warm", 1)
        for number in range(ROUNDS):
            for count in COUNTS if number % 2 else reversed(COUNTS):
                name = f"{number}-{count}"
                store.create(f"params-{name}", one)
                broadcasts[count].append(await _broadcast(functions, f"params-{name}", count))
                gathers[count].append(await _gather(functions, name, count))
    finally:
        await functions.close()
        store.close()
    return [statistics.median(gathers[count]) for count in COUNTS], [
        statistics.median(broadcasts[count]) for count in COUNTS
    ]


async def _gather(functions: EmbeddedRuntime, name: str, count: int) -> float:
    """Seconds in which a merger reads and sums `count` sets."""
    request = MergeRequest(
        job="fig3",
        version=1,
        seconds_left=60,
        children=[Ref(key=f"set-{index}", start=0, stop=PARAMETERS) for index in range(count)],
        output=Ref(key=f"sum-{name}", start=0, stop=PARAMETERS),
    )
    reply = await functions.invoke("merger", request.body(), seconds=60)
    return float(reply.body["seconds"]["merge"])


async def _broadcast(functions: EmbeddedRuntime, key: str, count: int) -> float:
    """Seconds until the slowest of `count` workers, all called at once, has read the parameters."""
    sizes = Sizes(parameters=PARAMETERS, averaged=0, block=optimizers.block_size(PARAMETERS))
    requests = [
        TrainRequest(
            job="fig3",
            version=1,
            seconds_left=60,
            spec=Document.of("", b""),
            manifest=Document.of("", b""),
            rank=rank,
            params=[Part(key=key, start=0, stop=PARAMETERS)],
            sizes=sizes,
            epoch=0,
            slices=[Slice(range=(0, 1), window=1, begin=0, end=1)],
            outputs=[Ref(key=f"{key}/{rank}", start=0, stop=PARAMETERS)],
        )
        for rank in range(count)
    ]
    calls = (functions.invoke("worker", request.body(), seconds=60) for request in requests)
    return max(float(reply.body["seconds"]["read"]) for reply in await asyncio.gather(*calls))


def main() -> None:
    with stores.minio() as direct, behind(direct, LINK) as place:
        gathers, broadcasts = asyncio.run(measure(direct, place))
    print(f"{PARAMETERS:,} gradients, MinIO, {LINK}; medians of {ROUNDS}\n")
    print(f"  {'n':>4} {'gather':>9} {'broadcast':>10}")
    for count, gather, broadcast in zip(COUNTS, gathers, broadcasts, strict=True):
        print(f"  {count:>4} {gather:>7.3f} s {broadcast:>8.3f} s")
    gathering, broadcasting = fit(COUNTS, gathers), fit(COUNTS, broadcasts)
    print(
        f"\ngather: {gathering.fixed:.3f} s + {1000 * gathering.each:.1f} ms × n, R² {gathering.r_squared:.4f}"
        f"\nbroadcast: {broadcasting.fixed:.3f} s + {1000 * broadcasting.each:.2f} ms × n: for n = {COUNTS[-1]} "
        f"{broadcasts[-1] / broadcasts[0]:.2f} times as long as for 1, where gathering takes "
        f"{gathers[-1] / gathers[0]:.1f} times as long"
    )
    series = [
        Line("gather: a merger sums n sets", "s1", list(zip(COUNTS, gathers, strict=True)), marks=True),
        Line(
            "broadcast: n workers read the parameters",
            "s2",
            list(zip(COUNTS, broadcasts, strict=True)),
            marks=True,
        ),
    ]
    figure.save("fig3", figure.draw(series, x="n", y="seconds", y_digits=1))


if __name__ == "__main__":
    main()
