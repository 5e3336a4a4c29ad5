"""The manifest describes the blocks of a data set: one small object that every function reads once.

    <prefix>manifest.json  <prefix>train/<i>  <prefix>validation/<i>

A block is a safetensors object of two tensors, in this order: `targets`, int32 [n] of class numbers or
float32 [n] or [n, k] of values or labels, and `features`, uint8 or float32 [n, *shape]. Targets come first because
they leave the features aligned to their own size, whatever n is.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from sapflow.data.chunks import MAX_VALUES, Part
from sapflow.data.label_counts import GROUPS, LABELS, Counts
from sapflow.errors import CorruptObject
from sapflow.objects import keys, safetensor
from sapflow.tasks.registry import TASKS, task_for
from sapflow.tasks.targets import Targets, TargetStatistics
from sapflow.tasks.task import Task

VERSION = 1
_LEFT_OUT = (
    "target_statistics",
    "label_counts",
    "origin",
    "columns",
    "class_names",
    "preparation",
    "raw_rows",
    "rejected_rows",
)
"""Fields that the JSON has only where there is something in them."""
_NUMBERS_OF_ROWS = ("raw_rows", "rejected_rows")
_LARGEST = float(np.finfo(np.float32).max)


def manifest_key(prefix: str) -> str:
    return keys.manifest(prefix)


def block_key(prefix: str, part: Part, index: int) -> str:
    return f"{prefix}{part}/{index}"


@dataclass(frozen=True, slots=True)
class Manifest:
    """Shapes, counts and scaling of a data set.

    Features are `stored · scale + shift` in float32; scale and shift have one number, or one number per feature if
    samples have one dimension. The cut writes them, and leaves the values in blocks as they are in the source.
    """

    source: str
    task: str
    """Its name in the registry of tasks."""
    shape: tuple[int, ...]
    """Shape of one sample's features."""
    dtype: Literal["uint8", "float32"]
    """uint8 if every block is uint8; a float32 set may contain uint8 blocks."""
    target_shape: tuple[int, ...]
    """Shape of one sample's target: () or (k,)."""
    classes: int | None
    """The highest label + 1, or the number that the source gives; None where targets are no class numbers."""
    train: tuple[int, ...]
    """Number of samples of each training block."""
    validation: tuple[int, ...]
    """Number of samples of each validation block."""
    scale: tuple[float, ...] = (1.0,)
    shift: tuple[float, ...] = (0.0,)
    target_statistics: TargetStatistics = field(default_factory=dict)
    """What the task counted of the training samples' targets; left out of the JSON where there is nothing."""
    label_counts: Counts = ()
    """How often each label is in each of consecutive groups of training blocks (label_counts.py); left out of the JSON
    where targets are no labels."""
    numerics: int | None = None
    """The number of the numerics that the data was cut under; None, and left out of the JSON, in earlier releases."""
    origin: tuple[float, ...] = ()
    """What was subtracted from features, in float64, before they were stored: one number, or one per feature; empty
    where nothing was. Left out of the JSON then, as columns and class_names are."""
    columns: tuple[str, ...] = ()
    """The features' names in their order, if the source has names for them."""
    class_names: tuple[str, ...] = ()
    """The words for the classes by number, if the source has words for them."""
    preparation: str = ""
    """The SHA-256 of the fitted preparation that the blocks were made by, where there was one."""
    raw_rows: int = 0
    """Rows of the source that it has read; 0, and left out of the JSON, where there was no preparation."""
    rejected_rows: int = 0
    """Those of them that gave no sample because something is wrong with them."""

    @property
    def train_samples(self) -> int:
        return sum(self.train)

    @property
    def validation_samples(self) -> int:
        return sum(self.validation)

    @property
    def outputs(self) -> int:
        """The number of a model's outputs for one sample, which the task determines."""
        return self.task_for().outputs

    def task_for(self, *, scale_target: bool = False) -> Task:
        """The task, made for these targets; `scale_target`: the loss is to see them scaled."""
        targets = Targets(self.target_shape, self.classes, self.target_statistics, self.class_names)
        return task_for(self.task, targets, scale_target=scale_target)

    def blocks(self, part: Part) -> tuple[int, ...]:
        return self.train if part == "train" else self.validation

    def to_json(self) -> dict[str, Any]:
        fields = asdict(self)
        if self.numerics is None:
            del fields["numerics"]
        for name in _LEFT_OUT:
            if not fields[name]:
                del fields[name]
        return {"version": VERSION, **fields}

    @classmethod
    def from_json(cls, value: object) -> "Manifest":
        """The manifest from the parsed JSON of `to_json`. Raises CorruptObject, which names the wrong field."""
        if not isinstance(value, Mapping):
            raise CorruptObject("the data manifest is no JSON object")
        fields = dict(value)
        if fields.pop("version", None) != VERSION:
            raise CorruptObject(f"the data manifest is not of version {VERSION}; cut the data again")
        statistics = fields.setdefault("target_statistics", {})
        fields.setdefault("numerics", None)
        fields.setdefault("preparation", "")
        for name in _NUMBERS_OF_ROWS:
            fields.setdefault(name, 0)
        for name in _LEFT_OUT[1:]:
            fields.setdefault(name, ())
        if fields.keys() != set(cls.__slots__):
            odd = ", ".join(sorted(fields.keys() ^ set(cls.__slots__)))
            raise CorruptObject(f"the data manifest lacks fields, or has unknown ones: {odd}")
        for name in ("shape", "target_shape", "train", "validation"):
            fields[name] = _counts(name, fields[name])
        fields["label_counts"] = _table("label_counts", fields["label_counts"])
        for name in ("scale", "shift", "origin"):
            fields[name] = _numbers(name, fields[name])
        for name in ("columns", "class_names"):
            fields[name] = _words(name, fields[name])
        if not isinstance(statistics, Mapping):
            raise CorruptObject("the data manifest's field target_statistics is no JSON object")
        fields["target_statistics"] = {
            str(name): _numbers(f"target_statistics.{name}", values) for name, values in statistics.items()
        }
        manifest = cls(**fields)
        manifest._check()
        return manifest

    def _check(self) -> None:
        values = math.prod(self.shape)
        widths = (1, *self.shape) if len(self.shape) == 1 else (1,)
        known = self.task in tuple(TASKS)
        of_task = TASKS[self.task].wrong(Targets(self.target_shape, self.classes)) if known else None
        problems = {
            "source": not isinstance(self.source, str),
            "task": not known,
            "shape": not self.shape or values > MAX_VALUES,
            "dtype": self.dtype not in ("uint8", "float32"),
            "target_shape": of_task == "target_shape",
            "classes": of_task == "classes",
            "train": not self.train,
            "scale": len(self.scale) not in widths,
            "shift": len(self.shift) != len(self.scale),
            "numerics": self.numerics is not None and type(self.numerics) is not int,
            "origin": len(self.origin) not in (0, *widths),
            "columns": len(self.columns) not in (0, values),
            "class_names": len(self.class_names) not in (0, self.classes),
            **{name: not _is_count(getattr(self, name)) for name in _NUMBERS_OF_ROWS},
            "preparation": re.fullmatch("([0-9a-f]{64})?", str(self.preparation)) is None,
        }
        for name, wrong in problems.items():
            if wrong:
                given = repr(getattr(self, name))[:100]
                raise CorruptObject(f"the data manifest's field {name} is wrong: {given}")


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _counts(name: str, value: object) -> tuple[int, ...]:
    if not isinstance(value, Sequence) or not all(type(n) is int and 0 < n < 2**32 for n in value):
        raise CorruptObject(f"the data manifest's field {name} is no list of positive whole numbers")
    return tuple(value)


def _table(name: str, value: object) -> Counts:
    """Rows of whole numbers, all of one length."""
    if not isinstance(value, Sequence) or len(value) > GROUPS:
        raise CorruptObject(f"the data manifest's field {name} is no list of at most {GROUPS} rows")
    widths = {len(row) if isinstance(row, Sequence) else -1 for row in value}
    if len(widths) > 1 or not widths <= set(range(LABELS + 1)):
        raise CorruptObject(f"the data manifest's field {name} has rows that are no lists of one length")
    if not all(type(n) is int and 0 <= n < 2**53 for row in value for n in row):
        raise CorruptObject(f"the data manifest's field {name} has numbers that are no counts")
    return tuple(map(tuple, value))


def _words(name: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, Sequence) or not all(isinstance(each, str) for each in value):
        raise CorruptObject(f"the data manifest's field {name} is no list of words")
    return tuple(value)


def _numbers(name: str, value: object) -> tuple[float, ...]:
    if not isinstance(value, Sequence) or not all(type(n) in (int, float) for n in value):
        raise CorruptObject(f"the data manifest's field {name} is no list of numbers")
    if not all(abs(n) <= _LARGEST for n in value):
        raise CorruptObject(f"the data manifest's field {name} has numbers that are not finite")
    return tuple(map(float, value))


def encode_block(features: np.ndarray, targets: np.ndarray) -> list[memoryview | bytes]:
    """The parts of a block's object. Contiguous arrays are not copied."""
    features, targets = np.ascontiguousarray(features), np.ascontiguousarray(targets)
    header = safetensor.encode_header(
        {"targets": (targets.dtype, targets.shape), "features": (features.dtype, features.shape)}, {}
    )
    return [header, targets.data.cast("B"), features.data.cast("B")]


def decode_block(
    buffer: memoryview, key: str, manifest: Manifest, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """A block's features [count, *shape] and targets, as views. Raises CorruptObject."""
    arrays, _ = safetensor.decode(buffer, key)
    check_block(safetensor.decode_header(buffer, key), key, manifest, count)
    return arrays["features"], arrays["targets"]


def block_header_size(manifest: Manifest, count: int) -> int:
    """The size of the header of a training block of `count` samples; one of narrower values may have a smaller one."""
    target = np.dtype(TASKS[manifest.task].stored)
    tensors = {
        "targets": (target, (count, *manifest.target_shape)),
        "features": (np.dtype(manifest.dtype), (count, *manifest.shape)),
    }
    return len(safetensor.encode_header(tensors, {}))


def check_block(header: safetensor.Header, key: str, manifest: Manifest, count: int) -> None:
    """Check that a block of `count` samples has what the manifest promises. Raises CorruptObject."""
    tensors = header.tensors
    if tensors.keys() != {"features", "targets"}:
        raise CorruptObject(f"block {key} has the tensors {', '.join(tensors)}, not features and targets")
    features, targets = tensors["features"], tensors["targets"]
    target_type = TASKS[manifest.task].stored
    allowed = ("uint8",) if manifest.dtype == "uint8" else ("uint8", "float32")
    if features.shape != (count, *manifest.shape) or features.dtype.name not in allowed:
        raise CorruptObject(
            f"block {key} has features {features.dtype} {list(features.shape)}; the manifest promises "
            f"{' or '.join(allowed)} {[count, *manifest.shape]}"
        )
    if targets.shape != (count, *manifest.target_shape) or targets.dtype.name != target_type:
        raise CorruptObject(
            f"block {key} has targets {targets.dtype} {list(targets.shape)}; the manifest promises "
            f"{target_type} {[count, *manifest.target_shape]}"
        )
