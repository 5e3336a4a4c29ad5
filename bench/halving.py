"""Rows of pausing: what ASHA (η = 4, R = 16) finds of a full grid's best score, and for which share of its GB-seconds.

Both searches are real: each trial trains a network on scikit-learn's digits on local functions, evaluations and all.
GB-seconds are those of the searches' own accounts, which bill by them here; nothing is simulated.
"""

import asyncio
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bench.result import Result
from sapflow.client import tuning
from sapflow.spec import tuning_document
from sapflow.spec.training_job import API_VERSION
from sapflow.spec.tuning_job import TUNING_KIND, TuningJob
from sapflow.tuning.run import state_of

EPOCHS, FACTOR = 16, 4
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


def _job(prune: Mapping[str, Any]) -> TuningJob:
    """A grid of 64 learning rates and momenta, four trials at once; a second of a GiB costs a dollar."""
    template = {
        "model": {"name": "mlp", "args": {"hidden": [64]}},
        "data": {"source": "sklearn:digits", "batchSize": 32, "validationFraction": 0.25},
        "workers": 1,
        "algorithm": {"epochs": EPOCHS, "localSteps": 15},
        "optimizer": {"name": "Momentum"},
        "merge": {"structure": [1, 1]},
        "memory": {"worker": "512Mi", "merger": "256Mi"},
        "evaluation": {"metrics": ["accuracy"]},
        "prices": {"platform": "Custom", "custom": {"usdPerGiBSecond": 1.0}},
    }
    spec = {
        "template": {"spec": template},
        "parameters": [
            {"path": "spec.optimizer.learningRate", "categorical": {"choices": RATES}},
            {"path": "spec.optimizer.momentum", "categorical": {"choices": MOMENTA}},
        ],
        "objective": {"metric": "accuracy", "direction": "Maximize"},
        "search": {"name": "Grid"},
        "prune": dict(prune),
        "maxFailedTrials": len(RATES) * len(MOMENTA),
        "parallelTrials": 4,
        "maxWorkers": 4,
    }
    head = {"apiVersion": API_VERSION, "kind": TUNING_KIND, "metadata": {"name": "halving"}}
    return tuning_document.parse({**head, "spec": spec})


def run(environ: Mapping[str, str], prune: Mapping[str, Any]) -> Found:
    """Run the grid, pruned so, on two local functions."""
    job = _job(prune)
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm") as folder,
        tuning.open_tuning(job, environ, store=folder) as opened,
    ):
        manifest = tuning.prepare(opened, environ, lambda stage: None)
        outcome = asyncio.run(tuning.search(opened, manifest, environ, max_instances=2))
        state = asyncio.run(state_of(opened.store, opened.prefix, job))
    return Found(outcome["objective"], outcome["account"]["costUSD"], state.units)


def measure(environ: Mapping[str, str]) -> Iterator[Result]:
    """The full grid, then ASHA on it."""
    full = run(environ, {"name": "None"})
    pausing = run(environ, {"name": "ASHA", "first": 1, "factor": FACTOR})
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
