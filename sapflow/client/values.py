"""What Python is told of a job: how far it is, and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

_NO_METRICS = ("version", "account", "forecast")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is. A step is one of all workers; with algorithm.mode Async it is one contribution of a worker."""

    step: int
    steps: int
    """In all, as the job was asked for; it may end earlier."""
    loss: float | None = None
    """Of the step, on training samples."""
    accuracy: float | None = None
    """Of the step, on training samples; None where there are no classes."""
    validation_loss: float | None = None
    """Of the newest version that was evaluated on held-out samples."""
    validation_accuracy: float | None = None
    validation_metrics: Mapping[str, float] = field(default_factory=dict)
    """Other metrics of that version, by name."""
    seconds_per_step: float | None = None
    """The median of recent steps; None before there are enough."""
    seconds_left: float | None = None
    cost_usd: float | None = None
    """So far, at the prices of spec.prices."""
    epoch: int | None = None
    unit: str = "step"

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> "Progress":
        """From an event of the displays."""
        return cls(
            step=int(event["done"]),
            steps=int(event["total"]),
            loss=event.get("loss"),
            accuracy=event.get("accuracy"),
            validation_loss=event.get("validationLoss"),
            validation_accuracy=event.get("validationAccuracy"),
            validation_metrics=event.get("validationMetrics", {}),
            seconds_per_step=event.get("secondsPerStep"),
            seconds_left=event.get("secondsLeft"),
            cost_usd=event.get("costUSD"),
            epoch=event.get("epoch"),
            unit=str(event.get("unit", "step")),
        )


@dataclass(frozen=True, slots=True)
class Result:
    """What a finished job leaves."""

    uid: str
    uri: str
    """Of the model, a safetensors file."""
    sha256: str
    """Of that file. The same job has the same one, wherever and however often it was interrupted."""
    version: int
    """The step whose weights these are."""
    metrics: Mapping[str, float]
    """By name as in the outcome record: loss, validationLoss, validationAccuracy and others on held-out samples."""
    seconds: float
    cost_usd: float
    target_reached: bool
    """Whether algorithm.targetAccuracy ended the job."""
    outcome: Mapping[str, Any] = field(repr=False, default_factory=dict)
    """The whole outcome record, as `sapflow run --json` prints it."""

    @property
    def path(self) -> Path | None:
        """The model's file, where the store is a directory."""
        parts = urlsplit(self.uri)
        return Path(unquote(parts.path)) if parts.scheme == "file" else None

    @property
    def accuracy(self) -> float | None:
        """Of the result, on held-out samples; None for regression, or where none are held out."""
        return self.metrics.get("validationAccuracy")

    @property
    def loss(self) -> float | None:
        """Of the result, on held-out samples where there are any, else of its step."""
        return self.metrics.get("validationLoss", self.metrics.get("loss"))

    @classmethod
    def of(cls, uid: str, outcome: Mapping[str, Any]) -> "Result":
        """From an outcome record."""
        numbers = {
            name: float(value)
            for name, value in outcome.items()
            if isinstance(value, int | float) and not isinstance(value, bool) and name not in _NO_METRICS
        }
        for name, value in outcome.get("validationMetrics", {}).items():
            numbers[f"validation{name[:1].upper()}{name[1:]}"] = float(value)
        account = outcome["account"]
        return cls(
            uid=uid,
            uri=outcome["uri"],
            sha256=outcome["sha256"],
            version=outcome["version"],
            metrics=numbers,
            seconds=account["seconds"],
            cost_usd=account["costUSD"],
            target_reached=bool(outcome["targetReached"]),
            outcome=outcome,
        )
