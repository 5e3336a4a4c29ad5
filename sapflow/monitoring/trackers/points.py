"""What a tracker is told about one version: figures by name. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sapflow.records.commits import Commit
from sapflow.spec.training_job import TrainingJob
from sapflow.text import to_json

TRAINING, VALIDATION, ACCOUNT = "train", "validation", "account"
"""Groups of figures: of a step's own samples, of the held-out samples, and what the job has used so far."""
_NOT_PARAMETERS = ("limits", "checkpoint", "storage", "suspend", "ttlSecondsAfterFinished", "pods")
"""Parts of a spec from which no value of a job follows, or which may change while it lives."""


@dataclass(frozen=True, slots=True)
class Point:
    """The figures of a version."""

    version: int
    seconds: float
    """Running time of the job up to the version."""
    values: Mapping[str, float]
    """By name, such as `validation/loss`; NaN where one is not finite."""


def point(commit: Commit, metrics: Mapping[str, float] | None, begun: float = 0.0) -> Point:
    """The figures of a commit; `metrics` are those of its evaluation. `begun`: the account's seconds at the version
    that the job begins at."""
    measured, account = commit.measured, commit.account
    values: dict[str, float | None] = {
        f"{TRAINING}/loss": measured.loss,
        f"{TRAINING}/accuracy": measured.accuracy,
        **_below(TRAINING, measured.metrics),
        f"{TRAINING}/gradientNorm": measured.gradient_norm,
        f"{TRAINING}/learningRate": measured.learning_rate,
        "step/epoch": commit.cursor.epoch,
        "step/seconds": measured.seconds,
        "step/samples": measured.samples,
        "step/skipped": commit.newly_skipped if commit.skips else None,
        **_below("phases", measured.phases),
        "bytes/read": measured.bytes_read,
        "bytes/written": measured.bytes_written,
        "bytes/data": measured.data_bytes,
        **_below("memory", measured.peak_memory_bytes),
        f"{ACCOUNT}/seconds": account.seconds - begun,
        f"{ACCOUNT}/costUSD": account.cost_usd,
        f"{ACCOUNT}/invocations": account.invocations,
        f"{ACCOUNT}/coldStarts": account.cold_starts,
        f"{ACCOUNT}/retries": account.retries,
        **_below(VALIDATION, metrics),
    }
    found = {name: float(value) for name, value in values.items() if value is not None}
    return Point(commit.version, account.seconds - begun, found)


def _below(group: str, values: Mapping[str, float] | None) -> dict[str, float]:
    return {f"{group}/{name}": value for name, value in (values or {}).items()}


def objective_name(metric: str) -> str:
    """The name of the figure that is a search's objective."""
    measured = {"dollars": f"{ACCOUNT}/costUSD", "seconds": f"{ACCOUNT}/seconds"}
    return measured.get(metric, f"{VALIDATION}/{metric}")


def parameters_of(job: TrainingJob) -> dict[str, bool | int | float | str]:
    """The fields of a job by their path without `spec.`, those that its values follow from; lists are JSON."""
    spec = {name: value for name, value in job.to_json()["spec"].items() if name not in _NOT_PARAMETERS}
    return flat(spec)


def flat(values: Mapping[str, Any], path: str = "") -> dict[str, bool | int | float | str]:
    """The leaves of a JSON mapping by their path; a list, and an empty mapping, is JSON text."""
    found: dict[str, bool | int | float | str] = {}
    for name, value in values.items():
        inner = f"{path}.{name}" if path else name
        if isinstance(value, Mapping) and value:
            found |= flat(value, inner)
        elif value is not None:
            found[inner] = plain(value)
    return found


def plain(value: Any) -> bool | int | float | str:
    """A value as trackers take it: JSON text for what is neither a number nor a text."""
    return value if isinstance(value, bool | int | float | str) else to_json(value)


def short_path(path: str) -> str:
    """The path of a parameter without `spec.`."""
    return path.removeprefix("spec.")
