"""IDX files, the format of MNIST: a file of images and a file of labels, gzipped or not.

A header has two zero bytes, a byte for the type, the number of dimensions, and each as a big-endian uint32
(http://yann.lecun.com/exdb/mnist/).
"""

import math
import re
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np

from sapflow.data.chunks import Chunk, Part, Source, rows_per_chunk
from sapflow.data.data_file import DataFile
from sapflow.data.files import unpacked
from sapflow.data.options import FileOptions, parse
from sapflow.errors import DataError

TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
NAME = re.compile(r"(?P<set>.*?)(?P<kind>images|labels)[-.]idx\d-ubyte(\.gz)?$")
SKIP_BYTES = 1 << 20
VALIDATION = re.compile(r"(t10k|test)[-_.]?$")


@dataclass(frozen=True, slots=True)
class Pair:
    """A file of images and that of their labels."""

    part: Part
    images: DataFile
    labels: DataFile


def source(
    files: Sequence[DataFile], options: Mapping[str, object], training: Source | None = None
) -> Source:
    """Pairs such as `train-images-idx3-ubyte.gz` and `train-labels-idx1-ubyte.gz`; t10k is the validation set, and may
    be alone where these files are for validation only: then `training` is the source of the samples for training.

    Images of two dimensions get a channel dimension: [n, 1, rows, columns]. Raises DataError.
    """
    chosen = parse(FileOptions, options, "the format idx")
    pairs = pairs_of(files)
    if training is None and all(pair.part == "validation" for pair in pairs):
        raise DataError(
            f"{pairs[0].images.name} is a validation set; train-images-idx3-ubyte is not beside it"
        )

    def chunks() -> Iterator[Chunk]:
        for pair in pairs:
            for chunk in _samples(pair):
                yield replace(chunk, targets=chosen.numbered(chunk.targets, chunk.origin, chunk.row))

    return chosen.source(
        pairs[0].images.name,
        chunks,
        brings_validation={pair.part for pair in pairs} == {"train", "validation"},
    )


def pairs_of(files: Sequence[DataFile]) -> list[Pair]:
    """The pairs among some files, those for training first. Raises DataError."""
    sets: dict[str, dict[str, DataFile]] = {}
    for file in files:
        if match := NAME.match(file.base):
            kinds = sets.setdefault(match["set"], {})
            if match["kind"] in kinds:
                raise DataError(
                    f"{kinds[match['kind']].name} and {file.name} are the same set; keep one of them"
                )
            kinds[match["kind"]] = file
    if not sets:
        raise DataError(
            "the format idx needs files named train-images-idx3-ubyte and train-labels-idx1-ubyte (or .gz); "
            f"found {', '.join(file.name for file in files[:5])}"
        )
    pairs = []
    for name, kinds in sorted(sets.items()):
        if len(kinds) < 2:
            missing = "labels" if "images" in kinds else "images"
            raise DataError(f"{next(iter(kinds.values())).name}: the file of its {missing} is not beside it")
        part: Part = "validation" if VALIDATION.search(name) else "train"
        pairs.append(Pair(part, kinds["images"], kinds["labels"]))
    return sorted(pairs, key=lambda pair: pair.part)


def _samples(pair: Pair) -> Iterator[Chunk]:
    with ExitStack() as stack:
        images = IdxArray(pair.images, stack.enter_context(unpacked(pair.images)))
        labels = IdxArray(pair.labels, stack.enter_context(unpacked(pair.labels)))
        if len(images.shape) < 2:
            raise DataError(
                f"{pair.images.name} has {len(images.shape)} dimension(s); images have two or more"
            )
        if len(labels.shape) != 1:
            raise DataError(f"{pair.labels.name} has {len(labels.shape)} dimensions; labels have one")
        count = images.shape[0]
        if count != labels.shape[0]:
            raise DataError(
                f"{pair.images.name} has {count} images, {pair.labels.name} {labels.shape[0]} labels"
            )
        shape = images.shape[1:]
        rows = rows_per_chunk(shape, images.dtype.itemsize, pair.images.name)
        for start in range(0, count, rows):
            n = min(rows, count - start)
            features = images.read(n).reshape(n, *((1, *shape) if len(shape) == 2 else shape))
            yield Chunk(features, labels.read(n), pair.images.name, start, pair.part)
        images.end()
        labels.end()


class IdxArray:
    """An IDX file that is being read. The header is checked, and the size unless the file is compressed."""

    def __init__(self, file: DataFile, stream: BinaryIO) -> None:
        self._file, self._stream, self._offset = file, stream, 0
        zero, kind, dimensions = struct.unpack(">HBB", self._bytes(4))
        if zero or kind not in TYPES or not dimensions:
            raise DataError(
                f"{file.name} does not start as an IDX file: its magic number is {zero:04x}{kind:02x}…"
            )
        self.dtype = np.dtype(TYPES[kind])
        self.shape: tuple[int, ...] = struct.unpack(f">{dimensions}I", self._bytes(4 * dimensions))
        expected = self._offset + math.prod(self.shape) * self.dtype.itemsize
        if not file.name.endswith(".gz") and file.size != expected:
            raise DataError(
                f"{file.name} has {file.size} bytes where its header, for shape {list(self.shape)}, "
                f"says {expected}"
            )

    def skip(self, count: int) -> None:
        """Pass over samples."""
        left = count * math.prod(self.shape[1:]) * self.dtype.itemsize
        while left:
            left -= len(self._bytes(min(left, SKIP_BYTES)))

    def read(self, count: int) -> np.ndarray:
        """The next samples."""
        shape = (count, *self.shape[1:])
        return np.frombuffer(self._bytes(math.prod(shape) * self.dtype.itemsize), self.dtype).reshape(shape)

    def end(self) -> None:
        """Read past the last sample, because a gzip file's checksum comes after it."""
        try:
            surplus = self._stream.read(1)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{self._file.name} is corrupt after offset {self._offset}: {error}") from error
        if surplus:
            raise DataError(f"{self._file.name} goes on after its last sample, at offset {self._offset}")

    def _bytes(self, count: int) -> bytes:
        try:
            data = self._stream.read(count)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{self._file.name} is corrupt after offset {self._offset}: {error}") from error
        self._offset += len(data)
        if len(data) != count:
            raise DataError(f"{self._file.name} ends at offset {self._offset}, within its header or samples")
        return data
