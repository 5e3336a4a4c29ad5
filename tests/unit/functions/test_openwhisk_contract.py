"""The OpenWhisk action contract of a function, as a real process that `/init` tells its token and store."""

import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from function_process import TOKEN, FunctionProcess, make_mark, receive

from sapflow_functions.openwhisk import INIT_BYTES, RUN_BYTES


def parameters(store: Path, **more: str) -> dict[str, Any]:
    """The body of `/init`, with what OpenWhisk adds to the action's own parameters."""
    env = {
        "SAPFLOW_TOKEN": TOKEN,
        "SAPFLOW_STORE": str(store),
        "__OW_API_HOST": "http://whisk.example",
        **more,
    }
    return {"value": {"name": "train", "main": "main", "code": "", "binary": False, "env": env}}


@pytest.fixture(scope="module")
def function(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FunctionProcess]:
    with FunctionProcess(None) as function:
        assert function.post("/init", parameters(tmp_path_factory.mktemp("store")), None) == (
            200,
            {"ok": True},
        )
        yield function


@pytest.fixture
def fresh() -> Iterator[FunctionProcess]:
    """A process that has not been told anything yet."""
    with FunctionProcess(None) as function:
        yield function


def run(function: FunctionProcess, **value: Any) -> tuple[int, dict[str, Any]]:
    return function.post("/run", {"value": {"token": TOKEN, **value}}, None)


def test_initialises_once_and_runs_nothing_of_what_it_is_sent(fresh: FunctionProcess, tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    body = parameters(tmp_path / "store")
    body["value"]["code"] = f"open({str(proof)!r}, 'w')"
    assert fresh.post("/init", {"value": []}, None)[0] == 400
    assert fresh.post("/init", body, None) == (200, {"ok": True})
    status, said = fresh.post("/init", body, None)
    assert status == 403
    assert list(said) == ["error"]
    assert run(fresh, op="noop")[0] == 200
    assert not proof.exists()


@pytest.mark.parametrize("env", [None, {}, {"SAPFLOW_TOKEN": "only"}])
def test_parameters_that_make_no_function_are_named(
    fresh: FunctionProcess, env: dict[str, str] | None
) -> None:
    status, said = fresh.post("/init", {"value": {} if env is None else {"env": env}}, None)
    assert status == 400
    assert "SAPFLOW_STORE: is not set" in said["error"]


def test_a_process_that_was_started_anew_has_its_container_discarded(fresh: FunctionProcess) -> None:
    status, body = run(fresh, op="noop")
    assert (status, body["error"]["reason"], body["error"]["retryable"]) == (502, "NotConfigured", True)


@pytest.mark.parametrize(("path", "most"), [("/init", INIT_BYTES), ("/run", RUN_BYTES)])
@pytest.mark.parametrize("known", [True, False], ids=["with its length", "in chunks"])
def test_a_body_of_somebody_without_a_token_takes_no_memory(path: str, most: int, known: bool) -> None:
    with FunctionProcess(None) as fresh:
        if path == "/run":
            fresh.post("/init", parameters(Path("store")), None)
        with closing(fresh.connect()) as connection:
            body = b'{"value": "' + b"x" * most + b'"}'
            connection.request("POST", path, body if known else iter([body]), encode_chunked=not known)
            response = connection.getresponse()
            assert response.status == 413
            assert f"more than {most} bytes" in response.read().decode()


def test_a_body_of_a_million_brackets_is_no_activation(function: FunctionProcess) -> None:
    status, body = function.post("/run", b"[" * (RUN_BYTES - 1), None)
    assert (status, body["error"]["reason"]) == (400, "BadRequest")


def test_takes_parameters_token_and_deadline_from_its_body(function: FunctionProcess) -> None:
    value = {"op": "environment", "token": TOKEN}
    deadline = str(int((time.time() + 20) * 1000))
    body = {"value": value, "activation_id": "1", "deadline": deadline, "namespace": "guest"}
    status, answer = function.post("/run", body, None)
    assert status == 200
    assert 0 < answer["secondsLeft"] <= 20


@pytest.mark.parametrize("token", [None, "", 7, "another"])
def test_parameters_must_hold_the_token(function: FunctionProcess, token: object) -> None:
    status, body = function.post("/run", {"value": {"op": "noop", "token": token}}, TOKEN)
    assert (status, body["error"]["reason"]) == (401, "Unauthorized")


@pytest.mark.parametrize(
    ("error", "status", "reason"), [("data", 200, "InvalidData"), ("unexpected", 502, "Internal")]
)
def test_keeps_the_container_for_a_reported_error_and_not_for_an_unexpected_one(
    function: FunctionProcess, error: str, status: int, reason: str
) -> None:
    got, body = run(function, op="fail", error=error)
    assert (got, body["error"]["reason"]) == (status, reason)


def test_a_container_that_is_shutting_down_or_at_work_gets_no_other_activation(
    fresh: FunctionProcess, tmp_path: Path
) -> None:
    fresh.post("/init", parameters(tmp_path), None)
    mark = make_mark(tmp_path)
    value = {"op": "wait", "mark": str(mark), "duration": 60, "token": TOKEN}
    call = fresh.send("/run", json.dumps({"value": value}).encode())
    mark.read_text()
    status, body = run(fresh, op="noop")
    assert (status, body["error"]["reason"], body["error"]["retryable"]) == (502, "Busy", True)
    fresh.process.terminate()
    status, body = receive(call)
    assert (status, body["error"]["reason"], body["error"]["retryable"]) == (502, "ShuttingDown", True)


def test_answers_a_body_that_is_no_activation_with_an_error(function: FunctionProcess) -> None:
    for body in (b"{", b"[]", b'{"value": 3}', b"{}"):
        assert function.post("/run", body, None)[1]["error"]["reason"] == "BadRequest"


def test_logs_end_with_the_platforms_marker_on_both_streams_and_hold_no_token(
    fresh: FunctionProcess, tmp_path: Path
) -> None:
    fresh.post("/init", parameters(tmp_path), None)
    run(fresh, op="noop")
    assert fresh.log().count("XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX\n") == 2
    assert TOKEN not in fresh.log()
