"""Row 9: t_m, the seconds that one more child costs a merger: the slope of a merge's time over its children."""

import asyncio
import statistics

import numpy as np

from bench.result import Result, milliseconds
from bench.stores import Place
from sapflow.messages.refs import Ref
from sapflow.messages.requests import MergeRequest
from sapflow.objects import contribution
from sapflow.objects.sums import Sums
from sapflow.runtimes.embedded.runtime import EmbeddedRuntime

PARAMETERS = 42_601
CHILDREN = (1, 2, 4, 8, 16, 32, 64)
REPEATS = 15


def measure(place: Place, goal: float) -> Result:
    """`goal` is in milliseconds."""
    seconds = asyncio.run(_slope(place))
    return Result(
        f"t_m: one more gradient set of {PARAMETERS:,} merged, {place.name}",
        milliseconds(seconds),
        "paper: 150 ms",
        1000 * seconds,
        goal,
        "ms",
    )


async def _slope(place: Place) -> float:
    store = place.open()
    rng = np.random.default_rng(0)
    names = [f"child-{index}" for index in range(max(CHILDREN))]
    for name in names:
        vector = rng.standard_normal(PARAMETERS, np.float32)
        store.create(name, contribution.encode(vector, Sums(1, {"loss": 1.0}).to_metadata()))
    runtime = EmbeddedRuntime(place.url, place.environ)
    measured: dict[int, list[float]] = {count: [] for count in CHILDREN}
    try:
        for repeat in range(REPEATS + 1):
            for count in CHILDREN:
                request = MergeRequest(
                    job="bench",
                    version=1,
                    seconds_left=60,
                    children=[Ref(key=name, start=0, stop=PARAMETERS) for name in names[:count]],
                    output=Ref(key=f"sum-{repeat}-{count}", start=0, stop=PARAMETERS),
                )
                reply = await runtime.invoke("merger", request.body(), seconds=60)
                if repeat:
                    measured[count].append(reply.seconds)
    finally:
        await runtime.close()
    medians = [statistics.median(measured[count]) for count in CHILDREN]
    return float(np.polynomial.Polynomial.fit(CHILDREN, medians, 1).convert().coef[1])
