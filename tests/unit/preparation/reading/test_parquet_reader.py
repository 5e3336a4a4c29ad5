"""Parquet files are read as pyarrow reads them, however they are cut into partitions."""

import datetime as dt
import io
import math
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sapflow.data.data_file import DataFile
from sapflow.data.files import local_file
from sapflow.errors import DataError
from sapflow.preparation.batch import Blobs, Text
from sapflow.preparation.reading import parquet_reader, pieces
from sapflow.preparation.reading.parquet_reader import ParquetReader
from sapflow.preparation.reading.reader import Asked, Plan, Rejected

READER = ParquetReader()


def parquet_file(name: str, table: pa.Table, rows: int = 3) -> DataFile:
    stream = io.BytesIO()
    pq.write_table(table, stream, row_group_size=rows)
    data = stream.getvalue()
    return DataFile(name, len(data), lambda: io.BytesIO(data))


def read(
    files: Sequence[DataFile], asked: Asked | None = None
) -> tuple[dict[str, list[Any]], list[Rejected], Plan]:
    plan = READER.survey(files, asked or Asked())
    plan = Plan.model_validate_json(plan.model_dump_json())
    columns: dict[str, list[Any]] = {column.name: [] for column in plan.columns}
    rejected: list[Rejected] = []
    for number in range(len(plan.partitions)):
        seen: list[int] = []
        for parsed in READER.batches(files, plan, number):
            assert list(parsed.batch.columns) == list(columns)
            for name, column in parsed.batch.columns.items():
                if isinstance(column, Text):
                    columns[name] += column.values()
                else:
                    columns[name] += list(column.values) if isinstance(column, Blobs) else column.tolist()
            rejected += parsed.rejected
            seen += parsed.batch.numbers.tolist() + [each.number for each in parsed.rejected]
        assert sorted(seen) == list(range(len(seen))), "each row is counted once"
    return columns, rejected, plan


def small(patch: pytest.MonkeyPatch, partition: int, rows: int) -> None:
    for module in (parquet_reader, pieces):
        patch.setattr(module, "PARTITION_BYTES", partition)
    patch.setattr(parquet_reader, "BATCH_ROWS", rows)


NUMBERS = st.none() | st.floats(allow_infinity=False)
WORDS = st.none() | st.text(max_size=5).filter(lambda word: word not in ("", "NA"))


@given(
    st.lists(st.tuples(NUMBERS, WORDS), max_size=20),
    st.integers(1, 7),
    st.integers(1, 600),
    st.integers(1, 5),
)
@settings(max_examples=25, deadline=None)
def test_rows_are_the_same_for_every_partitioning(
    rows: list[tuple[float | None, str | None]], group: int, partition: int, batch: int
) -> None:
    table = pa.table(
        {
            "n": pa.array([number for number, _ in rows], pa.float64()),
            "t": pa.array([word for _, word in rows], pa.string()),
        }
    )
    with pytest.MonkeyPatch.context() as patch:
        small(patch, partition, batch)
        columns, rejected, _ = read([parquet_file("a.parquet", table, group)])
    assert not rejected
    np.testing.assert_array_equal(
        np.array(columns["n"], float), np.array([math.nan if n is None else n for n, _ in rows])
    )
    assert columns["t"] == [word for _, word in rows]


def test_types_of_arrow_become_numbers_text_times_and_bytes() -> None:
    zone = dt.timezone(dt.timedelta(hours=2))
    table = pa.table(
        {
            "int": pa.array([1, None, -3], pa.int64()),
            "small": pa.array([1, 2, None], pa.uint8()),
            "single": pa.array([0.1, math.nan, None], pa.float32()),
            "truth": [True, None, False],
            "money": pa.array(
                [Decimal("123456789012345678.91"), None, Decimal("-0.10")], pa.decimal128(20, 2)
            ),
            "word": pa.array(["a", None, "b"]).dictionary_encode(),
            "day": pa.array([dt.date(2013, 1, 1), None, dt.date(1969, 12, 31)]),
            "naive": pa.array([dt.datetime(2013, 1, 1, 5, 0, 0, 1), None, None], pa.timestamp("us")),
            "zoned": pa.array(
                [dt.datetime(2013, 1, 1, 5, tzinfo=zone), None, None], pa.timestamp("ms", "Europe/Kyiv")
            ),
            "fine": pa.array([1_500, None, None], pa.timestamp("ns")),
            "bytes": pa.array([b"\x00a", None, b""], pa.binary()),
            "vector": pa.array([[1.0, 2.0], None, [3.0, None]]),
            "fixed": pa.array([[1, 2], [3, 4], [5, 6]], pa.list_(pa.int32(), 2)),
            "nested": pa.array([{"x": 1, "y": {"z": "q"}}, None, {"x": None, "y": None}]),
        }
    )
    columns, rejected, plan = read([parquet_file("a.parquet", table, 2)])
    assert not rejected
    kinds = {each.name: (each.kind, each.width) for each in plan.columns}
    assert kinds["vector"] == ("Number", 2)
    assert kinds["fixed"] == ("Number", 2)
    assert [name for name, (kind, _) in kinds.items() if kind == "Text"] == ["word", "nested.y.z"]
    assert [name for name, (kind, _) in kinds.items() if kind == "Time"] == ["day", "naive", "zoned", "fine"]
    nan = math.nan
    for name, wanted in {
        "int": [1, nan, -3],
        "small": [1, 2, nan],
        "single": [float(np.float32(0.1)), nan, nan],
        "truth": [1, nan, 0],
        "money": [float("123456789012345678.91"), nan, -0.1],
        "vector": [[1, 2], [nan, nan], [3, nan]],
        "fixed": [[1, 2], [3, 4], [5, 6]],
        "nested.x": [1, nan, nan],
    }.items():
        np.testing.assert_array_equal(np.array(columns[name], float), np.array(wanted, float), err_msg=name)
    assert columns["word"] == ["a", None, "b"]
    assert columns["nested.y.z"] == ["q", None, None]
    assert columns["bytes"] == [b"\x00a", None, b""]
    for name, wanted in {
        "day": ["2013-01-01", "NaT", "1969-12-31"],
        "naive": ["2013-01-01T05:00:00.000001", "NaT", "NaT"],
        "zoned": ["2013-01-01T03:00", "NaT", "NaT"],
        "fine": ["1970-01-01T00:00:00.000001", "NaT", "NaT"],
    }.items():
        np.testing.assert_array_equal(
            np.array(columns[name], "datetime64[us]"), np.array(wanted, "datetime64[us]"), err_msg=name
        )


def test_declared_types_are_cast_to_and_what_is_none_is_rejected() -> None:
    table = pa.table(
        {
            "n": ["1.5", "x", "NA", "4", "5", "nan"],
            "f": [1.0, 2.0, math.nan, math.inf, 5.0, 6.0],
            "t": [1, 2, 3, 4, 5, 6],
            "w": ["2013-01-01", "2013-01-02", "", "2013-01-04", "13/01/05", "2013-01-06"],
            "v": [[1.0], [1.0], [1.0], [1.0], [1.0], [1.0]],
        }
    )
    asked = Asked(columns={"n": "Number", "t": "Text", "w": "Time"})
    columns, rejected, _ = read([parquet_file("a.parquet", table)], asked)
    np.testing.assert_array_equal(columns["n"], [1.5, math.nan])
    assert columns["t"] == ["1", "3"]
    assert [(each.number, each.line, each.column, each.raw) for each in rejected] == [
        (1, 2, "n", "x"),
        (3, 4, "f", "inf"),
        (4, 5, "w", "13/01/05"),
        (5, 6, "n", "nan"),
    ]
    assert rejected[0].reason == "'x' is not a finite number"


def test_lists_of_another_length_are_rejected_rows() -> None:
    table = pa.table({"v": pa.array([[1.0, 2.0], [1.0], None, [1.0, math.inf], [3.0, 4.0]])})
    columns, rejected, _ = read([parquet_file("a.parquet", table)])
    np.testing.assert_array_equal(columns["v"], [[1, 2], [math.nan, math.nan], [3, 4]])
    assert [(each.line, each.reason) for each in rejected] == [
        (2, "[1.0] is no list of 2 finite numbers"),
        (4, "[1.0, inf] is no list of 2 finite numbers"),
    ]


def test_folders_of_hive_are_columns(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0], "year": [2012, 2013, 2013], "where": ["a b", "c/d", None]})
    pq.write_to_dataset(pa.Table.from_pandas(frame), tmp_path, partition_cols=["year", "where"])
    files = [local_file(path) for path in sorted(tmp_path.rglob("*.parquet"))]
    columns, _, plan = read(files)
    assert [(each.name, each.kind) for each in plan.columns] == [
        ("x", "Number"),
        ("year", "Number"),
        ("where", "Text"),
    ]
    rows = sorted(zip(columns["x"], columns["year"], columns["where"], strict=True), key=lambda row: row[0])
    assert rows == [(1.0, 2012.0, "a b"), (2.0, 2013.0, "c/d"), (3.0, 2013.0, None)]
    columns, _, _ = read(files, Asked(columns={"year": "Text"}))
    assert sorted(columns["year"]) == ["2012", "2013", "2013"]


def test_files_are_put_together_by_the_names_of_their_columns() -> None:
    files = [
        parquet_file("a.parquet", pa.table({"n": [1], "t": ["a"]})),
        parquet_file("b.parquet", pa.table({"t": ["b"], "n": [2.5]})),
    ]
    columns, _, plan = read(files)
    assert columns == {"n": [1.0, 2.5], "t": ["a", "b"]}
    assert len(plan.partitions) == 1
    with pytest.raises(DataError, match=r"c\.parquet lacks t, compared with"):
        read([files[0], parquet_file("c.parquet", pa.table({"n": [1]}))])


def test_a_batch_can_be_read_without_those_before(monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch, 10**6, 4)
    files = [parquet_file(f"{name}.parquet", pa.table({"n": list(range(11))}), 3) for name in "ab"]
    plan = READER.survey(files, Asked())
    every = list(READER.batches(files, plan, 0))
    assert [len(each.batch) for each in every] == [4, 4, 3, 4, 4, 3]
    for first in range(7):
        later = [each.batch.numbers.tolist() for each in READER.batches(files, plan, 0, first)]
        assert later == [each.batch.numbers.tolist() for each in every[first:]]


def test_large_rows_come_in_smaller_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_reader, "BATCH_BYTES", 5000)
    table = pa.table({"b": [np.random.default_rng(place).bytes(1000) for place in range(20)]})
    files = [parquet_file("a.parquet", table, 20)]
    plan = READER.survey(files, Asked())
    counts = [len(each.batch) for each in READER.batches(files, plan, 0)]
    assert sum(counts) == 20
    assert max(counts) <= 5


def test_a_local_file_is_read_where_it_lies(tmp_path: Path) -> None:
    path = tmp_path / "odd * [name]'.parquet"
    pq.write_table(pa.table({"n": [1, 2]}), path)
    columns, _, _ = read([local_file(path)])
    assert columns["n"] == [1.0, 2.0]


def test_what_pandas_keeps_as_index_is_no_column() -> None:
    frame = pd.DataFrame({"n": [1.0, 2.0]}, index=[5, 7])
    _, _, plan = read([parquet_file("a.parquet", pa.Table.from_pandas(frame))])
    assert [each.name for each in plan.columns] == ["n"]


@pytest.mark.parametrize(
    ("table", "asked", "message"),
    [
        (
            pa.table({"a": [1]}),
            Asked(columns={"b": "Text"}),
            "declares b, and .* has no such column; it has a",
        ),
        (
            pa.table({"m": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int32()))}),
            Asked(),
            "declare it in prepare.columns",
        ),
        (pa.table({"a": [1]}), Asked(columns={"a": "Time"}), "cannot be read as Time"),
        (pa.table({"a": [1]}), Asked({"delimiter": ";"}), "options of the format parquet: delimiter"),
    ],
)
def test_what_does_not_fit_is_told_in_words(table: pa.Table, asked: Asked, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read([parquet_file("a.parquet", table)], asked)


def test_a_file_that_is_no_parquet_is_told() -> None:
    for data in (b"PAR1", b"a,b\n1,2\n" * 9, b"PAR1" + b"\xff" * 40 + b"\x10\0\0\0PAR1"):
        file = DataFile("a.parquet", len(data), lambda data=data: io.BytesIO(data))  # type: ignore[misc]
        with pytest.raises(DataError, match=r"a\.parquet is no"):
            read([file])
