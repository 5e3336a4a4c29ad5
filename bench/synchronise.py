"""Rows 7 and 8: a step without computation over MinIO, beside LambdaML's two patterns; each of 8 workers is a process.

Ours is the released path: a driver, workers that read parameters and write contributions, a real merger that sums
them and updates, a commit. It ends when the commit stands, and includes the workers' reading of the version before.
"""

import asyncio
import os
import statistics
import sys
from collections.abc import Mapping

from bench.blocks import AlternatingBlocks
from bench.idle_job import idle_job
from bench.idle_worker import PARAMETERS
from bench.peers import Peers
from bench.result import Result
from bench.stores import MinioPlace
from sapflow.client import session
from sapflow.driver.driver import Driver
from sapflow.quantities.roles import Role
from sapflow.records.commits import Commit
from sapflow.runtimes.embedded.runtime import EmbeddedRuntime
from sapflow.steps.observer import Observer

WORKERS = 8
BLOCK, BLOCKS = 4, 4
"""Rounds of a block, and blocks that are counted."""
SETTLE = 1
PATTERNS = ("reduce", "scatterReduce")


def measure(place: MinioPlace, environ: Mapping[str, str], parameters: int, goal: float) -> Result:
    """Median seconds of a round, in alternating blocks."""
    arguments = [str(parameters)]
    with Peers("bench.lambdaml", WORKERS, arguments, environ=place.client_environ) as peers:
        watch = _Alternation(place, peers)
        asyncio.run(_train(place, environ, parameters, watch))
    ours = statistics.median(watch.ours)
    theirs = [f"{statistics.median(watch.theirs[name]):.3f} s" for name in PATTERNS]
    return Result(
        f"synchronise {4 * parameters / 1e6:.3g} MB among {WORKERS} workers, MinIO; reference: LambdaML's reduce, "
        "scatter-reduce",
        f"{ours:.3f} s",
        ", ".join(theirs),
        ours,
        goal,
        "s",
    )


async def _train(place: MinioPlace, environ: Mapping[str, str], parameters: int, watch: Observer) -> None:
    own = {**environ, **place.environ}
    spec = idle_job(f"synchronise-{parameters}", [1, WORKERS], (BLOCKS + 1) * BLOCK)
    opened = session.open_session(spec, own, store=place.url)
    manifest = opened.cut_data()
    commands: dict[Role, list[str]] = {
        "worker": [sys.executable, "-m", "bench.idle_worker", "worker"],
        "merger": [sys.executable, "-m", "sapflow_functions.roles.merger"],
    }
    runtime = EmbeddedRuntime(
        place.url,
        {**place.environ, PARAMETERS: str(parameters)},
        commands=commands,
        max_instances=WORKERS,
        environ={**environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    try:
        await Driver(opened.resolved, manifest, opened.store, runtime, watch).run()
    finally:
        await runtime.close()


class _Alternation(AlternatingBlocks):
    """Our rounds, and after each block some of each pattern."""

    def __init__(self, place: MinioPlace, peers: Peers) -> None:
        super().__init__(BLOCK, SETTLE, self._patterns)
        self._store, self._peers = place.open(), peers
        self.theirs: dict[str, list[float]] = {name: [] for name in PATTERNS}

    def _patterns(self, commit: Commit) -> None:
        for name in PATTERNS:
            for number in range(BLOCK):
                place = f"lambdaml/{name}/{commit.version}-{number}"
                seconds = max(self._peers.ask({"pattern": name, "round": place}))
                if number >= SETTLE:
                    self.theirs[name].append(seconds)
                self._store.delete_prefix(f"{place}/")
