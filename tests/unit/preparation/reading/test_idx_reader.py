"""IDX files are rows of decoded images and their labels."""

import gzip
import io
import struct

import numpy as np
import pytest

from sapflow.data.data_file import DataFile
from sapflow.errors import DataError
from sapflow.preparation.batch import Text
from sapflow.preparation.reading import idx_reader
from sapflow.preparation.reading.idx_reader import IdxReader
from sapflow.preparation.reading.reader import Asked, Plan

READER = IdxReader()


def data_file(name: str, data: bytes) -> DataFile:
    return DataFile(name, len(data), lambda: io.BytesIO(data))


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def files_of(name: str, images: np.ndarray, packed: bool = False) -> list[DataFile]:
    labels = np.arange(len(images), dtype=np.uint8)
    ending, pack = (".gz", gzip.compress) if packed else ("", bytes)
    return [
        data_file(f"{name}-images-idx3-ubyte{ending}", pack(idx(images))),
        data_file(f"{name}-labels-idx1-ubyte{ending}", pack(idx(labels))),
    ]


IMAGES = np.random.default_rng(0).integers(0, 256, (11, 3, 2), dtype=np.uint8)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("size", [6, 20, 10**6])
def test_rows_are_the_same_for_every_partitioning(
    size: int, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idx_reader, "PARTITION_BYTES", size)
    monkeypatch.setattr(idx_reader, "BATCH_BYTES", 12)
    files = files_of("train", IMAGES, packed)
    plan = Plan.model_validate_json(READER.survey(files, Asked()).model_dump_json())
    assert plan.types["image"].shape == (3, 2, 1)
    batches = [
        each.batch for number in range(len(plan.partitions)) for each in READER.batches(files, plan, number)
    ]
    images = np.concatenate([np.asarray(each.columns["image"]) for each in batches])
    np.testing.assert_array_equal(images[..., 0], IMAGES)
    labels = np.concatenate([np.asarray(each.columns["label"]) for each in batches])
    np.testing.assert_array_equal(labels, np.arange(11.0))
    every = list(READER.batches(files, plan, 0))
    for first in range(len(every) + 1):
        later = [each.batch.numbers.tolist() for each in READER.batches(files, plan, 0, first)]
        assert later == [each.batch.numbers.tolist() for each in every[first:]]


def test_two_sets_are_told_apart_by_a_column() -> None:
    files = files_of("train", IMAGES) + files_of("t10k", IMAGES[:4])
    plan = READER.survey(files, Asked())
    sets: list[str | None] = []
    for number in range(len(plan.partitions)):
        for each in READER.batches(files, plan, number):
            column = each.batch.columns["set"]
            assert isinstance(column, Text)
            sets += column.values()
    assert sets == ["train"] * 11 + ["validation"] * 4


def test_what_does_not_fit_is_told_in_words() -> None:
    with pytest.raises(DataError, match="label of IDX files is of type Number"):
        READER.survey(files_of("train", IMAGES), Asked(columns={"label": "Text"}))
    with pytest.raises(DataError, match="images of one source have one size"):
        READER.survey(files_of("train", IMAGES) + files_of("t10k", IMAGES[:, :2]), Asked())
