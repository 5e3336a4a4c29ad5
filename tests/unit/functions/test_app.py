"""The function's web application, as a real process: calls, errors, probes."""

import json
from collections.abc import Iterator
from contextlib import closing
from email.message import Message
from pathlib import Path

import pytest
from function_process import TOKEN, FunctionProcess, make_mark, receive

from sapflow_functions.calls import HUNG


@pytest.fixture(scope="module")
def function(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FunctionProcess]:
    with FunctionProcess(tmp_path_factory.mktemp("store")) as function:
        yield function


def test_answers_a_call_with_the_handlers_result(function: FunctionProcess) -> None:
    assert function.invoke(op="noop", rank=3) == (200, {"pid": function.process.pid, "rank": 3})


def headers_of(function: FunctionProcess) -> Message:
    with closing(function.send("/invoke", b'{"op": "noop"}')) as connection:
        response = connection.getresponse()
        response.read()
        return response.headers


def test_every_answer_tells_the_memory_limit_that_the_platform_named(tmp_path: Path) -> None:
    with FunctionProcess(tmp_path, SAPFLOW_MEMORY_BYTES="536870912") as function:
        for _ in range(2):
            assert headers_of(function)["x-sapflow-memory"] == "536870912"


def test_a_function_that_was_told_of_no_limit_tells_none(function: FunctionProcess) -> None:
    headers = headers_of(function)
    assert headers["x-sapflow-seconds"]
    assert "x-sapflow-memory" not in headers


@pytest.mark.parametrize("token", [None, "", "another", TOKEN + "x"])
def test_refuses_a_call_without_the_pools_token(function: FunctionProcess, token: str | None) -> None:
    status, body = function.post("/invoke", {"op": "noop"}, token)
    assert (status, body["error"]["reason"], body["error"]["retryable"]) == (401, "Unauthorized", False)


@pytest.mark.parametrize("body", [b"{", b"[]", b'"noop"', b"\xff", b'{"op": "noop", "secondsLeft": -1}'])
def test_answers_a_body_that_is_no_request_with_400(function: FunctionProcess, body: bytes) -> None:
    status, answer = function.post("/invoke", body)
    assert (status, answer["error"]["reason"]) == (400, "BadRequest")


def test_names_the_operations_it_has_when_asked_for_another(function: FunctionProcess) -> None:
    status, body = function.invoke(op="fly")
    assert (status, body["error"]["reason"]) == (404, "UnknownOperation")
    assert "'fly'" in body["error"]["message"]
    assert "noop" in body["error"]["message"]


@pytest.mark.parametrize(
    ("error", "status", "reason", "retryable"),
    [
        ("data", 422, "InvalidData", False),
        ("validation", 422, "InvalidRequest", False),
        ("unavailable", 503, "StoreUnavailable", True),
        ("named", 503, "TooTight", True),
        ("memory", 500, "OutOfMemory", False),
        ("unexpected", 500, "Internal", False),
    ],
)
def test_translates_what_a_handler_raises(
    function: FunctionProcess, error: str, status: int, reason: str, retryable: bool
) -> None:
    got, body = function.invoke(op="fail", error=error)
    assert (got, body["error"]["reason"], body["error"]["retryable"]) == (status, reason, retryable)


def test_an_unexpected_error_is_told_in_one_line_with_the_user_s_traceback_behind_it(
    function: FunctionProcess,
) -> None:
    _, body = function.invoke(op="fail", error="unexpected")
    first, second, *rest = body["error"]["message"].splitlines()
    assert first.startswith("ZeroDivisionError: ")
    assert ".py, line " in first
    assert second == "Traceback (most recent call last):"
    assert not [line for line in rest if "sapflow_functions/calls.py" in line]


def test_logs_an_unexpected_error_with_its_traceback_on_one_line(function: FunctionProcess) -> None:
    function.invoke(op="fail", error="unexpected", job="job-1", version=7, rank=2)
    lines = [json.loads(line) for line in function.log().splitlines() if line.startswith("{")]
    assert any("ZeroDivisionError" in line.get("error", "") for line in lines)
    call = next(line for line in lines if line["event"] == "invocation" and line.get("job") == "job-1")
    assert (call["version"], call["rank"], call["op"], call["outcome"]) == (7, 2, "fail", "Internal")
    assert call["seconds"] >= 0


def test_never_logs_its_token(function: FunctionProcess) -> None:
    function.invoke(op="fail", error="unexpected")
    assert TOKEN not in function.log()


def test_is_busy_for_a_second_call_and_well_for_a_probe(function: FunctionProcess, tmp_path: Path) -> None:
    mark = make_mark(tmp_path)
    first = function.send("/invoke", json.dumps({"op": "wait", "mark": str(mark), "duration": 0.5}).encode())
    mark.read_text()
    status, body = function.invoke(op="noop")
    assert (status, body["error"]["reason"], body["error"]["retryable"]) == (429, "Busy", True)
    assert function.get("/healthz")[0] == 200
    assert 'sapflow_function_busy{role="worker"} 1' in function.get("/metrics")[1]
    assert receive(first)[0] == 200


def test_a_call_whose_caller_hangs_up_is_given_up(function: FunctionProcess, tmp_path: Path) -> None:
    mark = make_mark(tmp_path)
    request = {"op": "wait", "mark": str(mark), "duration": 60, "job": "given-up"}
    connection = function.send("/invoke", json.dumps(request).encode())
    mark.read_text()
    connection.close()
    while function.invoke(op="noop")[0] == 429:
        pass
    call = next(line for line in function.log().splitlines() if "given-up" in line)
    assert json.loads(call)["outcome"] == "ShuttingDown"


def test_counts_calls_by_operation_and_outcome(function: FunctionProcess) -> None:
    def count(outcome: str) -> int:
        name = f'sapflow_function_invocations_total{{role="worker",op="fail",outcome="{outcome}"}} '
        lines = function.get("/metrics")[1].splitlines()
        return next((int(line.removeprefix(name)) for line in lines if line.startswith(name)), 0)

    before = count("InvalidData")
    function.invoke(op="fail", error="data")
    function.invoke(op="fail", error="data")
    assert count("InvalidData") == before + 2
    assert 'sapflow_function_seconds_total{role="worker",op="fail"}' in function.get("/metrics")[1]


def test_passes_the_seconds_left_on_to_the_handler(function: FunctionProcess) -> None:
    _, body = function.invoke(op="environment", secondsLeft=40)
    assert 30 < body["secondsLeft"] <= 40


@pytest.mark.parametrize("path", ["/init", "/run"])
def test_openwhisks_routes_are_not_there_where_the_process_knows_its_store(
    function: FunctionProcess, path: str
) -> None:
    with closing(function.send(path, b"{}")) as connection:
        assert connection.getresponse().status == 404


def test_a_process_whose_handler_hangs_ends_so_that_the_platform_starts_another(tmp_path: Path) -> None:
    request = json.dumps({"op": "deaf", "duration": 600, "secondsLeft": 0.1}).encode()
    with (
        FunctionProcess(tmp_path, SAPFLOW_GRACE_SECONDS="1") as function,
        closing(function.send("/invoke", request)),
    ):
        assert function.process.wait(timeout=30) == HUNG
        assert "the handler hangs" in function.log()


def test_a_handler_that_ends_within_the_grace_period_keeps_its_process(tmp_path: Path) -> None:
    with FunctionProcess(tmp_path, SAPFLOW_GRACE_SECONDS="1") as function:
        assert function.invoke(op="deaf", duration=0.3, secondsLeft=0.1)[0] == 200
        assert function.invoke(op="deaf", duration=1.5)[0] == 200
