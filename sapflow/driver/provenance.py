"""Where a result comes from: digests of all that its bits follow from, and of what computed them.

`result/provenance.json` says all of it. The model's own metadata have the part that the weights follow from, and no
names of machines, plans or jobs: files with the same weights and the same history keep one SHA-256, wherever and by
whatever tree they were computed.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from sapflow.data.manifest import Manifest
from sapflow.objects import keys
from sapflow.records.commits import Commit
from sapflow.records.numerics import FIRST
from sapflow.release import RELEASE
from sapflow.spec import source_code
from sapflow.spec.training_job import TrainingJob

MOST = 64
"""Plans, CPUs, versions of a library and images that are listed, at most; of more, the first."""


def of_weights(job: TrainingJob, manifest: Manifest, first: Commit, commit: Commit) -> dict[str, Any]:
    """The part that is in the model's metadata; its size is bounded."""
    found = {
        "version": commit.version,
        "updates": commit.updates,
        "seed": job.spec.algorithm.seed,
        "numerics": FIRST if first.numerics is None else first.numerics,
        "data": data_digest(manifest),
        "code": source_code.fingerprint(first.code or {}),
        "weights": first.weights,
    }
    return {name: value for name, value in found.items() if value is not None}


def data_digest(manifest: Manifest) -> str:
    """The SHA-256 of the manifest without the name of its source: the same samples may lie in several places."""
    described = {name: value for name, value in manifest.to_json().items() if name != "source"}
    return keys.digest(described, 64)


def parameters_digest(commit: Commit) -> str | None:
    """One SHA-256 for the objects of a version's parameters: its own, or that of several in their order; None if the
    commit does not say."""
    known = [] if commit.sha256 is None else commit.sha256.params
    if not known or None in known:
        return None
    return known[0] if len(known) == 1 else hashlib.sha256("".join(map(str, known)).encode()).hexdigest()


class History:
    """What the versions of a job were computed by, taken in one after the other; it does not grow with their number."""

    def __init__(self) -> None:
        self._plans: list[dict[str, Any]] = []
        self._cpus: list[str] = []
        self._libraries: dict[str, list[str]] = {}
        self._images: list[dict[str, str]] = []

    def take(self, commit: Commit) -> None:
        """Take in the next version."""
        plan = commit.plan if commit.dealt is None else commit.dealt
        if not self._plans or self._plans[-1]["plan"] != plan:
            _add(self._plans, {"from": commit.version, "plan": plan})
        for cpu in commit.measured.cpus or ():
            _add(self._cpus, cpu)
        for name, versions in (commit.measured.libraries or {}).items():
            for each in versions:
                _add(self._libraries.setdefault(name, []), each)
        if commit.measured.images is not None:
            _add(self._images, commit.measured.images)

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "plans": self._plans,
            "cpus": self._cpus,
            "libraries": self._libraries,
            "images": self._images,
        }
        return {name: value for name, value in found.items() if value}


def _add(known: list[Any], value: Any) -> None:
    if value not in known and len(known) < MOST:
        known.append(value)


def record(
    job: TrainingJob,
    manifest: Manifest,
    first: Commit,
    commit: Commit,
    history: History,
    *,
    uid: str,
    spec: str,
    manifest_sha256: str,
    model: Mapping[str, str],
) -> dict[str, Any]:
    """The whole of `result/provenance.json`; `spec` is the SHA-256 of the job's spec.json."""
    found: dict[str, Any] = {
        "job": uid,
        "commit": commit.digest,
        "spec": spec,
        "model": dict(model),
        "weights": of_weights(job, manifest, first, commit),
        "parameters": parameters_digest(commit),
        "data": {
            "source": manifest.source,
            "manifest": manifest_sha256,
            "train": manifest.train_samples,
            "validation": manifest.validation_samples,
            **({"preparation": manifest.preparation} if manifest.preparation else {}),
        },
        "release": RELEASE,
        **history.to_json(),
    }
    if first.code:
        found["code"] = _bounded(first.code)
    if first.origin is not None:
        found["origin"] = first.origin.body()
    return {name: value for name, value in found.items() if value is not None}


def _bounded(code: Mapping[str, str]) -> dict[str, str]:
    """The SHA-256 of modules; of more than a few, the first in the order of their names."""
    names: Sequence[str] = sorted(code)[:MOST]
    return {name: code[name] for name in names}
