"""Rows 1–3: a step of the released path against one of torch DDP, in alternating blocks of steps of one run."""

import asyncio
import statistics
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.blocks import AlternatingBlocks
from bench.peers import Peers
from bench.result import Result, milliseconds
from sapflow.client import session
from sapflow.spec import document, training_job

SHARED_MEMORY = Path("/dev/shm")
SAMPLES = 300_000
SETTLE = 5
"""Steps at the start of a block that are not counted: the other side has just had the caches."""


@dataclass(frozen=True)
class Case:
    """Case A of the paper with `workers` × `batch` samples a step; `goal` is the largest ratio to DDP's step."""

    workers: int
    batch: int
    goal: float
    blocks: int
    steps: int
    micro_batch: int | None = None

    @property
    def name(self) -> str:
        return f"step-{self.workers}x{self.batch}"


CASES = (
    Case(2, 1_000, 1.25, blocks=10, steps=60),
    Case(2, 10_000, 1.05, blocks=6, steps=25, micro_batch=2_000),
    Case(8, 1_000, 0.75, blocks=6, steps=30),
)


def measure(case: Case, environ: Mapping[str, str]) -> Result:
    """Median seconds of a step, ours between commits, DDP's on rank 0."""
    return result(case, watch(case, environ))


def watch(case: Case, environ: Mapping[str, str]) -> "Alternation":
    """Train the case, and have DDP train it in turns."""
    with (
        tempfile.TemporaryDirectory(dir=SHARED_MEMORY) as folder,
        Peers("bench.ddp", case.workers, [f"{folder}/rendezvous", str(case.batch)]) as ddp,
    ):
        ddp.ask(SETTLE)
        watch = Alternation(case, ddp)
        opened = session.open_session(_job(case), environ, store=f"{folder}/store")
        manifest = opened.cut_data()
        asyncio.run(session.train(opened, manifest, environ, observer=watch))
    return watch


def result(case: Case, watch: "Alternation") -> Result:
    ours, theirs = statistics.median(watch.ours), statistics.median(watch.theirs)
    return Result(
        f"step of {case.workers} workers × {case.batch:,} samples, against torch DDP on gloo",
        milliseconds(ours),
        milliseconds(theirs),
        ours / theirs,
        case.goal,
    )


def _job(case: Case) -> training_job.TrainingJob:
    data = {
        "source": "synthetic:binary",
        "options": {"samples": SAMPLES},
        "batchSize": case.batch,
        "validationFraction": 0,
        "normalize": "None",
    }
    if case.micro_batch is not None:
        data["microBatchSize"] = case.micro_batch
    return document.parse(
        {
            "apiVersion": training_job.API_VERSION,
            "kind": training_job.KIND,
            "metadata": {"name": case.name},
            "spec": {
                "model": {"name": "mlp", "args": {"hidden": [100] * 5}},
                "data": data,
                "workers": case.workers,
                "algorithm": {"steps": (case.blocks + 1) * case.steps},
                "optimizer": {"name": "Momentum", "learningRate": 0.1, "momentum": 0.9},
                "merge": {"structure": [1, case.workers], "shards": 1},
            },
        }
    )


class Alternation(AlternatingBlocks):
    """Our steps, and after each block DDP's."""

    def __init__(self, case: Case, ddp: Peers) -> None:
        super().__init__(case.steps, SETTLE, lambda _: self.theirs.extend(ddp.ask(case.steps)[0][SETTLE:]))
        self.theirs: list[float] = []
