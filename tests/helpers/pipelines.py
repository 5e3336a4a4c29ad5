"""The pipeline of manifests/samples, made short for a small cut of its data."""

import copy
from pathlib import Path
from typing import Any

import yaml

from helpers.kube import SAMPLES


def pipeline(**changes: Any) -> list[dict[str, Any]]:
    """Its search and its job: three trials of six steps, and a training of eight.

    `changes` are fields of `spec` of search template and job alike.
    """
    search, job = yaml.safe_load_all((SAMPLES / "pipeline.yaml").read_text())
    template = search["spec"]["template"]["spec"]
    template["algorithm"] = {"steps": 6, "seed": 0}
    template["evaluation"] = {"everySteps": 2}
    search["spec"] |= {
        "prune": {"name": "ASHA", "first": 2, "factor": 2},
        "maxTrials": 3,
        "parallelTrials": 1,
        "maxWorkers": 2,
    }
    job["spec"]["algorithm"] = {"steps": 8, "seed": 0}
    job["spec"]["evaluation"] = {"everySteps": 4, "keepBest": "loss"}
    job["spec"]["optimizer"]["schedule"] = {"name": "Cosine", "warmupSteps": 2}
    for spec in (template, job["spec"]):
        spec["data"]["batchSize"] = 16
        spec.update(copy.deepcopy(changes))
    return [search, job]


def write(path: Path, documents: list[dict[str, Any]]) -> Path:
    """A file with these documents."""
    path.write_text(yaml.safe_dump_all(documents, sort_keys=False))
    return path
