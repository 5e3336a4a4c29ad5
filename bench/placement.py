"""A step of a placed job over MinIO against that of the same job without cells, in turns; and bytes as predicted.

`python -m bench.placement --cluster` compares two jobs on the cluster that KUBECONFIG names, with Sapflow and volumes
of the StorageClass `memory`, as tests/e2e/test_placement.py has them.
"""

import argparse
import asyncio
import itertools
import os
import statistics
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from bench import stores
from bench.result import Result, milliseconds
from bench.stores import MinioPlace
from sapflow.client import session
from sapflow.planning import placement
from sapflow.records.commits import Commit
from sapflow.spec import training_job
from sapflow.spec.document import parse
from sapflow.steps.observer import Observer

WORKERS, TREE, CELLS = 8, [1, 2, 8], 2
STEPS, SETTLE, ROUNDS = 14, 4, 3
PARAMETERS = 64 * 1000 + 1000 + 1000 * 1000 + 1000 + 1000 * 10 + 10
AFFINITY = [
    {"from": "Worker", "to": "Merger", "weight": 100},
    {"from": "Merger", "to": "Root", "weight": 50},
]


def measure(place: MinioPlace, environ: Mapping[str, str]) -> Iterator[Result]:
    """Median seconds of a warm step, and bytes of a placed one through the store against the prediction."""
    seconds: dict[bool, list[float]] = {True: [], False: []}
    through: list[int] = []
    for number, placed in itertools.product(range(ROUNDS), (False, True)):
        watch = _Steps()
        _run(place, environ, document(f"turn-{number}", STEPS, placed=placed), watch)
        seconds[placed] += watch.seconds[SETTLE:]
        through += watch.through[SETTLE:]
    ours, theirs = statistics.median(seconds[True]), statistics.median(seconds[False])
    size = f"{WORKERS} workers, {4 * PARAMETERS / 1e6:.2g} MB, MinIO"
    yield Result(
        f"step of {size}, in {CELLS} cells against none",
        milliseconds(ours),
        milliseconds(theirs),
        ours / theirs,
        0.7,
    )
    measured, said = statistics.median(through), _predicted()
    yield Result(
        "bytes of that step through the store against the prediction",
        f"{measured / 1e6:.1f} MB",
        f"{said / 1e6:.1f} MB",
        measured / said,
        1.02,
    )


def document(name: str, steps: int, *, placed: bool, **more: Any) -> dict[str, Any]:
    """A step that is nearly all communication: one sample a worker, a million parameters."""
    spec: dict[str, Any] = {
        "model": {"name": "mlp", "args": {"hidden": [1000, 1000]}},
        "data": {"source": "sklearn:digits", "batchSize": 1},
        "workers": WORKERS,
        "algorithm": {"steps": steps, "seed": 0},
        "optimizer": {"name": "Momentum", "learningRate": 0.01},
        "merge": {"structure": TREE, "shards": 1},
        "evaluation": {"everySteps": steps},
        **more,
    }
    if placed:
        spec |= {"affinity": AFFINITY, "placement": {"cells": CELLS}}
    metadata = {"name": f"{name}-{'placed' if placed else 'plain'}"}
    return {
        "apiVersion": training_job.API_VERSION,
        "kind": training_job.KIND,
        "metadata": metadata,
        "spec": spec,
    }


def _predicted() -> int:
    packed = placement.of(parse(document("any", 1, placed=True)))
    assert packed is not None
    return packed.traffic(4 * PARAMETERS, 4 * PARAMETERS, 4 * PARAMETERS).total


def _run(place: MinioPlace, environ: Mapping[str, str], body: dict[str, Any], watch: "_Steps") -> None:
    own = {**environ, **place.environ}
    opened = session.open_session(parse(body), own, store=place.url)
    try:
        manifest = opened.cut_data()
        asyncio.run(session.train(opened, manifest, own, observer=watch))
    finally:
        opened.forget()
        opened.store.close()


class _Steps(Observer):
    """Seconds between two commits, and bytes through the store where they were counted."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.through: list[int] = []
        self._last: Commit | None = None

    def committed(self, commit: Commit) -> None:
        if self._last is not None:
            self.seconds.append(commit.account.seconds - self._last.account.seconds)
        if commit.measured.store_read is not None and commit.version:
            self.through.append(commit.measured.store_read + (commit.measured.store_written or 0))
        self._last = commit


def on_the_cluster(steps: int) -> Iterator[Result]:
    """The same on Knative, each cell on a node of its own."""
    from helpers.kube import ONE_CPU, Job, namespace_of_its_own, wait_until
    from helpers.volumes import free_volumes

    from bench import cluster

    seconds: dict[bool, float] = {}
    through = 0.0
    for placed in (False, True):
        if placed and free_volumes("memory") < CELLS:
            raise RuntimeError(
                "there are no free volumes of the StorageClass memory: manifests/cells/memory.yaml"
            )
        with namespace_of_its_own("bench") as namespace:
            body = document(
                "step", steps, placed=placed, cpu=ONE_CPU, memory={"worker": "512Mi", "merger": "256Mi"}
            )
            if placed:
                body["spec"]["placement"] |= {"storageClassName": "memory", "size": "256Mi"}
            applied = Job.apply(namespace, body)
            applied.until_succeeded(900)
            commits = cluster.commits(applied, steps)
            wait_until(lambda job=applied: not job.pods("worker") + job.pods("merger"), "zero", 180)  # type: ignore[misc]
        settled = commits[SETTLE + 1 :]
        seconds[placed] = cluster.step_seconds(settled)
        if placed:
            through = statistics.median(
                (each.measured.store_read or 0) + (each.measured.store_written or 0) for each in settled
            )
    yield Result(
        f"step of {WORKERS} workers on two nodes, in {CELLS} cells against none",
        milliseconds(seconds[True]),
        milliseconds(seconds[False]),
        seconds[True] / seconds[False],
        0.7,
    )
    yield Result(
        "bytes of that step through the store against the prediction",
        f"{through / 1e6:.1f} MB",
        f"{_predicted() / 1e6:.1f} MB",
        through / _predicted(),
        1.02,
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.placement", description=__doc__)
    parser.add_argument("--cluster", action="store_true", help="on the cluster that KUBECONFIG names")
    parser.add_argument("--steps", type=int, default=60, help="of each job on the cluster")
    given = parser.parse_args()
    if given.cluster:
        for result in on_the_cluster(given.steps):
            print(" | ".join(result.cells), flush=True)
        return 0
    with stores.minio() as place:
        for result in measure(place, os.environ):
            print(" | ".join(result.cells), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
