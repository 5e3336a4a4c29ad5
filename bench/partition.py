"""A step of logistic regression on 2,000 × 21,300 floats over MinIO, beside LambdaML's pattern; 8 workers, 200 samples.

Ours is the released path: a local run with a process for each worker, with `partition: Fixed` and without. LambdaML's
side is `bench.lambdaml_training`.
"""

import asyncio
import statistics
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.blocks import AlternatingBlocks
from bench.peers import Peers
from bench.result import Result, milliseconds
from bench.stores import MinioPlace
from sapflow.client import session
from sapflow.records.commits import Commit
from sapflow.spec import document, training_job
from sapflow.steps.observer import Observer

SAMPLES, FEATURES, WORKERS, BATCH = 2_000, 21_300, 8, 25
EPOCHS = 8
"""Of eight steps."""
BLOCK, SETTLE = 9, 2
"""Steps of a block, which is longer than an epoch, so that each begins elsewhere in one; and those not counted."""
GOAL = 0.45


def measure(place: MinioPlace, environ: Mapping[str, str]) -> Iterator[Result]:
    """Median seconds of a step after the first epoch, in alternating blocks."""
    with tempfile.TemporaryDirectory() as folder:
        chance = np.random.default_rng(0)
        x = chance.normal(size=(SAMPLES, FEATURES)).astype(np.float32)
        y = (x[:, :50].sum(axis=1) > 0).astype(np.int64)
        np.savez(Path(folder, "data.npz"), x=x, y=y)
        arguments = [str(FEATURES), str(BATCH), folder]
        for partition in ("Fixed", "Shuffled"):
            with Peers("bench.lambdaml_training", WORKERS, arguments, place.client_environ) as peers:
                watch = _Alternation(place, peers)
                _train(place, environ, f"{folder}/data.npz", partition, watch)
            ours, theirs = statistics.median(watch.ours), statistics.median(watch.theirs)
            yield Result(
                f"step of logistic regression, {SAMPLES:,} × {FEATURES:,} floats, {WORKERS} workers × {BATCH}, MinIO, "
                f"partition: {partition}; reference: LambdaML's pattern, which keeps its partition",
                milliseconds(ours),
                milliseconds(theirs),
                ours / theirs,
                GOAL if partition == "Fixed" else 1.0,
            )


def _train(
    place: MinioPlace, environ: Mapping[str, str], source: str, partition: str, watch: Observer
) -> None:
    own = {**environ, **place.environ}
    spec: dict[str, Any] = {
        "model": {"name": "mlp", "args": {"hidden": []}},
        "data": {
            "source": source,
            "batchSize": BATCH,
            "validationFraction": 0.2,
            "normalize": "None",
            "partition": partition,
        },
        "workers": WORKERS,
        "algorithm": {"epochs": EPOCHS},
        "optimizer": {"name": "SGD", "learningRate": 0.001},
        "evaluation": {"everySteps": 1_000_000},
        "merge": {"structure": [1, WORKERS], "shards": 1},
    }
    job = document.parse(
        {
            "apiVersion": training_job.API_VERSION,
            "kind": training_job.KIND,
            "metadata": {"name": f"partition-{partition.lower()}"},
            "spec": spec,
        }
    )
    with session.open_session(job, own, store=place.url) as opened:
        manifest = opened.cut_data()
        asyncio.run(session.train(opened, manifest, own, max_instances=WORKERS, observer=watch))


class _Alternation(AlternatingBlocks):
    """Our steps from the second epoch on, and after each block those of LambdaML's workers."""

    def __init__(self, place: MinioPlace, peers: Peers) -> None:
        super().__init__(BLOCK, SETTLE, self._theirs)
        self._store, self._peers = place.open(), peers
        self.theirs: list[float] = []

    def _theirs(self, commit: Commit) -> None:
        for number in range(BLOCK):
            name = f"lambdaml/training/{commit.version}-{number}"
            seconds = max(self._peers.ask({"round": name}))
            if number >= SETTLE:
                self.theirs.append(seconds)
            self._store.delete_prefix(f"{name}/")
