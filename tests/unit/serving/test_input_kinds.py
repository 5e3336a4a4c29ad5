"""Raw rows of other sources than tables of CSV: images, objects within objects, vectors, times by a pattern."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.served import AskedApp, files_of, fit
from PIL import Image

from sapflow.data.files import local_file
from sapflow.preparation.batch import Blobs, Text
from sapflow.serving.input_columns import InputColumn, Notation
from sapflow.serving.refusal import BadRow

KINDS = ("cat", "dog", "fox")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for kind in KINDS:
        (folder / kind).mkdir()
        for number in range(3):
            pixels = random.integers(0, 255, (12, 10, 3), np.uint8)
            Image.fromarray(pixels).save(folder / kind / f"{number}.png")
    return folder


def test_images_come_as_base64_or_as_bytes_and_are_decoded_as_in_training(pictures: Path) -> None:
    paths = sorted(pictures.rglob("*.png"))
    files = [local_file(path) for path in paths]
    steps: list[dict[str, Any]] = [
        {"encode": {"columns": ["label"], "method": "Classes"}},
        {"image": {"column": "image", "resize": [8, 8]}},
    ]
    fitted = fit(files, "images", {"target": "label", "steps": steps})
    app = AskedApp(files_of(fitted).served({"answer": "Probabilities"}))
    assert [each.name for each in app.server.model.table.columns] == ["image"]
    encoded = [base64.b64encode(path.read_bytes()).decode() for path in paths]
    made = app.post("/predict", [{"image": each} for each in encoded])
    assert made.status == 200, made.body
    outputs = [[*each["probabilities"].values()] for each in made.json["decisions"]]
    assert len({str(each) for each in outputs}) == len(paths)
    raw = {"name": "image", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 0}}
    content = paths[0].read_bytes()
    part = len(content).to_bytes(4, "little") + content
    raw["parameters"] = {"binary_data_size": len(part)}
    head = json.dumps({"inputs": [raw]}).encode()
    answer = app.ask(
        "POST", "/v2/models/late/infer", head + part, **{"inference-header-content-length": str(len(head))}
    )
    label = next(each for each in answer.json["outputs"] if each["name"] == "label")
    assert label["data"] == [made.json["decisions"][0]["label"]]
    broken = app.post("/predict", [{"image": base64.b64encode(b"no image").decode()}, {"image": "%"}])
    assert (broken.status, "row 1, column image" in broken.json["error"]["message"]) == (422, True)
    assert app.post("/predict", [{"image": base64.b64encode(b"no image").decode()}]).status == 422


def test_objects_within_objects_and_vectors_are_columns_as_in_json_lines(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    rows: list[dict[str, Any]] = [
        {
            "size": {"wide": float(number), "of": {"depth": number % 3}},
            "code": random.normal(size=2).tolist(),
            "kind": "ab"[number % 2],
        }
        for number in range(20)
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    steps = [{"encode": {"columns": ["kind"], "method": "Classes"}}]
    fitted = fit([local_file(file)], "jsonl", {"target": "kind", "steps": steps})
    app = AskedApp(files_of(fitted).served())
    assert {each.name for each in app.server.model.table.columns} == {"size.wide", "size.of.depth", "code"}
    nested = app.post("/predict", rows)
    assert nested.status == 200, nested.body
    flat = [
        {"size.wide": row["size"]["wide"], "size.of.depth": row["size"]["of"]["depth"], "code": row["code"]}
        for row in rows
    ]
    assert app.post("/predict", flat).body == nested.body
    wrong = app.post("/predict", [{**rows[0], "code": [1]}]).json["error"]["message"]
    assert "column code: is no list of 2 numbers" in wrong


def read(column: InputColumn, *values: object, **notation: Any) -> tuple[Any, list[BadRow]]:
    bad: list[BadRow] = []
    return column.read(values, Notation(**notation), bad), bad


def test_times_follow_the_pattern_of_training() -> None:
    column = InputColumn("at", "Time")
    found, bad = read(column, "31.01.2013", None, "2013-01-31", time="%d.%m.%Y")
    assert found.astype(str).tolist() == ["2013-01-31T00:00:00.000000", "NaT", "NaT"]
    assert [each.row for each in bad] == [2]
    iso, bad = read(column, "2013-01-31T08:00:00+02:00", "2013-01-31", "20130131", "9999-99-99")
    assert iso.astype("M8[s]").astype(str).tolist()[:2] == ["2013-01-31T06:00:00", "2013-01-31T00:00:00"]
    assert [each.row for each in bad] == [2, 3]


def test_numbers_are_read_as_training_writes_them() -> None:
    column = InputColumn("value", "Number")
    found, bad = read(column, "1.234,5", "7", True, None, "", decimal=",", thousands=".")
    assert found[:3].tolist() == [1234.5, 7, 1]
    assert np.isnan(found[3:]).all()
    assert not bad
    _, bad = read(column, "nan", "1e999", "0x10", "1_000", [], 10**400)
    assert [each.row for each in bad] == [0, 1, 2, 3, 4, 5]


def test_numbers_become_text_where_training_had_text() -> None:
    found, bad = read(
        InputColumn("code", "Text"), 501, 1.5, 2.0, "x", None, "NA", True, missing=frozenset({"NA"})
    )
    assert isinstance(found, Text)
    assert found.values()[:6] == ["501", "1.5", "2", "x", None, None]
    assert [each.row for each in bad] == [6]


def test_images_that_are_decoded_are_lists_of_pixels() -> None:
    column = InputColumn("image", "Image", (2, 2, 1))
    found, bad = read(column, [[[1], [2]], [[3], [255]]], [[[1], [2]], [[3], [256]]], None)
    assert found.dtype == np.uint8
    assert found[0].ravel().tolist() == [1, 2, 3, 255]
    assert sorted(each.row for each in bad) == [1, 2]
    blobs, bad = read(InputColumn("image", "Image"), b"raw", None)
    assert blobs == Blobs((b"raw", None))
