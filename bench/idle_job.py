"""A job that measures only the protocol: it has one sample per worker, and its functions compute nothing."""

from collections.abc import Sequence
from typing import Any

from sapflow.spec import document, training_job


def idle_job(
    name: str, structure: Sequence[int], steps: int, *, shards: int = 1, **spec: Any
) -> training_job.TrainingJob:
    """A job with this tree (root first) and number of shards; `spec` has further fields of its spec."""
    workers = structure[-1]
    data = {
        "source": "synthetic:binary",
        "options": {"samples": workers},
        "batchSize": 1,
        "validationFraction": 0,
    }
    body = {
        "model": {"name": "mlp"},
        "data": data,
        "workers": workers,
        "algorithm": {"steps": steps},
        "merge": {"structure": list(structure), "shards": shards, "channel": "Store"},
    }
    return document.parse(
        {
            "apiVersion": training_job.API_VERSION,
            "kind": training_job.KIND,
            "metadata": {"name": name},
            "spec": body | spec,
        }
    )
