"""What whole jobs read of their data: from MinIO, by function processes."""

import asyncio
import secrets
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from s3_servers import S3Service

from sapflow.client import session
from sapflow.records.commits import Commit
from sapflow.spec import document
from sapflow.steps.observer import Observer

SAMPLES, FEATURES = 1_600, 4_096
SIZE = SAMPLES * (4 * FEATURES + 4)
"""26 MB: four blocks."""


class Commits(Observer):
    def __init__(self) -> None:
        self.all: list[Commit] = []

    def committed(self, commit: Commit) -> None:
        self.all.append(commit)


def trained(folder: Path, minio: S3Service, *, workers: int, instances: int, **data: Any) -> list[Commit]:
    """The commits of two epochs over MinIO."""
    x = np.random.default_rng(0).normal(size=(SAMPLES, FEATURES)).astype(np.float32)
    np.savez(folder / "data.npz", x=x, y=(x[:, 0] > 0).astype(np.int64))
    job = document.parse(
        {
            "apiVersion": "sapflow.dev/v1alpha1",
            "kind": "TrainingJob",
            "metadata": {"name": "moves"},
            "spec": {
                "model": {"name": "mlp", "args": {"hidden": []}},
                "data": {
                    "source": str(folder / "data.npz"),
                    "batchSize": 40,
                    "validationFraction": 0,
                    **data,
                },
                "workers": workers,
                "algorithm": {"epochs": 2},
                "optimizer": {"name": "SGD", "learningRate": 0.001},
            },
        }
    )
    keys = minio.credentials
    environ = {"SAPFLOW_S3_ACCESS_KEY": keys.access_key, "SAPFLOW_S3_SECRET_KEY": keys.secret_key}
    commits = Commits()
    with session.open_session(job, environ, store=minio.url(secrets.token_hex(4))) as opened:
        manifest = opened.cut_data()
        training = session.train(opened, manifest, environ, max_instances=instances, observer=commits)
        asyncio.run(training)
    return commits.all


def read(commits: list[Commit]) -> int:
    return sum(commit.measured.data_bytes or 0 for commit in commits)


@pytest.mark.parametrize(("workers", "instances"), [(1, 1), (4, 4), (4, 2)])
def test_an_epoch_moves_the_data_set_once(
    tmp_path: Path, minio: S3Service, workers: int, instances: int
) -> None:
    commits = trained(tmp_path, minio, workers=workers, instances=instances)
    assert SIZE <= read(commits) <= 2 * 1.15 * SIZE


def test_a_fixed_partition_is_read_once_a_job(tmp_path: Path, minio: S3Service) -> None:
    commits = trained(tmp_path, minio, workers=4, instances=4, partition="Fixed")
    assert SIZE <= read(commits) <= 1.15 * SIZE
    assert commits[-1].cursor.epoch == 2
