"""Images to bytes of pixels, all of one size."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar

import numpy as np

from sapflow.preparation.batch import Batch, Blobs, Column
from sapflow.preparation.pixels import BadImage, Shape, size_of
from sapflow.preparation.record import Record
from sapflow.preparation.step import Applied, ColumnType, Fit, Fitted, Schema, Step, StepProblem
from sapflow.preparation.steps.columns import one
from sapflow.preparation.steps.refusal import Refused, without
from sapflow.spec.preparation.image_step import ImageSpec

_MISSING = "there is no image"


@dataclass(frozen=True, slots=True)
class ImageStep(Step):
    """Decodes images, scales them and cuts out their middle. Those that a source has decoded already are taken too."""

    spec: ImageSpec

    def begin(self, given: Schema) -> Fit | Fitted:
        spec = self.spec
        column = one(spec.column, given, ("Image",))
        shape = Shape(spec.channels or 3, _size(spec.resize), _size(spec.crop))
        size = shape.crop or shape.resize
        decoded = given[column].shape
        if decoded:
            before = shape.resize or decoded[:2]
            if shape.crop is not None and (shape.crop[0] > before[0] or shape.crop[1] > before[1]):
                raise StepProblem(
                    f"{shape.crop[0]} × {shape.crop[1]} pixels cannot be cut out of images of "
                    f"{before[0]} × {before[1]}: cut out less, or resize them before",
                    "crop",
                )
            size = size or (decoded[0], decoded[1])
        if size is None:
            return ImageFit(column, shape)
        return Images(column, shape, size)


def _size(given: list[int] | None) -> tuple[int, int] | None:
    return None if given is None else (given[0], given[1])


@dataclass(frozen=True, slots=True)
class ImageFit(Fit):
    """Learns the size of images that are neither scaled nor cut, in one pass: it must be one."""

    column: str
    shape: Shape
    name: ClassVar[str] = "image"

    def reads(self) -> Sequence[str]:
        return (self.column,)

    def writes(self) -> Sequence[str]:
        return (self.column,)

    @property
    def drops_rows(self) -> bool:
        return True

    def schema(self, given: Schema) -> Schema:
        return {**given, self.column: ColumnType("Image")}

    def collect(self, batch: Batch, before: Record | None) -> Record:
        column = batch.columns[self.column]
        assert isinstance(column, Blobs)
        sizes = set()
        for data in column.values:
            try:
                if data is not None:
                    sizes.add(size_of(data))
            except BadImage:
                continue  # its row is bad once the step is fitted
        record = _sizes_record(sizes)
        return record if before is None else self.merge([before, record])

    def merge(self, records: Sequence[Record]) -> Record:
        return _sizes_record(
            {(height, width) for record in records for height, width in record.notes["sizes"]}
        )

    def next(self, total: Record | None) -> Fitted:
        sizes = [] if total is None else total.notes["sizes"]
        if not sizes:
            raise StepProblem(
                f"the training rows have no image in column {self.column} that can be decoded", "column"
            )
        if len(sizes) > 1:
            told = " and ".join(f"{height} × {width}" for height, width in sizes)
            raise StepProblem(
                f"the images of column {self.column} are of several sizes, {told} pixels for two: give resize or crop",
                "resize",
            )
        ((height, width),) = sizes
        return Images(self.column, self.shape, (height, width))

    def record(self) -> Record:
        return Record({"column": self.column, "shape": asdict(self.shape)})

    @classmethod
    def of_record(cls, record: Record) -> "ImageFit":
        return cls(str(record.notes["column"]), _shape_of(record))


def _sizes_record(sizes: set[tuple[int, int]]) -> Record:
    # Two of them tell that there are several.
    return Record({"sizes": [list(size) for size in sorted(sizes)[:2]]})


def _shape_of(record: Record) -> Shape:
    shape = record.notes["shape"]
    return Shape(int(shape["channels"]), _size(shape["resize"]), _size(shape["crop"]))


@dataclass(frozen=True, slots=True)
class Images(Fitted):
    """A column of images becomes uint8 [n, height, width, channels]. A row without one, or with one that cannot be
    decoded or is of another size, is bad."""

    column: str
    shape: Shape
    size: tuple[int, int]
    """Height and width of what comes out."""
    name: ClassVar[str] = "image"

    def reads(self) -> Sequence[str]:
        return (self.column,)

    def writes(self) -> Sequence[str]:
        return (self.column,)

    @property
    def drops_rows(self) -> bool:
        return True

    def schema(self, given: Schema) -> Schema:
        return {**given, self.column: ColumnType("Image", shape=(*self.size, self.shape.channels))}

    def apply(self, batch: Batch) -> Applied:
        column = batch.columns[self.column]
        made = np.zeros((len(batch), *self.size, self.shape.channels), np.uint8)
        bad: dict[str, list[int]] = {}
        if isinstance(column, np.ndarray) and self._as_it_is(column):
            made = column
        else:
            for row in range(len(batch)):
                try:
                    made[row] = self._pixels(column, row)
                except BadImage as error:
                    bad.setdefault(str(error), []).append(row)
        refused = [
            Refused(self.column, reason, np.isin(np.arange(len(batch)), rows)) for reason, rows in bad.items()
        ]
        after: dict[str, Column] = {self.column: made}
        return without(batch, batch.changed(after), refused)

    def _as_it_is(self, column: np.ndarray) -> bool:
        return column.shape[1:] == (*self.size, self.shape.channels)

    def _pixels(self, column: Column, row: int) -> np.ndarray:
        """uint8 [height, width, channels] of a row. Raises BadImage."""
        if isinstance(column, Blobs):
            data = column.values[row]
            if data is None:
                raise BadImage(_MISSING)
            pixels = self.shape.pixels(data)
        else:
            assert isinstance(column, np.ndarray)
            if column.dtype != np.uint8:
                raise BadImage(f"its samples are {column.dtype}, and bytes are needed")
            pixels = self.shape.of_array(column[row])
        if pixels.shape[:2] != self.size:
            raise BadImage(
                f"it has {pixels.shape[0]} × {pixels.shape[1]} pixels, and those of training {self.size[0]} × "
                f"{self.size[1]}: give resize or crop"
            )
        return pixels

    def record(self) -> Record:
        return Record({"column": self.column, "shape": asdict(self.shape), "size": list(self.size)})

    @classmethod
    def of_record(cls, record: Record) -> "Images":
        height, width = record.notes["size"]
        return cls(str(record.notes["column"]), _shape_of(record), (int(height), int(width)))
