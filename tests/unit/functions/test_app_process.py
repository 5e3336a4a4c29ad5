"""The function's process: its settings, its end by signal, and its end with its parent."""

import asyncio
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from function_process import COMMAND, TOKEN, FunctionProcess, make_mark, receive

from sapflow.errors import SpecError
from sapflow_functions.process import listen
from sapflow_functions.settings import Settings

ENVIRON = {"SAPFLOW_TOKEN": "secret", "SAPFLOW_STORE": "file:///data"}


def test_refuses_to_start_without_a_token_and_names_the_variable() -> None:
    environ = {"PATH": os.environ["PATH"], "SAPFLOW_STORE": "file:///data"}
    done = subprocess.run([*COMMAND, "worker"], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "SAPFLOW_TOKEN: is not set" in done.stderr
    assert "Traceback" not in done.stderr


def test_reads_the_token_from_a_mounted_file(tmp_path: Path) -> None:
    mounted = tmp_path / "token"
    mounted.write_text("from-a-file\n")
    environ = {"SAPFLOW_TOKEN_FILE": str(mounted), "SAPFLOW_STORE": "file:///data"}
    assert Settings.read([], environ).token() == "from-a-file"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"SAPFLOW_TOKEN": ""}, "SAPFLOW_TOKEN"),
        ({"SAPFLOW_TOKEN": "", "SAPFLOW_TOKEN_FILE": "/no/such/file"}, "SAPFLOW_TOKEN_FILE"),
        ({"SAPFLOW_STORE": ""}, "SAPFLOW_STORE"),
        ({"PORT": "http"}, "PORT"),
        ({"PORT": "70000"}, "PORT"),
        ({"SAPFLOW_LOG_LEVEL": "LOUD"}, "SAPFLOW_LOG_LEVEL"),
        ({"SAPFLOW_GRACE_SECONDS": "long"}, "SAPFLOW_GRACE_SECONDS"),
    ],
)
def test_names_the_variable_that_is_wrong(change: dict[str, str], field: str) -> None:
    with pytest.raises(SpecError) as caught:
        Settings.read([], ENVIRON | change)
    assert [name for name, _ in caught.value.problems] == [field]


def test_shows_neither_token_nor_credentials_when_printed() -> None:
    keys = {"SAPFLOW_S3_ACCESS_KEY": "id", "SAPFLOW_S3_SECRET_KEY": "hidden-key"}
    shown = repr(Settings.read([], ENVIRON | keys))
    assert "secret" not in shown
    assert "hidden-key" not in shown


def test_sigterm_makes_the_call_at_work_give_up_and_exits_cleanly(tmp_path: Path) -> None:
    with FunctionProcess(tmp_path) as function:
        mark = make_mark(tmp_path)
        request = {"op": "wait", "mark": str(mark), "duration": 60}
        call = function.send("/invoke", json.dumps(request).encode())
        mark.read_text()
        function.process.send_signal(signal.SIGTERM)
        status, body = receive(call)
        assert (status, body["error"]["reason"], body["error"]["retryable"]) == (503, "ShuttingDown", True)
        assert function.process.wait(timeout=30) == 0


def test_sigterm_lets_a_call_that_cannot_give_up_finish_within_the_grace_period(tmp_path: Path) -> None:
    with FunctionProcess(tmp_path) as function:
        call = function.send("/invoke", json.dumps({"op": "deaf", "duration": 1}).encode())
        while 'busy{role="worker"} 1' not in function.get("/metrics")[1]:
            pass
        function.process.send_signal(signal.SIGTERM)
        assert receive(call) == (200, {})
        assert function.process.wait(timeout=30) == 0


def test_a_call_that_outlasts_the_grace_period_does_not_hold_the_process(tmp_path: Path) -> None:
    request = json.dumps({"op": "deaf", "duration": 600}).encode()
    with (
        FunctionProcess(tmp_path, SAPFLOW_GRACE_SECONDS="1") as function,
        closing(function.send("/invoke", request)),
    ):
        while 'busy{role="worker"} 1' not in function.get("/metrics")[1]:
            pass
        function.process.send_signal(signal.SIGTERM)
        assert function.process.wait(timeout=30) == 1


@pytest.mark.parametrize("op", ["wait", "deaf"])
def test_ends_at_once_when_its_lifeline_closes_even_at_work(tmp_path: Path, op: str) -> None:
    request = json.dumps({"op": op, "duration": 600}).encode()
    with FunctionProcess(tmp_path) as function, closing(function.send("/invoke", request)):
        while 'busy{role="worker"} 1' not in function.get("/metrics")[1]:
            pass
        function.hang_up()
        assert function.process.wait(timeout=30) == 1


def test_a_merger_process_imports_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from sapflow_functions import app, openwhisk\n"
        "from sapflow_functions.roles import merger\n"
        "merger._load_handlers()\n"
        "print([name for name in ('torch', 'sklearn', 'pyarrow', 'rich', 'aiohttp') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_serves_on_a_tcp_port_when_given_no_socket(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    environ = {
        "PATH": os.environ["PATH"],
        "SAPFLOW_TOKEN": TOKEN,
        "SAPFLOW_STORE": str(tmp_path),
        "PORT": "0",
    }
    command = [*COMMAND, "worker", "--host", "127.0.0.1", "--lifeline", str(theirs.fileno())]
    with ours, theirs, subprocess.Popen(command, env=environ, pass_fds=[theirs.fileno()]) as process:
        port = int(ours.recv(64).split()[1])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200
        connection.close()
        process.terminate()
        assert process.wait(timeout=30) == 0


def test_sends_the_end_of_an_answer_without_waiting_for_the_acknowledgement_of_its_beginning() -> None:
    async def accept() -> int:
        delays: asyncio.Queue[int] = asyncio.Queue()

        class Accepted(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                connection = transport.get_extra_info("socket")
                delays.put_nowait(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
                transport.close()

        listener = listen(Settings.read(["--port", "0"], ENVIRON))
        server = await asyncio.get_running_loop().create_server(Accepted, sock=listener)
        async with server:
            _, writer = await asyncio.open_connection(*listener.getsockname())
            writer.close()
            return await asyncio.wait_for(delays.get(), 10)

    assert asyncio.run(accept()) == 1
