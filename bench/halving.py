"""Rows of pausing: what ASHA (η = 4, R = 16) finds of a full grid's best score, and for which share of its GB-seconds.

Both searches are real: each trial trains a network on scikit-learn's digits on local functions, evaluations and all.
GB-seconds are those of the searches' own accounts, which bill by them here; nothing is simulated. The two functions are
warm, by a search of four trials before: what starts cost is the same whatever a search saves.
"""

import asyncio
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.result import Result
from sapflow.client import tuning
from sapflow.client.session import local_functions
from sapflow.driver.plans import Environment
from sapflow.runtimes.sender import Sender
from sapflow.spec import tuning_document
from sapflow.spec.training_job import API_VERSION
from sapflow.spec.tuning_job import TUNING_KIND, TuningJob
from sapflow.tuning.run import SearchRun

EPOCHS, FACTOR = 16, 4
INSTANCES = 2
SHARE_GOAL, SCORE_GOAL = 0.2, 0.01
RATES = (0.003, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
MOMENTA = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98)


@dataclass(frozen=True)
class Found:
    """What a search has come to."""

    score: float
    gb_seconds: float
    epochs: int
    """Trained by all trials together."""


def _job(name: str, prune: Mapping[str, Any], rates: Sequence[float], momenta: Sequence[float]) -> TuningJob:
    """A grid of learning rates and momenta, four trials at once; a second of a GiB costs a dollar."""
    template = {
        "model": {"name": "mlp", "args": {"hidden": [400, 400]}},
        "data": {"source": "sklearn:digits", "batchSize": 16, "validationFraction": 0.25},
        "workers": 1,
        "algorithm": {"epochs": EPOCHS, "localSteps": 85},
        "optimizer": {"name": "Momentum"},
        "merge": {"structure": [1, 1]},
        "memory": {"worker": "512Mi", "merger": "256Mi"},
        "evaluation": {"metrics": ["accuracy"]},
        "prices": {"platform": "Custom", "custom": {"usdPerGiBSecond": 1.0}},
    }
    spec = {
        "template": {"spec": template},
        "parameters": [
            {"path": "spec.optimizer.learningRate", "categorical": {"choices": rates}},
            {"path": "spec.optimizer.momentum", "categorical": {"choices": momenta}},
        ],
        "objective": {"metric": "accuracy", "direction": "Maximize"},
        "search": {"name": "Grid"},
        "prune": dict(prune),
        "maxFailedTrials": len(rates) * len(momenta),
        "parallelTrials": 4,
        "maxWorkers": 4,
    }
    head = {"apiVersion": API_VERSION, "kind": TUNING_KIND, "metadata": {"name": name}}
    return tuning_document.parse({**head, "spec": spec})


async def run(job: TuningJob, environ: Mapping[str, str], folder: str, functions: Sender) -> Found:
    """Run a search in a store, on functions that know it."""
    with tuning.open_tuning(job, environ, store=folder) as opened:
        manifest = await asyncio.to_thread(tuning.prepare, opened, environ, lambda stage: None)
        assert manifest is not None, "digits are no raw data"
        environment = Environment("local", INSTANCES, None, of_search=True)
        search = SearchRun(job, opened.template, manifest, opened.store, functions, environment)
        outcome = await search.run()
    return Found(outcome["objective"], outcome["account"]["costUSD"], search.search.state.units)


async def _both(environ: Mapping[str, str], folder: str) -> tuple[Found, Found]:
    """The full grid, and ASHA on it."""
    searches = [
        _job("warm", {"name": "None"}, RATES[3:5], MOMENTA[3:5]),
        _job("grid", {"name": "None"}, RATES, MOMENTA),
        _job("halving", {"name": "ASHA", "first": 1, "factor": FACTOR}, RATES, MOMENTA),
    ]
    with tuning.open_tuning(searches[0], environ, store=folder) as opened:
        functions = local_functions(opened.job.template, opened.url, environ, INSTANCES)
    try:
        _, full, pausing = [await run(job, environ, folder, functions) for job in searches]
    finally:
        await functions.close()
    return full, pausing


def measure(environ: Mapping[str, str]) -> Iterator[Result]:
    """The full grid, then ASHA on it."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        full, pausing = asyncio.run(_both(environ, folder))
    share = pausing.gb_seconds / full.gb_seconds
    yield Result(
        f"pausing ASHA on a grid of {len(RATES) * len(MOMENTA)} × {EPOCHS} epochs of digits: GB-seconds",
        f"{pausing.gb_seconds:.1f} ({pausing.epochs} epochs)",
        f"the full grid: {full.gb_seconds:.1f} ({full.epochs} epochs)",
        share,
        SHARE_GOAL,
    )
    yield Result(
        "pausing ASHA: what its best accuracy lacks of the grid's best",
        f"{pausing.score:.4f}",
        f"the full grid: {full.score:.4f}",
        full.score - pausing.score,
        SCORE_GOAL,
        "",
    )


if __name__ == "__main__":
    for result in measure(os.environ):
        print(" | ".join(result.cells), flush=True)
