"""The Open Inference Protocol, version 2: tensors by column, as JSON and in binary."""

import json
import struct
from typing import Any

import numpy as np
import pytest
from helpers.served import AskedApp, Files, flights, late_files, plain_files

from sapflow.serving import v2
from sapflow.serving.v2 import HEADER_LENGTH

INFER = "/v2/models/late/infer"
COUNT = 6


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return late_files(tmp_path_factory.mktemp("late"))


@pytest.fixture
def app(files: Files) -> AskedApp:
    return AskedApp(files.served({"answer": "TopK", "topK": 2, "message": "it is {label}"}))


def tensors(rows: list[dict[str, Any]], **types: str) -> list[dict[str, Any]]:
    found = []
    for name in ("delay", "distance", "carrier", "hour"):
        datatype = types.get(name, {"delay": "FP64", "distance": "INT64"}.get(name, "BYTES"))
        values = [row[name] for row in rows]
        if datatype == "BYTES":
            values = ["" if each is None else str(each) for each in values]
        found.append({"name": name, "shape": [len(rows)], "datatype": datatype, "data": values})
    return found


def decisions(app: AskedApp, rows: list[dict[str, Any]]) -> list[Any]:
    wanted = [{name: row[name] for name in ("delay", "distance", "carrier", "hour")} for row in rows]
    made: list[Any] = app.post("/predict", wanted).json["decisions"]
    return made


def outputs(answer: Any) -> dict[str, Any]:
    return {each["name"]: each for each in answer["outputs"]}


def test_tensors_by_column_are_decided_as_rows_are(app: AskedApp) -> None:
    rows = flights(COUNT)
    answer = app.post(INFER, {"id": "7", "inputs": tensors(rows)})
    assert answer.status == 200, answer.body
    found, expected = outputs(answer.json), decisions(app, rows)
    assert answer.json["id"] == "7"
    assert (answer.json["model_name"], answer.json["model_version"]) == ("late", "2")
    assert found["label"]["data"] == [each["label"] for each in expected]
    assert found["probability"]["data"] == [each["probability"] for each in expected]
    assert found["message"]["data"] == [each["message"] for each in expected]
    assert found["abstained"]["data"] == [False] * COUNT
    assert found["top_labels"]["shape"] == [COUNT, 2]
    flat = [one["probability"] for each in expected for one in each["top"]]
    assert found["top_probabilities"]["data"] == flat


def test_numbers_may_come_as_text_and_in_a_second_dimension(app: AskedApp) -> None:
    rows = flights(COUNT)
    inputs = tensors(rows, delay="BYTES", distance="FP32")
    inputs[1]["shape"] = [COUNT, 1]
    inputs[1]["data"] = [[each] for each in inputs[1]["data"]]
    plain = app.post(INFER, {"inputs": tensors(rows)}).json
    assert app.post(INFER, {"inputs": inputs}).json == plain


def binary(rows: list[dict[str, Any]], **more: Any) -> tuple[bytes, str]:
    inputs, parts = tensors(rows), []
    for each in inputs:
        data = each.pop("data")
        if each["datatype"] == "BYTES":
            part = b"".join(struct.pack("<I", len(one)) + one for one in map(str.encode, data))
        else:
            array = np.array([np.nan if one is None else one for one in data], v2.TYPES[each["datatype"]])
            part = array.tobytes()
        each["parameters"] = {"binary_data_size": len(part)}
        parts.append(part)
    head = json.dumps({"inputs": inputs, **more}).encode()
    return b"".join([head, *parts]), str(len(head))


def test_binary_tensors_are_decided_alike_and_answered_as_they_are_asked_for(app: AskedApp) -> None:
    rows = flights(COUNT)
    plain = outputs(app.post(INFER, {"inputs": tensors(rows)}).json)
    body, length = binary(rows)
    assert outputs(app.ask("POST", INFER, body, **{"inference-header-content-length": length}).json) == plain
    body, length = binary(rows, parameters={"binary_data_output": True})
    answer = app.ask("POST", INFER, body, **{"inference-header-content-length": length})
    head = int(answer.headers[HEADER_LENGTH])
    found, rest = outputs(json.loads(answer.body[:head])), memoryview(answer.body)[head:]
    for name, each in found.items():
        size = each["parameters"]["binary_data_size"]
        part, rest = rest[:size], rest[size:]
        if each["datatype"] == "BYTES":
            assert [one.decode() for one in v2.unpacked(part) or ()] == np.ravel(plain[name]["data"]).tolist()
        else:
            assert np.frombuffer(part, v2.TYPES[each["datatype"]]).tolist() == plain[name]["data"]
    assert not len(rest)


def test_only_the_outputs_that_are_asked_for_are_given(app: AskedApp) -> None:
    asked = [{"name": "label"}, {"name": "probability", "parameters": {"binary_data": True}}]
    answer = app.post(INFER, {"inputs": tensors(flights(2)), "outputs": asked})
    found = outputs(json.loads(answer.body[: int(answer.headers[HEADER_LENGTH])]))
    assert [*found] == ["label", "probability"]
    assert "data" in found["label"]
    assert found["probability"]["parameters"] == {"binary_data_size": 16}


def test_metadata_and_configuration_tell_columns_and_outputs(app: AskedApp) -> None:
    told = app.ask("GET", "/v2/models/late").json
    assert told["versions"] == ["2"]
    assert {"name": "delay", "datatype": "FP64", "shape": [-1]} in told["inputs"]
    assert {"name": "carrier", "datatype": "BYTES", "shape": [-1]} in told["inputs"]
    answered = outputs(app.post(INFER, {"inputs": tensors(flights(3))}).json)
    assert [each["name"] for each in told["outputs"]] == [*answered]
    for each in told["outputs"]:
        assert each["datatype"] == answered[each["name"]]["datatype"]
        assert [3, *each["shape"][1:]] == answered[each["name"]]["shape"]
    configured = app.ask("GET", "/v2/models/late/versions/2/config").json
    assert {"name": "carrier", "data_type": "TYPE_STRING", "dims": [-1]} in configured["input"]
    assert "binary_tensor_data" in app.ask("GET", "/v2").json["extensions"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"inputs": []}, "no inputs"),
        ({"inputs": [3]}, "must be an object"),
        ({"inputs": [{"name": "delay"}]}, "has the datatype None"),
        (
            {"inputs": [{"name": "delay", "datatype": "FP64", "shape": [-1], "data": []}]},
            "has the shape [-1]",
        ),
        ({"inputs": [{"name": "delay", "datatype": "FP64", "shape": [2], "data": [1]}]}, "its shape needs 2"),
        ({"inputs": [{"name": "delay", "datatype": "FP64", "shape": [1], "data": ["a"]}]}, "is no number"),
        ({"inputs": [{"name": "delay", "datatype": "INT64", "shape": [1], "data": [1.5]}]}, "not whole"),
        ({"inputs": [{"name": "delay", "datatype": "FP64", "shape": [1]}]}, "has no data"),
        (
            {
                "inputs": [
                    {"name": "delay", "datatype": "FP64", "shape": [1], "parameters": {"binary_data_size": 8}}
                ]
            },
            "0 are left",
        ),
        ({"outputs": [{"name": "colour"}]}, "no output 'colour'"),
        ({"outputs": 3}, "a list of objects"),
        ({"parameters": 3}, "must be a JSON object"),
    ],
)
def test_requests_that_are_none_are_refused_with_words(app: AskedApp, change: Any, words: str) -> None:
    answer = app.post(INFER, {"inputs": tensors(flights(1)), **change})
    assert answer.status == 400
    assert words in answer.json["error"]


def test_columns_and_rows_are_named_where_they_are_wrong(app: AskedApp) -> None:
    inputs = tensors(flights(3))
    assert "lacks the column hour" in app.post(INFER, {"inputs": inputs[:3]}).json["error"]
    inputs[0]["datatype"], inputs[0]["data"] = "BYTES", ["1", "two", "3"]
    answer = app.post(INFER, {"inputs": inputs})
    assert (answer.status, "row 1, column delay: 'two' is not a number" in answer.json["error"]) == (
        422,
        True,
    )
    inputs[0]["shape"], inputs[0]["data"] = [2], ["1", "3"]
    assert "2 and 3 rows" in app.post(INFER, {"inputs": inputs}).json["error"]
    assert app.ask("POST", INFER, b"{}", **{"inference-header-content-length": "9"}).status == 400


def test_samples_as_they_are_come_in_one_tensor() -> None:
    app = AskedApp(plain_files().served())
    one = {"name": "features", "datatype": "FP32", "shape": [2, 3], "data": [[1, 2, 3], [4, 5, 6]]}
    found = outputs(app.post(INFER, {"inputs": [one]}).json)
    assert found["label"]["shape"] == [2]
    wrong = {**one, "shape": [3, 2]}
    assert "must have [rows, 3]" in app.post(INFER, {"inputs": [wrong]}).json["error"]


def test_elements_of_bytes_are_told_by_their_lengths() -> None:
    assert v2.unpacked(memoryview(b"\1\0\0\0a\0\0\0\0")) == [b"a", b""]
    assert v2.unpacked(memoryview(b"\2\0\0\0a")) is None
    assert v2.unpacked(memoryview(b"\2\0")) is None
