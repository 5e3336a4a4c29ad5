"""CIFAR-10's binary files: records of a label byte and a 3×32×32 image, red, green and blue planes."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from sapflow.data.chunks import CHUNK_BYTES, Chunk, Part, Source
from sapflow.data.data_file import DataFile
from sapflow.data.options import Options, parse
from sapflow.errors import DataError

SHAPE = (3, 32, 32)
RECORD = 1 + 3 * 32 * 32
CLASSES = 10
VALIDATION = "test_batch.bin"


def source(
    files: Sequence[DataFile], options: Mapping[str, object], training: Source | None = None
) -> Source:
    """The files `data_batch_*.bin`, and `test_batch.bin` as the validation set if it is there.

    `training`: the source of the samples for training, where these files are for validation only; then `test_batch.bin`
    may be alone. Raises DataError.
    """
    parse(Options, options, "the format cifar")
    files = [file for file in files if file.name.endswith(".bin")]
    train = [file for file in files if file.base != VALIDATION]
    if not train and (training is None or not files):
        raise DataError("the format cifar needs files named data_batch_1.bin and so on; none was found")
    for file in files:
        if file.size % RECORD:
            raise DataError(
                f"{file.name} has {file.size} bytes, no multiple of {RECORD}: its last record, at offset "
                f"{file.size - file.size % RECORD}, is cut off"
            )
    validation = [file for file in files if file.base == VALIDATION]

    def chunks() -> Iterator[Chunk]:
        for file in train:
            yield from _records(file, "train")
        for file in validation:
            yield from _records(file, "validation")

    return Source(
        files[0].name if not train else train[0].name,
        chunks,
        task="classification",
        classes=CLASSES,
        brings_validation=bool(train and validation),
    )


def _records(file: DataFile, part: Part) -> Iterator[Chunk]:
    rows = CHUNK_BYTES // RECORD
    with file.open() as stream:
        for start in range(0, file.size // RECORD, rows):
            count = min(rows, file.size // RECORD - start)
            data = stream.read(count * RECORD)
            if len(data) != count * RECORD:
                raise DataError(f"{file.name} ends at offset {start * RECORD + len(data)} of {file.size}")
            records = np.frombuffer(data, np.uint8).reshape(count, RECORD)
            yield Chunk(records[:, 1:].reshape(count, *SHAPE), records[:, 0], file.name, start, part)
