"""Rows of TPE that learns from paused trials: what it finds under pausing ASHA, beside Random at equal GB-seconds.

Trials are simulated: learning curves of five parameters, with noise, 16 at once; an epoch costs the same GB-seconds in
each. Everything else is a search as it is: decisions, log, suggestions. Two kinds of curves: with the first, a trial's
rank is that of its end from the beginning on, up to noise; with the second, curves cross, because slow learners get
further. A search is judged by what its best finished trial would score without noise.
"""

import asyncio
import hashlib
import heapq
import math
import random
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from bench.result import Result
from bench.suggestions import document
from sapflow.objects.stores.directory import DirectoryStore
from sapflow.spec.tuning_document import parse
from sapflow.tuning.actions import Advance, Event, Finished, Report
from sapflow.tuning.search import Search
from sapflow.tuning.settings import Limits, Settings

Curve = Callable[[Mapping[str, Any], int], float]
"""The score of these parameters after so many epochs, without noise."""
EPOCHS, AT_ONCE, BUDGET = 16, 16, 800
"""The budget is in epochs of all trials together: that of 50 full ones."""
SEEDS = 8
GOAL = 1.0
_BEST, _NOISE = 0.98, 0.004


def _quality(parameters: Mapping[str, Any], best_rate: float) -> float:
    """The score in the end: of the rate that momentum makes larger, decay, width and batch."""
    distance = abs(_effective(parameters) - best_rate)
    decay = abs(math.log10(parameters["spec.optimizer.weightDecay"]) + 3)
    width = abs(math.log2(parameters["spec.model.args.hidden[0]"]) - 7)
    batch = {16: 0.0, 32: 0.005, 64: 0.02}[parameters["spec.data.batchSize"]]
    return _BEST - 0.08 * math.pow(min(3.0, distance), 1.5) - 0.02 * decay - 0.01 * width - batch


def _effective(parameters: Mapping[str, Any]) -> float:
    return math.log10(parameters["spec.optimizer.learningRate"]) - math.log10(
        1 - parameters["spec.optimizer.momentum"]
    )


def steady(parameters: Mapping[str, Any], at: int) -> float:
    """All learn equally fast."""
    return _quality(parameters, -1.0) * (1 - 0.6 * math.exp(-0.45 * at))


def crossing(parameters: Mapping[str, Any], at: int) -> float:
    """Higher rates and smaller networks learn faster than is best in the end."""
    width = math.log2(parameters["spec.model.args.hidden[0]"])
    speed = max(0.05, 0.25 + 0.175 * max(0.0, _effective(parameters) + 3) + 0.02 * (8 - width))
    return _quality(parameters, -1.2) * (1 - 0.6 * math.exp(-speed * at))


CURVES: dict[str, Curve] = {"steady": steady, "crossing": crossing}


def measure() -> Iterator[Result]:
    """Both kinds of curves, with the seeds 0 to 7."""
    for name, curve in CURVES.items():
        lacks = {
            sampler: statistics.fmean(_BEST - _best(sampler, curve, seed) for seed in range(SEEDS))
            for sampler in ("TPE", "Random")
        }
        yield Result(
            f"TPE with pausing ASHA, {name} curves: what its best score lacks of {_BEST}, against Random with ASHA "
            f"at equal GB-seconds ({BUDGET} epochs, {SEEDS} seeds)",
            f"{lacks['TPE']:.4f}",
            f"{lacks['Random']:.4f}",
            lacks["TPE"] / lacks["Random"],
            GOAL,
        )


def _best(sampler: str, curve: Curve, seed: int) -> float:
    """What a search of this budget has found."""
    wanted = document()
    spec = wanted["spec"]
    spec["template"]["spec"]["algorithm"] = {"epochs": EPOCHS}
    spec |= {"search": {"name": sampler, "seed": seed}, "prune": {"name": "ASHA"}, "parallelTrials": AT_ONCE}
    job = parse(wanted)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        search = Search(DirectoryStore(folder), "jobs/early/", Settings.of(job), Limits.of(job))
        return asyncio.run(_run(search, curve, seed))


async def _run(search: Search, curve: Curve, seed: int) -> float:
    chance, now, spent, best = random.Random(seed), 0.0, 0, 0.0
    queue: list[tuple[float, int, Advance]] = []
    count, at = 0, dict[int, int]()
    actions, events = await search.open(), list[Event]()
    while spent < BUDGET:
        for action in actions:
            assert isinstance(action, Advance)
            seconds = (action.to - at.get(action.trial, 0)) * chance.uniform(0.8, 1.2)
            heapq.heappush(queue, (now + seconds, count, action))
            count += 1
        actions = await search.step(events, free=AT_ONCE - len(queue))
        events = []
        if not actions:
            now, _, done = heapq.heappop(queue)
            spent += done.to - at.get(done.trial, 0)
            at[done.trial] = done.to
            score = curve(done.parameters, done.to)
            events = [_event(done, score + _NOISE * _drawn(done, seed))]
            if done.to == EPOCHS:
                best = max(best, score)
    return best


def _event(done: Advance, value: float) -> Report | Finished:
    values = {"accuracy": value}
    if done.to == EPOCHS:
        return Finished(done.trial, values, done.to, done.to)
    return Report(done.trial, done.to, done.to, values)


def _drawn(done: Advance, seed: int) -> float:
    """Normally distributed, the same for the same trial at the same length."""
    text = f"{sorted(done.parameters.items())}/{done.to}/{seed}"
    drawn = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
    return statistics.NormalDist().inv_cdf((drawn + 0.5) / 2**32)


if __name__ == "__main__":
    for result in measure():
        print(" | ".join(result.cells), flush=True)
