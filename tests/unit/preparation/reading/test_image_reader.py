"""Folders of images are rows of encoded files, labelled by their folders or by a table."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sapflow.data.data_file import DataFile
from sapflow.data.source_files import used_files
from sapflow.errors import DataError
from sapflow.preparation.batch import Blobs, Text
from sapflow.preparation.reading import image_reader
from sapflow.preparation.reading.image_reader import ImageReader
from sapflow.preparation.reading.reader import Asked, Plan, Rejected

READER = ImageReader()


def data_file(name: str, data: bytes) -> DataFile:
    return DataFile(name, len(data), lambda: io.BytesIO(data))


def read(
    files: Sequence[DataFile], asked: Asked | None = None
) -> tuple[dict[str, list[Any]], list[Rejected], Plan]:
    plan = Plan.model_validate_json(READER.survey(files, asked or Asked()).model_dump_json())
    columns: dict[str, list[Any]] = {column.name: [] for column in plan.columns}
    rejected: list[Rejected] = []
    for number in range(len(plan.partitions)):
        seen: list[int] = []
        for parsed in READER.batches(files, plan, number):
            for name, column in parsed.batch.columns.items():
                if isinstance(column, Text):
                    columns[name] += column.values()
                else:
                    columns[name] += list(column.values) if isinstance(column, Blobs) else column.tolist()
            rejected += parsed.rejected
            seen += parsed.batch.numbers.tolist() + [each.number for each in parsed.rejected]
        assert sorted(seen) == list(range(len(seen))), "each row is counted once"
    return columns, rejected, plan


IMAGES = [
    data_file("in/cat/a.png", b"A"),
    data_file("in/cat/b.JPG", b"BB"),
    data_file("in/dog/c.png", b"CCC"),
    data_file("in/notes.txt", b"no image"),
]


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_the_folder_of_an_image_is_its_label(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_reader, "PARTITION_BYTES", size)
    monkeypatch.setattr(image_reader, "BATCH_BYTES", 3)
    columns, rejected, plan = read(IMAGES)
    assert columns == {"image": [b"A", b"BB", b"CCC"], "label": ["cat", "cat", "dog"]}
    assert not rejected
    assert plan.types["image"].kind == "Image"


def test_images_of_one_folder_have_no_label() -> None:
    columns, _, _ = read(IMAGES[:2])
    assert list(columns) == ["image"]


def test_a_table_names_images_and_has_their_columns() -> None:
    table = data_file("in/labels.csv", b"file,kind,size,when\ncat/a.png,tabby,1.5,2013-01-01\nc,poodle,,\n")
    columns, rejected, _ = read([*IMAGES, table], Asked({"table": "labels.csv"}))
    assert columns["image"] == [b"A", b"CCC"]
    assert columns["kind"] == ["tabby", "poodle"]
    assert columns["size"][0] == 1.5
    assert [(each.file, each.number) for each in rejected] == [("in/cat/b.JPG", 1)]
    assert "no row of in/labels.csv names it" in rejected[0].reason


@pytest.mark.parametrize(
    ("files", "asked", "message"),
    [
        (IMAGES[3:], Asked(), "holds no images"),
        (IMAGES, Asked({"table": "labels.csv"}), "0 files of the source are called 'labels.csv'"),
        (IMAGES, Asked(columns={"label": "Number"}), "label of images is of type Text"),
        (IMAGES, Asked(columns={"kind": "Text"}), "declares kind"),
    ],
)
def test_what_does_not_fit_is_told_in_words(files: Sequence[DataFile], asked: Asked, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(files, asked)


def test_folders_within_the_source_are_read_where_rows_are_prepared(tmp_path: Path) -> None:
    for name in ("cat/a.png", "dog/b.png", ".hidden/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    format, files = used_files(str(tmp_path), raw=True)
    assert format == "images"
    assert read(files)[0]["label"] == ["cat", "dog"]
    with pytest.raises(DataError, match="holds no files but folders"):
        used_files(str(tmp_path))
