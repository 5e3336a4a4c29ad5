"""NumPy's .npz archives, read as streams: no array is ever in memory as a whole, and nothing is unpickled."""

import math
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import IO, Literal

import numpy as np

from sapflow.data.chunks import Chunk, Part, Source, rows_per_chunk
from sapflow.data.data_file import DataFile
from sapflow.data.options import FileOptions, parse
from sapflow.errors import DataError

NAMES = (
    ("x", "y"),
    ("X", "Y"),
    ("X", "y"),
    ("data", "target"),
    ("features", "labels"),
    ("features", "targets"),
)
SKIP_ROWS = 256
SPLIT_NAMES = (("x_train", "y_train"), ("x_test", "y_test"))


class NpzOptions(FileOptions):
    """`features` and `targets` name the arrays if their names are unusual (usual ones: x and y, data and target …)."""

    features: str | None = None
    targets: str | None = None


def source(
    files: Sequence[DataFile], options: Mapping[str, object], training: Source | None = None
) -> Source:
    """Archives with an array of features [n, …] and one of targets [n] or [n, k]; x_test and y_test are the
    validation set, and may be alone where these files are for validation only: then `training` is the source of the
    samples for training.

    Raises DataError.
    """
    chosen = parse(NpzOptions, options, "the format npz")
    pairs = [(file, *pair) for file in files for pair in pairs_of(file, chosen, alone=training is not None)]
    ordered = sorted(pairs, key=lambda pair: pair[1])

    def chunks() -> Iterator[Chunk]:
        for file, part, features, targets in ordered:
            for chunk in _samples(file, part, features, targets):
                yield replace(chunk, targets=chosen.numbered(chunk.targets, chunk.origin, chunk.row))

    return chosen.source(
        files[0].name,
        chunks,
        brings_validation={part for _, part, _, _ in pairs} == {"train", "validation"},
    )


def pairs_of(file: DataFile, options: NpzOptions, *, alone: bool) -> list[tuple[Part, str, str]]:
    """(part, features, targets) of each pair in an archive; `alone` as in `pairs_among`. Raises DataError."""
    try:
        with file.open() as stream, zipfile.ZipFile(stream) as archive:
            names = {name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")}
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise DataError(f"{file.name} is no whole .npz archive: {error}") from error
    return pairs_among(names, options, file.name, alone=alone)


def pairs_among(
    names: Collection[str], options: NpzOptions, origin: str, *, alone: bool = False
) -> list[tuple[Part, str, str]]:
    """Which of these arrays are features and targets of which part; `alone`: a validation set may be without one for
    training.

    Raises DataError: none, or half a pair named.
    """
    if (options.features is None) != (options.targets is None):
        raise DataError(f"options of {origin}: features and targets name a pair; give both or neither")
    if options.features is not None and options.targets is not None:
        wanted: tuple[tuple[str, str], ...] = ((options.features, options.targets),)
    else:
        wanted = NAMES
        if {*SPLIT_NAMES[0]} <= {*names}:
            train: list[tuple[Part, str, str]] = [("train", *SPLIT_NAMES[0])]
            return [*train, ("validation", *SPLIT_NAMES[1])] if {*SPLIT_NAMES[1]} <= {*names} else train
        if alone and {*SPLIT_NAMES[1]} <= {*names}:
            return [("validation", *SPLIT_NAMES[1])]
    for pair in wanted:
        if {*pair} <= {*names}:
            return [("train", *pair)]
    raise DataError(
        f"{origin} has the arrays {', '.join(sorted(names)) or 'none'}; a pair such as "
        f"{' or '.join('{}, {}'.format(*pair) for pair in wanted)} is needed "
        "(options features and targets name it)"
    )


def _samples(file: DataFile, part: Part, features: str, targets: str) -> Iterator[Chunk]:
    with ExitStack() as stack:
        archive = stack.enter_context(zipfile.ZipFile(stack.enter_context(file.open())))
        x = NpzArray(file, features, stack.enter_context(archive.open(f"{features}.npy")), "features")
        y = NpzArray(file, targets, stack.enter_context(archive.open(f"{targets}.npy")), "targets")
        if len(x.shape) < 2:
            raise DataError(f"{x.origin} has shape {list(x.shape)}; features must be [samples, …]")
        if len(y.shape) not in (1, 2):
            raise DataError(
                f"{y.origin} has shape {list(y.shape)}; targets must be [samples] or [samples, k]"
            )
        if x.shape[0] != y.shape[0]:
            raise DataError(f"{x.origin} has {x.shape[0]} samples, {y.origin} has {y.shape[0]}")
        rows = min(rows_per_chunk(array.shape[1:], array.dtype.itemsize, array.origin) for array in (x, y))
        for start in range(0, x.shape[0], rows):
            count = min(rows, x.shape[0] - start)
            yield Chunk(x.read(count), y.read(count), x.origin, start, part)
        x.end()
        y.end()


class NpzArray:
    """A member of an archive that is read front to back."""

    def __init__(
        self, file: DataFile, name: str, stream: IO[bytes], what: Literal["features", "targets"]
    ) -> None:
        self.origin = f"{file.name}: array {name}"
        self._stream, self._row = stream, 0
        try:
            version = np.lib.format.read_magic(stream)
            if version not in ((1, 0), (2, 0)):
                raise ValueError(f"version {version} of the .npy format")
            reader = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            self.shape, fortran, self.dtype = reader(stream)
        except (ValueError, zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
            raise DataError(f"{self.origin} has a broken header: {error}") from error
        if self.dtype.kind not in ("buif" if what == "features" else "buifU"):
            raise DataError(
                f"{self.origin} is of type {self.dtype}; it must hold numbers, or words of type str as targets "
                "(nothing is unpickled)"
            )
        if fortran and len(self.shape) > 1:
            raise DataError(
                f"{self.origin} is stored by columns and cannot be read sample by sample; "
                "save np.ascontiguousarray(array)"
            )

    def skip(self, count: int) -> None:
        """Pass over rows."""
        for at in range(0, count, SKIP_ROWS):
            self.read(min(SKIP_ROWS, count - at))

    def read(self, count: int) -> np.ndarray:
        """The next rows."""
        shape = (count, *self.shape[1:])
        size = math.prod(shape) * self.dtype.itemsize
        data = self._bytes(size)
        if len(data) != size:
            row = self._row + len(data) * count // max(size, 1)
            raise DataError(f"{self.origin} ends within row {row} of {self.shape[0]}")
        self._row += count
        return np.frombuffer(data, self.dtype).reshape(shape)

    def end(self) -> None:
        """Read past the last row, because only then the member's checksum is verified."""
        if self._bytes(1):
            raise DataError(f"{self.origin} goes on after its last row, {self.shape[0] - 1}")

    def _bytes(self, count: int) -> bytes:
        try:
            return self._stream.read(count)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
            raise DataError(f"{self.origin} is corrupt after row {self._row}: {error}") from error
