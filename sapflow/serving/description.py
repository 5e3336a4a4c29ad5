"""What a model's file says of it: how it is built, and how features are scaled and outputs are read."""

import math

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from sapflow.data.formats.csv_files import Dialect
from sapflow.errors import CorruptObject
from sapflow.spec.learning import ModelSpec
from sapflow.tasks.registry import task_for
from sapflow.tasks.targets import Targets
from sapflow.tasks.task import Task
from sapflow.text import parse_json

METADATA = "sapflow"


class Description(BaseModel):
    """The description of a model in its file."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, protected_namespaces=()
    )

    model: ModelSpec
    inputs: tuple[int, ...]
    outputs: int
    task: str
    classes: int | None = None
    scale: tuple[float, ...]
    shift: tuple[float, ...]
    target_statistics: dict[str, tuple[float, ...]] = {}
    """Where the loss saw scaled targets: their mean and deviation."""
    origin: tuple[float, ...] = ()
    """What is subtracted from features, in float64, before they become float32; empty where nothing is."""
    columns: tuple[str, ...] = ()
    """The features' names in their order, if the data had names for them."""
    class_names: tuple[str, ...] = ()
    """The words for the classes by number, if the data had words for them."""
    dialect: Dialect = Dialect()
    """How the CSV files were written that the model was trained on."""
    preparation: str | None = None
    """The SHA-256 of what raw rows are made samples by; None where the model was trained on samples as they were."""

    @property
    def width(self) -> int:
        """The number of values in a sample."""
        return math.prod(self.inputs)

    def task_of(self) -> Task:
        """The task, which knows what outputs mean. Raises CorruptObject where it is unknown."""
        shape = () if self.classes is not None or self.outputs == 1 else (self.outputs,)
        targets = Targets(shape, self.classes, self.target_statistics, self.class_names)
        return task_for(self.task, targets, scale_target=bool(self.target_statistics))

    def single(self, features: np.ndarray) -> np.ndarray:
        """Features [n, values] of the data source as float32 less their origin; some may be infinite or not numbers."""
        if self.origin:
            features = features.astype(np.float64) - np.array(self.origin)
        with np.errstate(over="ignore"):
            return features.astype(np.float32)

    def scaled(self, single: np.ndarray) -> np.ndarray:
        """The network's input float32 [n, *inputs], of finite features as `single` gives them."""
        # This rounds to float32 twice, as in training.
        flat = single * np.array(self.scale, np.float32)
        flat += np.array(self.shift, np.float32)
        return flat.reshape(len(flat), *self.inputs)


def described(metadata: dict[str, str], name: str) -> Description:
    """The description in the metadata of a model's file. Raises CorruptObject."""
    if METADATA not in metadata:
        raise CorruptObject(f"object {name} has no metadata {METADATA!r}")
    try:
        found = Description.model_validate(parse_json(metadata[METADATA]))
        if (found.model.name is None) == (found.model.entrypoint is None):
            raise ValueError("it must name either a built-in model or an entrypoint")
        return found
    except (ValueError, ValidationError) as error:
        raise CorruptObject(f"object {name} has broken metadata: {error}") from error
