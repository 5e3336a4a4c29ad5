"""NumPy's archives as rows of two columns, named as their arrays are; where there are two sets, with the set's name."""

import math
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import numpy as np

from sapflow.data.data_file import DataFile
from sapflow.data.formats.npz import NpzArray, NpzOptions, pairs_of
from sapflow.data.options import parse
from sapflow.errors import DataError
from sapflow.preparation.batch import BATCH_ROWS, Batch, Column, Origins, Text
from sapflow.preparation.reading import column_types
from sapflow.preparation.reading.reader import (
    PARTITION_BYTES,
    RAW_CHARACTERS,
    Asked,
    Parsed,
    Partition,
    Piece,
    Plan,
    PlannedColumn,
    Reader,
    Rejected,
)

SET = "set"
BATCH_BYTES = 16 << 20


class NpzReader(Reader):
    """Reads pairs of arrays: features [n, k] or images uint8 [n, height, width] or with 1 or 3 channels last, and
    targets. `x_train` and `x_test` are the column `x`."""

    format = "npz"

    def survey(self, files: Sequence[DataFile], asked: Asked) -> Plan:
        options = parse(NpzOptions, asked.options, "the format npz")
        columns: list[PlannedColumn] | None = None
        partitions, parts = [], set()
        for number, file in enumerate(files):
            for part, features, targets in pairs_of(file, options, alone=False):
                with ExitStack() as stack:
                    x, y = _arrays(stack, file, features, targets)
                found = [_planned(features, x), _planned(targets, y)]
                if columns is not None and found != columns:
                    raise DataError(
                        f"{file.name}: {features} and {targets} have other types or shapes than in {files[0].name}"
                    )
                columns = found
                parts.add(part)
                step = max(1, PARTITION_BYTES // _row_bytes(x))
                partitions += [
                    Partition(
                        pieces=(Piece(file=number, begin=begin, end=min(begin + step, x.shape[0])),),
                        notes={"part": part, "arrays": [features, targets]},
                    )
                    for begin in range(0, x.shape[0], step)
                ]
        assert columns is not None, "a source has files, and each a pair"
        if len(parts) > 1:
            columns.append(PlannedColumn(name=SET, kind="Text"))
        column_types.refuse_unknown(asked.columns, [each.name for each in columns], files[0].name)
        for each in columns:
            if asked.columns.get(each.name, each.kind) != each.kind:
                raise DataError(
                    f"prepare.columns: {each.name} of this archive is of type {each.kind}: leave it out"
                )
        return Plan(
            format=self.format,
            columns=tuple(columns),
            partitions=tuple(partitions),
            options=options.model_dump(),
            missing=tuple(asked.missing),
        )

    def batches(self, files: Sequence[DataFile], plan: Plan, number: int, first: int = 0) -> Iterator[Parsed]:
        partition = plan.partitions[number]
        (piece,) = partition.pieces
        features, targets = partition.notes["arrays"]
        file = files[piece.file]
        with ExitStack() as stack:
            x, y = _arrays(stack, file, features, targets)
            size = max(1, min(BATCH_ROWS, BATCH_BYTES // _row_bytes(x)))
            begin = min(piece.begin + first * size, piece.end)
            x.skip(begin)
            y.skip(begin)
            for at in range(begin, piece.end, size):
                rows = min(size, piece.end - at)
                columns: dict[str, Column] = {
                    each.name: _column(array.read(rows), each, plan.missing)
                    for each, array in zip(plan.columns[:2], (x, y), strict=True)
                }
                if len(plan.columns) > 2:
                    columns[SET] = Text(np.zeros(rows, np.int32), (partition.notes["part"],))
                numbers = np.arange(at - piece.begin, at - piece.begin + rows)
                origins = Origins.counted(file.name, at - piece.begin, at)
                batch = Batch(columns, numbers, number, origins=origins)
                yield _finite(batch, file, at)


def _finite(batch: Batch, file: DataFile, first: int) -> Parsed:
    """The rows without infinite numbers, and the others as rejected ones. `first` is the place of the first."""
    bad: dict[int, Rejected] = {}
    for name, column in batch.columns.items():
        if not isinstance(column, np.ndarray) or column.dtype != np.float64:
            continue
        wide = column.reshape(len(column), -1)
        for row in np.flatnonzero(np.isinf(wide).any(axis=1)).tolist():
            value = str(wide[row][np.isinf(wide[row])][0])
            reason = f"{value} is not a finite number"
            raw = str(column[row].tolist())[:RAW_CHARACTERS]
            bad.setdefault(
                row, Rejected(int(batch.numbers[row]), file.name, first + row + 1, name, reason, raw)
            )
    if not bad:
        return Parsed(batch)
    good = np.ones(len(batch), bool)
    good[list(bad)] = False
    return Parsed(batch.take(good), tuple(bad[row] for row in sorted(bad)))


def _arrays(stack: ExitStack, file: DataFile, features: str, targets: str) -> tuple[NpzArray, NpzArray]:
    """The arrays of a pair, open at their first rows. Raises DataError where their lengths differ."""
    try:
        archive = stack.enter_context(zipfile.ZipFile(stack.enter_context(file.open())))
        x_stream = stack.enter_context(archive.open(f"{features}.npy"))
        y_stream = stack.enter_context(archive.open(f"{targets}.npy"))
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise DataError(f"{file.name} is no readable .npz archive: {error}") from error
    x, y = NpzArray(file, features, x_stream, "features"), NpzArray(file, targets, y_stream, "targets")
    if not x.shape or not y.shape or x.shape[0] != y.shape[0]:
        raise DataError(
            f"{x.origin} has shape {list(x.shape)}, {y.origin} {list(y.shape)}: they must be of one length"
        )
    return x, y


def _planned(name: str, array: NpzArray) -> PlannedColumn:
    """What an array is read as. Raises DataError."""
    name = name.removesuffix("_train").removesuffix("_test")
    shape = array.shape[1:]
    if array.dtype.kind == "U" and not shape:
        return PlannedColumn(name=name, kind="Text")
    if array.dtype.kind in "buif" and len(shape) <= 1:
        return PlannedColumn(name=name, kind="Number", width=shape[0] if shape else 1)
    if array.dtype == np.uint8 and (len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3))):
        return PlannedColumn(name=name, kind="Image", shape=(*shape, 1)[:3])
    raise DataError(
        f"{array.origin} is {array.dtype} of shape {list(array.shape)}: rows are prepared of numbers [n] or [n, k], "
        "words [n], or images uint8 [n, height, width] or with 1 or 3 channels last"
    )


def _column(values: np.ndarray, column: PlannedColumn, missing: Sequence[str]) -> Column:
    if column.kind == "Text":
        return Text.of([None if word in missing else word for word in values.tolist()])
    if column.kind == "Image":
        return values.reshape(len(values), *column.shape)
    numbers = values.astype(np.float64)
    # A vector of one number is a number.
    return numbers.reshape(len(numbers)) if column.width == 1 else numbers


def _row_bytes(array: NpzArray) -> int:
    """Bytes of a row as it is held: numbers as float64."""
    size = 1 if array.dtype == np.uint8 and len(array.shape) > 2 else 8
    return max(1, math.prod(array.shape[1:]) * size)
