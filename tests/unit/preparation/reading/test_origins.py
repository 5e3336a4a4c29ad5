"""Every row of every format knows the file and the line that it comes from."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sapflow.data.data_file import DataFile
from sapflow.data.files import local_file
from sapflow.preparation import stored_batch
from sapflow.preparation.batch import Batch, Origins, Text
from sapflow.preparation.reading import pieces, text_cut
from sapflow.preparation.reading.reader import Asked
from sapflow.preparation.reading.registry import reader_of


def batches(format: str, files: list[DataFile], asked: Asked | None = None) -> list[Batch]:
    reader = reader_of(format)
    plan = reader.survey(files, asked or Asked())
    plan = reader.cut(plan, [reader.scan(files, plan, number) for number in plan.to_scan])
    return [
        stored_batch.decode(b"".join(stored_batch.encode(parsed.batch)), "key")
        for number in range(len(plan.partitions))
        for parsed in reader.batches(files, plan, number)
    ]


def origins(found: list[Batch]) -> list[tuple[str, int]]:
    """Those of all rows."""
    told = []
    for batch in found:
        assert batch.origins is not None
        told += [batch.origins.of(number) for number in batch.numbers.tolist()]
    return told


def text_file(name: str, text: str) -> DataFile:
    return DataFile(name, len(text.encode()), lambda: io.BytesIO(text.encode()))


@pytest.mark.parametrize("size", [20, 1 << 20])
def test_rows_of_csv_have_the_lines_where_they_begin(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (pieces, text_cut):
        monkeypatch.setattr(module, "PARTITION_BYTES", size)
    first = 't,line\n"a\nb",2\nbad\n\n"c\r\nd",6\nx,8\ny,9\n'
    files = [text_file("one.csv", first), text_file("two.csv", "line,t\n2,x\n3,y\n")]
    found = batches("csv", files, Asked(columns={"line": "Number", "t": "Text"}))
    lines = [line for batch in found for line in np.asarray(batch.columns["line"]).tolist()]
    assert lines == [2, 6, 8, 9, 2, 3]
    assert origins(found) == list(zip(["one.csv"] * 4 + ["two.csv"] * 2, lines, strict=True))


def test_rows_of_json_lines_have_their_lines() -> None:
    body = "".join(json.dumps({"line": line}) + "\n" for line in (1, 2))
    found = batches("jsonl", [text_file("a.jsonl", body + "\n{\n" + '{"line": 5}\n')])
    assert origins(found) == [("a.jsonl", line) for line in (1, 2, 5)]


def test_rows_of_formats_without_lines_have_their_places(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"row": [1.0, 2.0, float("inf"), 4.0, 5.0]}), tmp_path / "a.parquet", row_group_size=2
    )
    parquet = local_file(tmp_path / "a.parquet")
    found = batches("parquet", [parquet])
    rows = [int(row) for batch in found for row in np.asarray(batch.columns["row"]).tolist()]
    assert origins(found) == [(parquet.name, row) for row in rows]
    np.savez(tmp_path / "b.npz", x=np.arange(4.0), y=np.arange(4.0))
    archive = local_file(tmp_path / "b.npz")
    found = batches("npz", [archive], Asked({"features": "x", "targets": "y"}))
    assert origins(found) == [(archive.name, row) for row in (1, 2, 3, 4)]


def test_images_are_rows_of_their_files(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.png").write_bytes(b"no image")
    files = [local_file(tmp_path / folder / "x.png") for folder in ("a", "b")]
    assert origins(batches("images", files)) == [(file.name, 1) for file in files]


def test_stretches_go_on_through_rows_that_were_left_out() -> None:
    found = Origins.of_file("a", 10, np.array([3, 4, 5, 9, 10, 20]))
    assert found.begins.tolist() == [10, 13, 15]
    assert [found.of(number)[1] for number in range(10, 16)] == [3, 4, 5, 9, 10, 20]
    assert found.files.values() == ["a"] * 3
    two = Origins(np.array([0, 2]), np.array([7, 1]), Text.of(["a", "b"]))
    assert [two.of(number) for number in range(4)] == [("a", 7), ("a", 8), ("b", 1), ("b", 2)]
