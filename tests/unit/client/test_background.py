"""Work in a thread of its own: beside a running event loop, stopped in order, and at the program's end."""

import asyncio
import subprocess
import sys
import threading

import pytest

from sapflow.client import threads
from sapflow.client.background import Background, Cancelled, run_apart


async def answer() -> int:
    await asyncio.sleep(0)
    return await asyncio.to_thread(lambda: 42)


def test_a_coroutine_runs_beside_a_running_event_loop() -> None:
    async def main() -> int:
        return run_apart(answer())

    assert asyncio.run(main()) == 42


def test_what_it_raises_is_raised_where_it_is_waited_for() -> None:
    async def broken() -> int:
        raise ValueError("words")

    with pytest.raises(ValueError, match="words"):
        run_apart(broken())


def test_stopping_cancels_it_and_waits_for_its_end() -> None:
    begun, cleaned = threading.Event(), threading.Event()

    async def endless() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.to_thread(cleaned.set)

    work = Background[None]("test", lambda background: background.run(endless()))
    assert begun.wait(60)
    work.stop()
    assert work.wait(60)
    assert cleaned.is_set()
    assert isinstance(work.error, Cancelled)


def _cleans_up_in_two_parts() -> tuple[Background[None], threading.Event, threading.Event, list[int]]:
    begun, cleaning, parts = threading.Event(), threading.Event(), list[int]()

    async def endless() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cleaning.set()
            await asyncio.sleep(0.2)
            parts.append(1)
            await asyncio.to_thread(parts.append, 2)

    work = Background[None]("test", lambda background: background.run(endless()))
    return work, begun, cleaning, parts


def test_stopped_again_while_it_cleans_up_it_cleans_up_to_the_end() -> None:
    work, begun, cleaning, parts = _cleans_up_in_two_parts()
    assert begun.wait(60)
    work.stop()
    work.stop()
    assert cleaning.wait(60)
    work.stop()
    assert work.wait(60)
    assert parts == [1, 2]
    assert isinstance(work.error, Cancelled)


def test_stopped_again_much_later_its_clean_up_is_stopped_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "INSISTENCE_SECONDS", 0.0)
    work, begun, cleaning, parts = _cleans_up_in_two_parts()
    assert begun.wait(60)
    work.stop()
    assert cleaning.wait(60)
    work.stop()
    assert work.wait(60)
    assert parts == []
    assert isinstance(work.error, Cancelled)


_SIGNALLED = """
import asyncio, os, signal
from sapflow.cli.stop import Stopped, run_until_stopped

async def endless():
    os.kill(os.getpid(), signal.SIGINT)
    try:
        await asyncio.Event().wait()
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.2)
        await asyncio.to_thread(print, "cleaned up", flush=True)

try:
    run_until_stopped(endless())
except Stopped as stopped:
    raise SystemExit(stopped.exit_code)
"""


def test_a_second_signal_does_not_disturb_what_a_command_cleans_up() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SIGNALLED], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "cleaned up\n", "")


def test_stopped_before_its_coroutine_begins_it_does_not_begin() -> None:
    go = threading.Event()
    seen = []

    async def never() -> None:
        seen.append(1)
        await asyncio.sleep(0)
        seen.append(2)

    def steps(background: Background[None]) -> None:
        assert go.wait(60)
        background.run(never())

    work = Background[None]("test", steps)
    work.stop()
    go.set()
    assert work.wait(60)
    assert isinstance(work.error, Cancelled)
    assert seen == []


def test_between_pieces_that_are_no_coroutines_it_asks_whether_to_stop() -> None:
    go = threading.Event()

    def steps(background: Background[int]) -> int:
        assert go.wait(60)
        background.check()
        return 1

    work = Background[int]("test", steps)
    work.stop()
    go.set()
    assert work.wait(60)
    with pytest.raises(Cancelled):
        work.result()


_LEAVING = """
import asyncio, threading
from sapflow.client import threads
from sapflow.client.background import Background

begun = threading.Event()

async def endless():
    begun.set()
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.to_thread(print, "cleaned up", flush=True)

Background("digits", lambda background: background.run(endless()))
begun.wait()
"""


def test_at_the_programs_end_it_is_stopped_in_order_and_told_of() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LEAVING], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout == "cleaned up\n"
    assert done.stderr == "digits was stopped, because the program has ended: wait() for it\n"
