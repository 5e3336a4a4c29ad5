"""The beginning of gzip files is read as partitions of what is unpacked, and tells how much the rest will be."""

import gzip
import io
import random
from collections.abc import Iterator

import numpy as np
import pytest
from helpers.packed import small_partitions

from sapflow.data.data_file import DataFile
from sapflow.errors import DataError
from sapflow.preparation.reading.csv_reader import CsvReader
from sapflow.preparation.reading.gzip_beginning import unpacked_beginning
from sapflow.preparation.reading.reader import Asked, Plan

PARTITION, CHUNK = 1 << 17, 1 << 14
READER = CsvReader()


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    with small_partitions(PARTITION, CHUNK):
        yield


def table(rows: int, seed: int = 1) -> bytes:
    drawn = random.Random(seed)
    return ("n,t\n" + "".join(f"{row},{drawn.random():.6f}\n" for row in range(rows))).encode()


def file_of(name: str, data: bytes) -> DataFile:
    return DataFile(name, len(data), lambda: io.BytesIO(data))


def planned(files: list[DataFile], partitions: int) -> tuple[list[DataFile], Plan]:
    plan = READER.survey(files, Asked())
    found, sizes = unpacked_beginning(files, plan.to_index, partitions)
    return found, READER.partitioned(found, plan.model_copy(update={"to_index": (), "unpacked": sizes}))


def rows_of(files: list[DataFile], plan: Plan, partitions: int) -> np.ndarray:
    """The first column of the first partitions."""
    kept = plan.model_copy(
        update={
            "partitions": plan.partitions[: partitions + 1],
            "to_scan": tuple(number for number in plan.to_scan if number <= partitions),
        }
    )
    exact = READER.cut(kept, [READER.scan(files, kept, number) for number in kept.to_scan])
    found = [
        np.asarray(parsed.batch.columns["n"])
        for number in range(min(partitions, len(exact.partitions)))
        for parsed in READER.batches(files, exact, number)
    ]
    return np.concatenate(found)


@pytest.mark.parametrize("partitions", [1, 2, 3])
def test_the_first_partitions_are_those_of_the_file_before_it_was_packed(partitions: int) -> None:
    text = table(120_000)
    plain = [file_of("a.csv", text)]
    expected = rows_of(plain, READER.survey(plain, Asked()), partitions)
    files, plan = planned([file_of("a.csv.gz", gzip.compress(text))], partitions)
    assert len(plan.partitions) == pytest.approx(len(text) / PARTITION, rel=0.1)
    np.testing.assert_array_equal(rows_of(files, plan, partitions), expected)


def test_small_files_are_unpacked_until_there_are_enough_and_the_others_are_taken_to_be_like_them() -> None:
    texts = [table(9_000, seed) for seed in range(30)]
    files, plan = planned([file_of(f"{n}.csv.gz", gzip.compress(each)) for n, each in enumerate(texts)], 2)
    plain = [file_of(f"{number}.csv", each) for number, each in enumerate(texts)]
    assert plan.unpacked[0] == len(texts[0])
    assert sum(plan.unpacked.values()) == pytest.approx(sum(map(len, texts)), rel=0.02)
    expected = READER.survey(plain, Asked())
    np.testing.assert_array_equal(rows_of(files, plan, 2), rows_of(plain, expected, 2))
    assert len(plan.partitions) == pytest.approx(len(expected.partitions), rel=0.1)


def test_a_file_that_is_shorter_is_known_to_its_end() -> None:
    text = table(100)
    files, plan = planned([file_of("a.csv.gz", gzip.compress(text))], 2)
    assert plan.unpacked == {0: len(text)}
    assert len(plan.partitions) == 1
    assert len(rows_of(files, plan, 2)) == 100


def test_more_than_the_beginning_cannot_be_read() -> None:
    files, plan = planned([file_of("a.csv.gz", gzip.compress(table(120_000)))], 1)
    with pytest.raises(DataError, match=r"a\.csv\.gz was unpacked at its beginning alone"):
        READER.scan(files, plan, len(plan.partitions) - 1)


def test_a_file_that_is_cut_off_within_the_beginning_is_told() -> None:
    packed = gzip.compress(table(20_000))
    with pytest.raises(DataError, match=r"a\.csv\.gz is corrupt: .* copy it anew"):
        planned([file_of("a.csv.gz", packed[: len(packed) // 2])], 2)
