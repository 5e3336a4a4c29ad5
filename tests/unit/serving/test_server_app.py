"""The application of a serving process: rows in, decisions out, and every request that cannot be answered."""

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.served import Answer, AskedApp, Files, csv_of, flights, late_files, plain_files

from sapflow.client import predict
from sapflow.serving import input_table, openapi

LATE = {"decision": {"answer": "Probabilities", "message": "{row.carrier} is {label}"}}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return late_files(tmp_path_factory.mktemp("late"))


@pytest.fixture
def app(files: Files) -> AskedApp:
    return AskedApp(files.served(LATE["decision"]))


def inputs(count: int = 5) -> list[dict[str, Any]]:
    return [
        {name: each for name, each in row.items() if name not in ("late", "tail")} for row in flights(count)
    ]


def test_decisions_are_those_of_a_prediction_from_a_file(files: Files, app: AskedApp, tmp_path: Path) -> None:
    path = files.write(tmp_path / "result")
    rows = tmp_path / "rows.csv"
    rows.write_text(csv_of(flights(30)))
    model = predict.load(path)
    prepared = model.prepared(rows)
    expected = model.probabilities(prepared.features)
    for answer in (
        app.post("/predict", {"rows": inputs(30)}),
        app.post("/predict", inputs(30)),
        app.ask("POST", "/predict", csv_of(flights(30)), content_type="text/csv"),
    ):
        assert answer.status == 200, answer.body
        made = answer.json["decisions"]
        found = np.array([[each["probabilities"]["no"], each["probabilities"]["yes"]] for each in made])
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        assert [each["label"] for each in made] == model.predict(prepared.features).tolist()
    assert made[0]["message"] == f"{flights(30)[0]['carrier']} is {made[0]['label']}"


def test_the_example_of_a_request_has_values_like_those_of_training(app: AskedApp) -> None:
    model = app.server.model
    ranges, seen = {"delay": (-10.0, 30.0), "distance": (100.0, 900.0)}, {"carrier": ["UA", "AA"]}
    model.table = input_table.with_ranges(model.table, ranges, seen)
    request = app.ask("GET", "/openapi.json").json["paths"]["/predict"]["post"]["requestBody"]
    example = request["content"]["application/json"]["example"]
    assert example == {
        "rows": [{"delay": 10.0, "distance": 500.0, "carrier": "AA", "hour": "2026-01-01T00:00:00Z"}]
    }
    assert app.post("/predict", example).status == 200
    assert json.dumps(example).replace('"', "&quot;") in app.ask("GET", "/").body.decode()


def test_a_model_without_names_takes_lists_of_numbers() -> None:
    app = AskedApp(plain_files().served())
    rows = [[0.5, 1, -2], [3, 4, 5]]
    answer = app.post("/predict", {"rows": rows})
    assert answer.status == 200
    assert len(answer.json["decisions"]) == 2
    assert app.ask("POST", "/predict", "0.5,1,-2\n3,4,5\n", content_type="text/csv").body == answer.body
    assert app.post("/predict", [{"features": each} for each in rows]).body == answer.body
    wrong = app.post("/predict", [[1, 2]]).json["error"]
    assert wrong["message"].startswith("row 0, column features: is no list of 3 numbers")
    assert "null" not in app.post("/predict", [[1, None, 2]]).json["error"]["message"]


def test_a_model_that_numpy_cannot_compute_is_computed_by_torch() -> None:
    files = plain_files(name="lenet")
    app = AskedApp(files.served())
    sample = np.random.default_rng(0).normal(size=256).round(3)
    found = app.post("/predict", [sample.tolist()]).json["decisions"][0]
    expected = predict.decode(memoryview(files.model), "it").probabilities(sample.reshape(1, 1, 16, 16))
    assert found["probability"] == pytest.approx(expected.max(), rel=1e-5)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"delay": "many"}, "row 1, column delay: 'many' is not a number"),
        ({"distance": 1e400}, "row 1, column distance: is not finite"),
        ({"distance": None}, "row 1, column distance: is missing after the last step"),
        ({"hour": "noon"}, "row 1, column hour: 'noon' is not a date or a time"),
        ({"hour": 12}, "row 1, column hour: 12 is not a date or a time"),
        ({"carrier": "XX"}, "row 1, column carrier:"),
        ({"carrier": ["AA"]}, "row 1, column carrier: ['AA'] is not a text"),
        ({"distance": {"of": 3}}, "row 1, column distance: {'of': 3} is not a number"),
    ],
)
def test_a_value_that_cannot_be_used_is_told_with_row_and_column(app: AskedApp, row: Any, words: str) -> None:
    first, second = inputs(2)
    body = json.dumps([first, {**second, **row}]).replace("Infinity", "1e400")
    answer = app.ask("POST", "/predict", body)
    assert answer.status == 422
    error = answer.json["error"]
    assert error["reason"] == "BadRows"
    assert words in error["message"]
    assert error["rows"][0]["row"] == 1


def test_an_empty_or_missing_value_is_imputed_as_in_training(app: AskedApp) -> None:
    (row,) = inputs(1)
    bodies: list[Any] = [{**row, "delay": None}, {**row, "delay": ""}, {**row, "delay": "NA"}]
    assert len({app.post("/predict", [each]).body for each in bodies}) == 1


def test_columns_that_are_not_there_or_not_known_are_named(app: AskedApp) -> None:
    (row,) = inputs(1)
    unknown = app.post("/predict", [{**row, "carier": "AA"}]).json["error"]
    assert unknown["message"].startswith("there is no column 'carier' (do you mean carrier?)")
    del row["carrier"]
    lacking = app.post("/predict", [row]).json["error"]
    assert lacking["message"].startswith("the request lacks the column carrier")


def test_the_target_and_columns_that_no_feature_follows_from_may_be_there(app: AskedApp) -> None:
    (row,) = inputs(1)
    assert app.post("/predict", [{**row, "late": "no", "tail": "N1"}]).status == 200


@pytest.mark.parametrize(
    ("body", "headers", "status", "words"),
    [
        ("{", {}, 400, "no JSON"),
        ('"rows"', {}, 400, "a list of rows"),
        ("[]", {}, 400, "no rows"),
        ("[3]", {}, 422, "must be an object"),
        ("[[1, 2]]", {}, 422, "has 2 values"),
        ("[" * 100_000, {}, 400, "no JSON"),
        ("x", {"content_type": "text/plain"}, 415, "send application/json or text/csv"),
        ("x", {"content_encoding": "br"}, 415, "content encoding"),
        ("x", {"content_encoding": "gzip"}, 400, "gzip"),
        ("delay,distance\n1\n", {"content_type": "text/csv"}, 422, "has 1 fields"),
        ("delay,delay\n1,2\n", {"content_type": "text/csv"}, 400, "twice"),
        ("", {"content_type": "text/csv"}, 400, "no header"),
        ('a,"b\n', {"content_type": "text/csv"}, 400, "no CSV"),
    ],
)
def test_bodies_that_are_none_are_refused(
    app: AskedApp, body: str, headers: Any, status: int, words: str
) -> None:
    answer = app.ask("POST", "/predict", body, **headers)
    assert (answer.status, words in answer.json["error"]["message"]) == (status, True), answer.body


def test_what_is_larger_than_the_limits_is_refused(files: Files) -> None:
    app = AskedApp(files.served(), limits={"rows": 3, "bodyBytes": 2000})
    assert "limits.rows" in app.post("/predict", inputs(4)).json["error"]["message"]
    assert app.post("/predict", inputs(3)).status == 200
    large = json.dumps(inputs(3)) + " " * 3000
    assert app.ask("POST", "/predict", large).status == 413
    assert app.ask("POST", "/predict", gzip.compress(large.encode()), content_encoding="gzip").status == 413
    small = gzip.compress(json.dumps(inputs(3)).encode())
    assert app.ask("POST", "/predict", small, content_encoding="gzip").status == 200


def test_more_requests_than_may_wait_are_asked_to_come_again(files: Files) -> None:
    app = AskedApp(files.served(), limits={"waiting": 2}, batch={"waitMilliseconds": 50})

    async def several() -> list[int]:
        body = json.dumps(inputs(1))
        return [
            each.status
            for each in await asyncio.gather(*(app.asked("POST", "/predict", body) for _ in range(4)))
        ]

    assert sorted(asyncio.run(several())) == [200, 200, 429, 429]


def test_a_request_that_takes_too_long_fails_and_says_so(files: Files) -> None:
    app = AskedApp(files.served(), limits={"seconds": 0.01}, batch={"waitMilliseconds": 200})
    answer = app.post("/predict", inputs(1))
    assert (answer.status, answer.json["error"]["reason"]) == (503, "Timeout")
    assert answer.headers["retry-after"] == "1"


def test_a_token_is_needed_for_all_but_probes_and_metrics(files: Files) -> None:
    app = AskedApp(files.served(), token="secret")
    assert app.post("/predict", inputs(1)).status == 401
    assert app.post("/predict", inputs(1), authorization="Bearer wrong").status == 401
    assert app.post("/predict", inputs(1), authorization="Bearer sécret").status == 401
    assert app.post("/predict", inputs(1), authorization="bearer secret").status == 200
    for path in ("/v2/health/live", "/v2/health/ready", "/metrics", "/healthz"):
        assert app.ask("GET", path).status == 200
    assert app.ask("GET", "/v2").json == {"error": "the request does not carry the service's bearer token"}
    assert "security" in openapi.document(app.server)


def test_nothing_is_decided_before_the_model_is_ready(files: Files) -> None:
    app = AskedApp(files.served(), ready=False)
    assert app.ask("GET", "/v2/health/ready").status == 503
    assert app.ask("GET", "/v2/health/live").status == 200
    assert app.post("/predict", inputs(1)).json["error"]["reason"] == "NotReady"


def test_paths_and_methods_that_are_none_are_told(app: AskedApp) -> None:
    assert app.ask("GET", "/nothing").status == 404
    assert app.ask("GET", "/predict").status == 405
    assert app.ask("DELETE", "/v2").status == 405
    assert app.ask("HEAD", "/v2").body == b""
    assert "no model 'other'" in app.ask("GET", "/v2/models/other").json["error"]
    assert "no version '9'" in app.ask("GET", "/v2/models/late/versions/9").json["error"]
    assert app.ask("GET", "/v2/models/late/versions/2/ready").status == 200


def test_request_ids_are_given_back_or_made(app: AskedApp) -> None:
    assert app.ask("GET", "/v2", x_request_id="abc-1").headers["x-request-id"] == "abc-1"
    made = app.ask("GET", "/v2", x_request_id="a b\tc").headers["x-request-id"]
    assert len(made) == 32


def test_logs_tell_no_payload(app: AskedApp, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    app.post("/predict", [{**inputs(1)[0], "carrier": "secret-carrier"}])
    (record,) = [each for each in caplog.records if each.message == "request"]
    fields = vars(record)["fields"]
    assert fields["route"] == "predict"
    assert fields["status"] == 422
    assert "secret-carrier" not in str(vars(record))


def test_metrics_count_requests_rows_and_decisions(app: AskedApp) -> None:
    app.post("/predict", inputs(3))
    app.post("/predict", [{**inputs(1)[0], "delay": "x"}])
    text = app.ask("GET", "/metrics").body.decode()
    assert 'sapflow_server_requests_total{route="predict",status="200"} 1' in text
    assert 'sapflow_server_requests_total{route="predict",status="422"} 1' in text
    assert "sapflow_server_rows_total 3" in text
    assert 'sapflow_server_request_seconds_count{route="predict"} 2' in text
    assert 'sapflow_server_decisions_total{label="' in text


def test_the_openapi_document_and_its_page_name_paths_and_columns(app: AskedApp) -> None:
    found = app.ask("GET", "/openapi.json").json
    row = found["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(row["properties"]["rows"]["items"]["properties"]) == {
        "delay",
        "distance",
        "carrier",
        "hour",
        "tail",
    }
    assert "/v2/models/late/infer" in found["paths"]
    page = app.ask("GET", "/").body.decode()
    assert "<code>carrier</code>" in page
    assert "http" not in page


def test_what_the_model_raises_is_the_servers_fault_and_is_counted(app: AskedApp) -> None:
    def fail(scaled: np.ndarray) -> np.ndarray:
        raise RuntimeError("the network is broken")

    app.server.model._network = fail
    answers: list[Answer] = []
    for path, body in (("/predict", inputs(1)), ("/v2/models/late/infer", {"inputs": tensors_of(inputs(1))})):
        sent: list[Any] = []
        with pytest.raises(RuntimeError, match="the network is broken"):
            asyncio.run(app.asked("POST", path, json.dumps(body), sent=sent, x_request_id="r-1"))
        answers.append(Answer.of(sent))
    assert [each.status for each in answers] == [500, 500]
    assert answers[0].json["error"]["reason"] == "Internal"
    assert "r-1" in answers[1].json["error"]
    text = app.ask("GET", "/metrics").body.decode()
    assert 'sapflow_server_requests_total{route="predict",status="500"} 1' in text
    assert "sapflow_server_requests_in_flight 1" in text  # the one that asks


def tensors_of(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "shape": [len(rows)],
            "datatype": "BYTES",
            "data": ["" if row[name] is None else str(row[name]) for row in rows],
        }
        for name in rows[0]
    ]


def test_not_a_number_is_missing_and_infinity_is_no_number(app: AskedApp) -> None:
    (row,) = inputs(1)
    text = json.dumps([{**row, "delay": float("nan")}])
    assert "NaN" in text
    assert app.ask("POST", "/predict", text).body == app.post("/predict", [{**row, "delay": None}]).body
    infinite = app.ask("POST", "/predict", json.dumps([{**row, "delay": float("-inf")}]))
    assert "column delay: is not finite" in infinite.json["error"]["message"]
