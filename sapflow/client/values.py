"""The values that Python programs get about a job: its progress and its result."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

_NO_METRICS = ("version", "account", "forecast")


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a job. With algorithm.mode Async a step is one contribution of a worker."""

    step: int
    steps: int
    """The number of steps of the job; it may end earlier."""
    loss: float | None = None
    """The loss of the step on training samples."""
    accuracy: float | None = None
    """The accuracy of the step on training samples; None if there are no classes."""
    validation_loss: float | None = None
    """The loss on held-out samples of the newest version that was evaluated."""
    validation_accuracy: float | None = None
    validation_metrics: Mapping[str, float] = field(default_factory=dict)
    """Other metrics of the version that was evaluated, by name."""
    seconds_per_step: float | None = None
    """The median seconds of recent steps; None before there are enough."""
    seconds_left: float | None = None
    cost_usd: float | None = None
    """The cost so far, at the prices of spec.prices."""
    epoch: int | None = None
    unit: str = "step"

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> "Progress":
        """The progress in an event of displays."""
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
    """The result of a finished job."""

    uid: str
    uri: str
    """The URI of the model, a safetensors file."""
    sha256: str
    """The SHA-256 of the model's file. It is the same for the same job, however often that was interrupted."""
    version: int
    """The version that is the result: the number of its step."""
    metrics: Mapping[str, float]
    """Metrics by their names in the outcome record: loss, validationLoss, validationAccuracy and others."""
    seconds: float
    cost_usd: float
    target_reached: bool
    """Whether algorithm.targetAccuracy ended the job."""
    outcome: Mapping[str, Any] = field(repr=False, default_factory=dict)
    """The complete outcome record, as `sapflow run --json` prints it."""

    @property
    def path(self) -> Path | None:
        """The path of the model's file if the store is a directory, else None."""
        parts = urlsplit(self.uri)
        return Path(unquote(parts.path)) if parts.scheme == "file" else None

    @property
    def accuracy(self) -> float | None:
        """The accuracy of the result on held-out samples; None for regression or without held-out samples."""
        return self.metrics.get("validationAccuracy")

    @property
    def loss(self) -> float | None:
        """The loss of the result on held-out samples, or of its step if there are none."""
        return self.metrics.get("validationLoss", self.metrics.get("loss"))

    @classmethod
    def of(cls, uid: str, outcome: Mapping[str, Any]) -> "Result":
        """The result in an outcome record."""
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
