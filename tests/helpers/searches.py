"""Documents of TuningJobs for tests."""

import copy
from typing import Any

from sapflow.spec.tuning_document import parse
from sapflow.spec.tuning_job import TuningJob

_DOCUMENT: dict[str, Any] = {
    "apiVersion": "sapflow.dev/v1alpha1",
    "kind": "TuningJob",
    "metadata": {"name": "search"},
    "spec": {
        "template": {
            "spec": {
                "model": {"name": "mlp", "args": {"hidden": [16]}},
                "data": {"source": "synthetic:binary?samples=100"},
                "workers": 2,
                "algorithm": {"epochs": 16},
                "optimizer": {"name": "Momentum", "learningRate": 0.1, "momentum": 0.9},
            }
        },
        "parameters": [
            {"path": "spec.optimizer.learningRate", "float": {"min": 0.001, "max": 1.0, "log": True}},
            {"path": "spec.optimizer.momentum", "float": {"min": 0.0, "max": 0.9, "step": 0.1}},
        ],
        "objective": {"metric": "accuracy", "direction": "Maximize"},
        "maxTrials": 16,
        "maxWorkers": 8,
    },
}


def search_document(**spec: Any) -> dict[str, Any]:
    """A TuningJob whose spec has these fields, in camelCase, in place of the usual ones; None takes one out."""
    document = copy.deepcopy(_DOCUMENT)
    document["spec"].update(spec)
    document["spec"] = {name: value for name, value in document["spec"].items() if value is not None}
    return document


def search_job(**spec: Any) -> TuningJob:
    """The checked TuningJob of `search_document`."""
    return parse(search_document(**spec))
