"""Ending by a signal, wherever it strikes."""

import signal
import subprocess
import sys

import pytest

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
    done = subprocess.run(
        [sys.executable, "-c", _LOST, str(int(number))],
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    )
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
    done = subprocess.run(
        [sys.executable, "-c", _WRAPPED, str(int(number))],
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    )
    assert done.stdout == f"ended with {code} by RuntimeError('could not build a validator')\n"
