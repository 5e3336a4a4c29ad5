"""IDX files, the format of MNIST, as rows of an image and its label; where there are two sets, with the set's name."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from sapflow.data.data_file import DataFile
from sapflow.data.files import unpacked
from sapflow.data.formats.idx import IdxArray, Pair, pairs_of
from sapflow.data.options import Options, parse
from sapflow.errors import DataError
from sapflow.preparation.batch import Batch, Column, Origins, Text
from sapflow.preparation.reading import column_types
from sapflow.preparation.reading.reader import (
    PARTITION_BYTES,
    Asked,
    Parsed,
    Partition,
    Piece,
    Plan,
    PlannedColumn,
    Reader,
)

IMAGE, LABEL, SET = "image", "label", "set"
BATCH_BYTES = 16 << 20
_BATCH_ROWS = 65_536


class IdxOptions(Options):
    """IDX says of itself how it is written."""


class IdxReader(Reader):
    """Reads pairs of IDX files. A piece is rows of the pair whose images are its file."""

    format = "idx"

    def survey(self, files: Sequence[DataFile], asked: Asked) -> Plan:
        parse(IdxOptions, asked.options, "the format idx")
        pairs = pairs_of(files)
        shapes = [_shape(pair) for pair in pairs]
        if len({shape[1:] for shape in shapes}) > 1:
            raise DataError(
                f"{pairs[0].images.name} has images of {shapes[0][1:]}, {pairs[1].images.name} of {shapes[1][1:]}: "
                "images of one source have one size"
            )
        columns = [
            PlannedColumn(name=IMAGE, kind="Image", shape=shapes[0][1:]),
            PlannedColumn(name=LABEL, kind="Number"),
        ]
        if len({pair.part for pair in pairs}) > 1:
            columns.append(PlannedColumn(name=SET, kind="Text"))
        column_types.refuse_unknown(asked.columns, [each.name for each in columns], pairs[0].images.name)
        for each in columns:
            if asked.columns.get(each.name, each.kind) != each.kind:
                raise DataError(
                    f"prepare.columns: {each.name} of IDX files is of type {each.kind}: leave it out"
                )
        rows = max(1, PARTITION_BYTES // math.prod(shapes[0][1:]))
        partitions = [
            Partition(
                pieces=(Piece(file=files.index(pair.images), begin=begin, end=min(begin + rows, shape[0])),)
            )
            for pair, shape in zip(pairs, shapes, strict=True)
            for begin in range(0, shape[0], rows)
        ]
        return Plan(format=self.format, columns=tuple(columns), partitions=tuple(partitions))

    def batches(self, files: Sequence[DataFile], plan: Plan, number: int, first: int = 0) -> Iterator[Parsed]:
        (piece,) = plan.partitions[number].pieces
        pair = next(each for each in pairs_of(files) if each.images == files[piece.file])
        shape = plan.columns[0].shape
        size = max(1, min(_BATCH_ROWS, BATCH_BYTES // math.prod(shape)))
        with unpacked(pair.images) as image_stream, unpacked(pair.labels) as label_stream:
            images, labels = IdxArray(pair.images, image_stream), IdxArray(pair.labels, label_stream)
            begin = min(piece.begin + first * size, piece.end)
            images.skip(begin)
            labels.skip(begin)
            for at in range(begin, piece.end, size):
                rows = min(size, piece.end - at)
                columns: dict[str, Column] = {
                    IMAGE: images.read(rows).reshape(rows, *shape),
                    LABEL: labels.read(rows).astype(np.float64),
                }
                if len(plan.columns) > 2:
                    columns[SET] = Text(np.zeros(rows, np.int32), (pair.part,))
                numbers = np.arange(at - piece.begin, at - piece.begin + rows)
                origins = Origins.counted(pair.images.name, at - piece.begin, at)
                yield Parsed(Batch(columns, numbers, number, origins=origins))


def _shape(pair: Pair) -> tuple[int, int, int, int]:
    """[rows, height, width, channels] of a pair. Raises DataError where it is no pair of images and labels."""
    with unpacked(pair.images) as image_stream, unpacked(pair.labels) as label_stream:
        images, labels = IdxArray(pair.images, image_stream), IdxArray(pair.labels, label_stream)
    if (
        images.dtype != np.uint8
        or len(images.shape) not in (3, 4)
        or (images.shape[3:] or (1,))[0] not in (1, 3)
    ):
        raise DataError(
            f"{pair.images.name} holds {images.dtype} of shape {list(images.shape)}: images are uint8 "
            "[n, height, width], or have 1 or 3 channels last"
        )
    if len(labels.shape) != 1 or labels.shape[0] != images.shape[0]:
        raise DataError(
            f"{pair.labels.name} has labels of shape {list(labels.shape)} for {images.shape[0]} images"
        )
    count, height, width, *channels = images.shape
    return count, height, width, channels[0] if channels else 1
