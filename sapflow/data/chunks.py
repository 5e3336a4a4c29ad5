"""The chunks of samples that a source yields, and the checks that every sample passes before it is stored."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Literal, get_args

import numpy as np

from sapflow.data import labels
from sapflow.data.origin import far_origin
from sapflow.errors import DataError
from sapflow.tasks.classification import MAX_CLASSES
from sapflow.tasks.registry import of_targets
from sapflow.tasks.targets import Rows
from sapflow.tasks.task import Task

Part = Literal["train", "validation"]
PARTS: tuple[Part, ...] = get_args(Part)

CHUNK_BYTES = 2 << 20
MAX_VALUES = 2_000_000
"""The most values in one sample: as float32 they fit into a block of 8 MiB."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some samples in the order of their source: features [n, *shape], targets [n] or [n, k].

    `row` is the first sample's number, from 0, within `origin` (a file, an array, a set); errors name it. Targets
    may be words, which become class numbers when the source is read.
    """

    features: np.ndarray
    targets: np.ndarray
    origin: str
    row: int = 0
    part: Part = "train"
    columns: tuple[str, ...] = ()
    """The features' names in their order, if the source has names for them."""
    groups: np.ndarray | None = None
    """uint64 [n]: digests of what the samples belong to (`group_split.digests`), where a source says it."""


@dataclass(frozen=True, slots=True)
class Source:
    """Samples that are read once, front to back, in bounded memory; training samples come before validation samples.

    A source whose labels are words that nobody has listed is read twice: the classes are numbered in the order of the
    alphabet.
    """

    name: str
    chunks: Callable[[], Iterator[Chunk]]
    """Starts to read; the chunks are unchecked."""
    task: str | None = None
    """The family of tasks that the source is for. None means that the targets decide (`registry.of_targets`)."""
    classes: int | None = None
    brings_validation: bool = False
    """Whether it has samples of both parts."""
    class_names: tuple[str, ...] = ()
    """The words for the classes, by number, if they are listed."""
    table: object = None
    """Of tables: what their columns are for, which a second table follows; only formats look inside."""
    validation: "Source | None" = None
    """A source of its own for the validation samples; then `brings_validation` is true."""

    @property
    def declares_classes(self) -> bool:
        """Whether the source says which classes there are, so that one may be without training samples."""
        return self.classes is not None

    def read(self) -> Iterator[Chunk]:
        """Checked chunks: features uint8 or float32 [n, *shape], targets as their task stores them.

        Raises DataError if shapes or counts differ, labels are no class numbers, values are not finite numbers, or
        there are no samples at all.
        """
        return iter(Reading(self))


class Reading:
    """One pass over a source's samples. Iterate over it once, for checked chunks as `Source.read` gives them.

    What the first samples determine for all that follow can be asked for after the first chunk: their shapes, the
    task, names, and with `centred` the origin that is subtracted from features before they become float32.
    """

    task: type[Task]

    def __init__(self, source: Source, *, centred: bool = False) -> None:
        self.source = source
        self.shape: tuple[int, ...] | None = None
        self.target_shape: tuple[int, ...] = ()
        self.columns: tuple[str, ...] = ()
        self.class_names = source.class_names
        self.origin: np.ndarray | None = None
        """float64 [1] or [features]; None: nothing is subtracted."""
        self._centred = centred
        self._first = ""
        self._words = False
        self._classes = source.classes
        self._trained = _Trained() if source.validation is not None and not source.declares_classes else None

    def __iter__(self) -> Iterator[Chunk]:
        return chain(self.own(), self.separate())

    def own(self) -> Iterator[Chunk]:
        """The samples of the source itself."""
        yield from self._all(self.source)

    def separate(self, *, partly: bool = False) -> Iterator[Chunk]:
        """The samples of the source for validation, if there is one. They come after all others.

        `partly`: not all training samples were read, so classes that none of them had may have some.
        """
        if partly:
            self._trained = None
        if self.source.validation is not None:
            for chunk in self._all(self.source.validation):
                yield replace(chunk, part="validation")

    def _all(self, source: Source) -> Iterator[Chunk]:
        there = False
        for chunk in source.chunks():
            if len(chunk.features) or len(chunk.targets):
                there = True
                yield self._checked(chunk, source)
        if not there:
            raise DataError(f"{source.name} holds no samples")

    def _checked(self, chunk: Chunk, source: Source) -> Chunk:
        features, targets, origin = chunk.features, chunk.targets, chunk.origin
        if features.ndim < 2:
            raise DataError(f"{origin}: features must be [samples, …], not of shape {list(features.shape)}")
        if targets.ndim == 2 and targets.shape[1] == 1:
            targets = targets[:, 0]
        if targets.ndim not in (1, 2):
            raise DataError(f"{origin}: targets must be [samples] or [samples, k], not {list(targets.shape)}")
        if len(features) != len(targets):
            raise DataError(f"{origin}: {len(features)} samples but {len(targets)} targets")
        if features.dtype.kind not in "buif":
            raise DataError(f"{origin}: features are {features.dtype}; they must be numbers")
        words = labels.are_words(targets)
        if not words and targets.dtype.kind not in "buif":
            raise DataError(f"{origin}: targets are {targets.dtype}; they must be numbers or words")
        if self.shape is None:
            self._words = words
        elif words != self._words:
            raise DataError(
                f"{origin}: the targets are {_kind(words)}, and those of {self._first} are {_kind(self._words)}: write "
                "them alike"
            )
        if words:
            targets = self._numbered(targets, chunk)
        if self.shape is None:
            rows_per_chunk(features.shape[1:], 4, origin)
            self.shape, self.target_shape, self._first = features.shape[1:], targets.shape[1:], origin
            self.task = of_targets(targets, self.source.task)
            self.columns = chunk.columns
            if self._centred:
                self.origin = far_origin(features)
        if features.shape[1:] != self.shape or targets.shape[1:] != self.target_shape:
            raise DataError(
                f"{origin}: samples of shape {list(features.shape[1:])}, targets {list(targets.shape[1:])}, "
                f"where {self._first} has {list(self.shape)}, {list(self.target_shape)}; all must be alike"
            )
        checked = self.task.checked(targets, Rows(origin, chunk.row), self._classes)
        if self._trained is not None and self.task.highest_class(checked) is not None:
            if source is self.source:
                self._trained.add(checked)
            else:
                self._trained.check(checked, Rows(origin, chunk.row), self.class_names)
        return replace(chunk, features=self._compact(features, chunk), targets=checked)

    def _numbered(self, targets: np.ndarray, chunk: Chunk) -> np.ndarray:
        """Class numbers for words. The first words have the source read for all that there are.

        A source for validation has no say in them.
        """
        origin = chunk.origin
        if targets.ndim != 1:
            raise DataError(f"{origin}: several targets a sample must be numbers, not words")
        if self.source.task == "regression":
            raise DataError(
                f"{origin}: the target {targets[0]!r} is a word, and task: Regression learns numbers"
            )
        if self.shape is None and not self.class_names:
            self.class_names = labels.found(chunk.targets for chunk in self.source.chunks())
            self._classes = self._classes or len(self.class_names)
            if len(self.class_names) != self._classes:
                raise DataError(
                    f"{self.source.name} has {len(self.class_names)} different labels, where options: classes "
                    f"says {self._classes}: {labels.some(self.class_names)}"
                )
        return labels.numbered(
            targets,
            self.class_names,
            lambda index: f"{origin}: row {chunk.row + index} (the first is 0)",
            listed=bool(self.source.class_names),
        )

    def _compact(self, features: np.ndarray, chunk: Chunk) -> np.ndarray:
        """The features as uint8 if that type holds every value exactly and nothing is subtracted, else as float32."""
        if self.origin is None and (features.dtype.kind == "b" or features.dtype == np.uint8):
            return features.astype(np.uint8, copy=False)
        with np.errstate(over="ignore"):
            values = features.astype(np.float32) if self.origin is None else self._from_origin(features)
        rows = Rows(chunk.origin, chunk.row)
        rows.refuse(~np.isfinite(values), features, "feature", "features must be finite float32 numbers")
        if self.origin is None and values.min() >= 0 and values.max() <= 255:
            small = values.astype(np.uint8)
            if np.array_equal(small, values):
                return small
        return values

    def _from_origin(self, features: np.ndarray) -> np.ndarray:
        assert self.origin is not None, "the caller asks"
        flat = features.reshape(len(features), -1).astype(np.float64)
        return np.asarray((flat - self.origin).astype(np.float32).reshape(features.shape))


class _Trained:
    """Which classes training samples have: those of validation samples must be among them."""

    def __init__(self) -> None:
        self._seen = np.zeros(MAX_CLASSES, bool)

    def add(self, targets: np.ndarray) -> None:
        self._seen[targets] = True

    def check(self, targets: np.ndarray, rows: Rows, names: Sequence[str]) -> None:
        """Raise DataError for the first class that no training sample has."""
        known = np.flatnonzero(self._seen)
        some = ", ".join(names[number] if names else str(number) for number in known[:5])
        rule = (
            f"no training sample has it (those have {some}{' …' if len(known) > 5 else ''}): add some that do, leave "
            "those rows out, or say how many classes there are in data.options: classes"
        )
        rows.refuse(~self._seen[targets], targets, "label", rule)


def _kind(words: bool) -> str:
    return "words" if words else "numbers"


def rows_per_chunk(shape: tuple[int, ...], itemsize: int, origin: str) -> int:
    """The number of samples to read at once. Raises DataError if a sample is empty or does not fit into a block."""
    values = math.prod(shape)
    if not 0 < values <= MAX_VALUES:
        raise DataError(
            f"{origin}: one sample of shape {list(shape)} has {values:,} values; "
            f"1 to {MAX_VALUES:,} fit a block"
        )
    return max(1, CHUNK_BYTES // (values * itemsize))
