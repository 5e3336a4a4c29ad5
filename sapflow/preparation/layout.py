"""How prepared samples lie in blocks: the task and its targets, and which blocks each partition has.

All of it follows from the census, so each partition's blocks can be written by itself, in any order.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from sapflow.data.block_size import MAX_BLOCK_BYTES
from sapflow.data.chunks import Part
from sapflow.data.manifest import Manifest
from sapflow.errors import DataError
from sapflow.preparation.census import Census
from sapflow.preparation.samples import Samples
from sapflow.records.numerics import NUMERICS
from sapflow.tasks.classification import MAX_CLASSES
from sapflow.tasks.registry import TASKS, of_targets
from sapflow.tasks.task import MOST_COUNTED, Task

HEADER_BYTES = 512
_BYTES_SCALE = float(np.float32(1 / 255))


@dataclass(frozen=True, slots=True)
class Layout:
    """Which blocks hold which samples."""

    samples: Samples
    task: type[Task]
    census: Census

    @property
    def small(self) -> bool:
        """Whether features are bytes."""
        return self.census.small

    @property
    def rows(self) -> int:
        """The samples of a block that is full."""
        values = int(np.prod(self.samples.shape))
        per_row = values * (1 if self.small else 4) + 4 * self.samples.target_width
        rows = (MAX_BLOCK_BYTES - HEADER_BYTES) // per_row
        if rows < 1:
            raise DataError(f"one sample has {per_row:,} bytes, more than a block of {MAX_BLOCK_BYTES:,}")
        return rows

    def first_block(self, part: Part, partition: int) -> int:
        """The number of the first block of a partition's samples of a part."""
        counts = np.array(self._counts(part)[:partition], np.int64)
        return int((-(-counts // self.rows)).sum())

    def blocks(self, part: Part) -> tuple[int, ...]:
        """The number of samples of each block."""
        rows = self.rows
        return tuple(min(rows, count - at) for count in self._counts(part) for at in range(0, count, rows))

    def manifest(self, source: str) -> Manifest:
        """What training reads the blocks by."""
        samples, values = self.samples, self.census.values
        classes: int | None = None
        statistics: dict[str, tuple[float, ...]] = {}
        names: tuple[str, ...] = ()
        if self.task.name == "classification":
            names = samples.classes or ()
            classes = len(names) if names else max(int(values.bounds[1]) + 1, 2)
            counts = np.zeros(int(values.distinct[-1]) + 1)
            counts[values.distinct.astype(np.int64)] = values.rows
            if len(counts) <= MOST_COUNTED:
                statistics = {"counts": tuple(map(float, counts))}
        elif self.task.name == "multilabel":
            statistics = {"counts": tuple(map(float, values.sums)), "samples": (float(values.count),)}
        else:
            statistics = {
                "mean": tuple(map(float, values.mean)),
                "deviation": tuple(map(float, values.deviation())),
            }
        labelled = self.task.name in ("classification", "multilabel")
        width = samples.target_width
        dtype: Literal["uint8", "float32"] = "uint8" if self.small else "float32"
        return Manifest(
            source=source,
            task=self.task.name,
            shape=samples.shape,
            dtype=dtype,
            target_shape=() if width == 1 else (width,),
            classes=classes,
            train=self.blocks("train"),
            validation=self.blocks("validation"),
            scale=(_BYTES_SCALE,) if self.small else (1.0,),
            shift=(0.0,),
            target_statistics=statistics,
            label_counts=self.census.label_counts() if labelled else (),
            numerics=NUMERICS,
            columns=samples.names,
            class_names=names,
        )

    def _counts(self, part: Part) -> tuple[int, ...]:
        return self.census.train if part == "train" else self.census.held


def layout_of(samples: Samples, census: Census, family: str | None) -> Layout:
    """The layout of samples of which the census is; `family`: the task that the spec asks for. Raises DataError."""
    values = census.values
    if not values.count:
        rows = sum(census.held)
        raise DataError(
            f"no sample is left to train on: {rows:,} are held out and {census.bad:,} rows were bad; hold out fewer "
            "(prepare.split), or drop fewer"
        )
    task = _task(samples, census, family)
    if task.name == "classification" and samples.classes is None:
        lowest, highest = map(float, values.bounds)
        if not values.integral or lowest < 0 or highest >= MAX_CLASSES:
            raise DataError(
                f"the target {samples.target!r} goes from {lowest:g} to {highest:g}, and classes are whole numbers "
                f"from 0 to {MAX_CLASSES - 1}: number its values by encode (method: Classes), or learn them as values "
                "(options: task: Regression)"
            )
    if samples.classes is not None and len(samples.classes) < 2:
        raise DataError(f"the target {samples.target!r} has one class only, and there is nothing to learn")
    return Layout(samples, task, census)


def _task(samples: Samples, census: Census, family: str | None) -> type[Task]:
    values = census.values
    if samples.classes is not None:
        if family not in (None, "classification"):
            raise DataError(
                f"options: task asks for {family}, and the target {samples.target!r} is encoded as classes: leave one "
                "of the two out"
            )
        return TASKS["classification"]
    shown: np.ndarray
    if samples.target_width > 1:
        shown = (
            np.zeros((1, samples.target_width)) if values.binary else np.full((1, samples.target_width), 0.5)
        )
    elif values.too_many or not values.integral:
        shown = np.array([0.5])
    else:
        # Each value as often as matters to whether values look like classes.
        shown = np.repeat(values.distinct, np.minimum(values.rows, 2 * len(values.distinct)))
    return of_targets(shown, family)
