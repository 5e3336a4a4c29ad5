"""The trackers by their names; a tracker's module is loaded when it is asked for."""

from importlib import import_module
from typing import Literal, get_args

from sapflow.monitoring.trackers.tracker import Tracker

Name = Literal["tensorboard", "mlflow", "optuna"]
NAMES: tuple[Name, ...] = get_args(Name)
_CLASSES: dict[Name, str] = {
    "tensorboard": "TensorBoardTracker",
    "mlflow": "MlflowTracker",
    "optuna": "OptunaTracker",
}


def tracker_at(name: Name, place: str) -> Tracker:
    """The tracker of a name that writes to a place. Raises TrackerMissing, TrackerFailed."""
    module = import_module(f"sapflow.monitoring.trackers.{name}")
    found: Tracker = getattr(module, _CLASSES[name])(place)
    return found
