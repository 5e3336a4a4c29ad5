"""NumPy's archives are rows of their arrays."""

import io

import numpy as np
import pytest

from sapflow.data.data_file import DataFile
from sapflow.errors import DataError
from sapflow.preparation.batch import Text
from sapflow.preparation.reading import npz_reader
from sapflow.preparation.reading.npz_reader import NpzReader
from sapflow.preparation.reading.reader import Asked, Parsed, Plan

READER = NpzReader()


def archive(**arrays: np.ndarray) -> list[DataFile]:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]  # numpy's own keywords are no arrays
    data = stream.getvalue()
    return [DataFile("a.npz", len(data), lambda: io.BytesIO(data))]


def read(files: list[DataFile]) -> tuple[list[Parsed], Plan]:
    plan = Plan.model_validate_json(READER.survey(files, Asked()).model_dump_json())
    return [
        each for number in range(len(plan.partitions)) for each in READER.batches(files, plan, number)
    ], plan


@pytest.mark.parametrize("size", [8, 60, 10**6])
def test_rows_are_the_same_for_every_partitioning(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz_reader, "PARTITION_BYTES", size)
    monkeypatch.setattr(npz_reader, "BATCH_BYTES", 48)
    x = np.random.default_rng(0).normal(size=(11, 2))
    x[3, 1], x[5, 0] = np.nan, np.inf
    files = archive(x=x, y=np.arange(11))
    parsed, plan = read(files)
    good = np.arange(11) != 5
    assert {each.name: (each.kind, each.width) for each in plan.columns} == {
        "x": ("Number", 2),
        "y": ("Number", 1),
    }
    np.testing.assert_array_equal(
        np.concatenate([np.asarray(each.batch.columns["x"]) for each in parsed]), x[good]
    )
    np.testing.assert_array_equal(
        np.concatenate([np.asarray(each.batch.columns["y"]) for each in parsed]), np.arange(11)[good]
    )
    (rejected,) = [bad for each in parsed for bad in each.rejected]
    assert (rejected.line, rejected.column, rejected.reason) == (6, "x", "inf is not a finite number")
    every = list(READER.batches(files, plan, 0))
    for first in range(len(every) + 1):
        later = [each.batch.numbers.tolist() for each in READER.batches(files, plan, 0, first)]
        assert later == [each.batch.numbers.tolist() for each in every[first:]]


def test_images_and_words_of_two_sets() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 2), dtype=np.uint8)
    words = np.array(["a", "b", "NA", "a", "c"])
    parsed, plan = read(archive(x_train=images[:3], y_train=words[:3], x_test=images[3:], y_test=words[3:]))
    assert plan.types["x"].shape == (3, 2, 1)
    np.testing.assert_array_equal(
        np.concatenate([np.asarray(each.batch.columns["x"]) for each in parsed])[..., 0], images
    )
    texts = [each.batch.columns[name] for name in ("y", "set") for each in parsed]
    assert [word for text in texts if isinstance(text, Text) for word in text.values()] == [
        "a", "b", None, "a", "c", "train", "train", "train", "validation", "validation",
    ]  # fmt: skip


def test_what_does_not_fit_is_told_in_words() -> None:
    with pytest.raises(DataError, match="they must be of one length"):
        read(archive(x=np.zeros((3, 2)), y=np.zeros(2)))
    with pytest.raises(DataError, match="rows are prepared of numbers"):
        read(archive(x=np.zeros((3, 2, 2, 2)), y=np.zeros(3)))
