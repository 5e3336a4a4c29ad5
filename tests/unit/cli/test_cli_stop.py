"""Ending by a signal, wherever it strikes."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.commands import finish, send, started, write_job


def ran(program: str, *arguments: int) -> subprocess.CompletedProcess[str]:
    """A Python program, which must end with exit code 0."""
    command = [sys.executable, "-c", program, *(str(int(each)) for each in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    return done


_LOST = """
import os, signal, sys, time
from sapflow.cli.stop import Stopped, insistent

class Dying:
    def __del__(self):
        os.kill(os.getpid(), int(sys.argv[1]))
        for _ in range(1000):
            pass

before = signal.getsignal(signal.SIGINT)
try:
    with insistent():
        Dying()
        print("still here", flush=True)
        time.sleep(60)
        print("slept on")
except Stopped as stop:
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGINT) is before
    print("ended with", stop.exit_code)
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_that_strikes_inside_a_finaliser_ends_the_work_all_the_same(number: int, code: int) -> None:
    done = ran(_LOST, number)
    assert done.stdout.splitlines() == ["still here", f"ended with {code}"]
    assert "Exception ignored in" in done.stderr


_WRAPPED = """
import os, signal, sys
from sapflow.cli.stop import Stopped, stoppable

try:
    with stoppable():
        try:
            os.kill(os.getpid(), int(sys.argv[1]))
            for _ in range(1000):
                pass
        except BaseException as error:
            raise RuntimeError("could not build a validator") from error
except Stopped as stop:
    print("ended with", stop.exit_code, "by", repr(stop.__cause__))
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_that_becomes_another_error_on_its_way_ends_the_work_all_the_same(
    number: int, code: int
) -> None:
    done = ran(_WRAPPED, number)
    assert done.stdout == f"ended with {code} by RuntimeError('could not build a validator')\n"


@pytest.mark.parametrize(
    ("command", "number", "code"), [("status", signal.SIGTERM, 143), ("report", signal.SIGINT, 130)]
)
def test_a_store_that_never_answers_keeps_nobody_from_leaving(
    command: str, number: signal.Signals, code: int, tmp_path: Path
) -> None:
    file = write_job(tmp_path / "job.yaml")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = f"s3://bucket/prefix?endpoint=http://127.0.0.1:{silent.getsockname()[1]}"
        environ = {"SAPFLOW_S3_ACCESS_KEY": "key", "SAPFLOW_S3_SECRET_KEY": "secret"}
        with started(command, file, "--store", store, environ=environ) as process:
            connection, _ = silent.accept()
            with connection:
                assert connection.recv(1)
                send(process, number)
                done = finish(process)
    assert (done.code, done.err) == (code, "")


_TIMED = """
import signal
from sapflow.cli.stop import Stopped, insistent, stoppable

signal.setitimer(signal.ITIMER_REAL, 100)
for guard in (stoppable, insistent):
    with guard():
        assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
try:
    with stoppable():
        signal.raise_signal(signal.SIGINT)
except Stopped:
    assert 90 < signal.getitimer(signal.ITIMER_REAL)[0] <= 100
    print("untouched")
"""


def test_the_alarm_of_others_is_left_alone() -> None:
    assert ran(_TIMED).stdout == "untouched\n"
