"""A function with small operations for tests of the process and the runtime: python -m functions_for_tests ROLE …"""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter

from sapflow.errors import DataError, InvocationError, StoreUnavailable
from sapflow.messages.message import Message
from sapflow_functions.process import serve
from sapflow_functions.runner import Context

kept: list[object] = []


class Said(Message):
    """Whatever a test wants to be told."""

    model_config = ConfigDict(extra="allow")


def noop(request: dict[str, Any], context: Context) -> Said:
    return Said.model_validate({"pid": os.getpid(), "rank": request.get("rank")})


def environment(request: dict[str, Any], context: Context) -> Said:
    return Said.model_validate({"environ": dict(os.environ), "secondsLeft": context.seconds_left()})


def wait(request: dict[str, Any], context: Context) -> Said:
    """Work until told to stop, for `duration` seconds at most; `mark` is a file made once it is at work."""
    if "mark" in request:
        with Path(request["mark"]).open("w") as mark:
            mark.write(str(os.getpid()))
    end = time.monotonic() + request.get("duration", 60)
    while time.monotonic() < end:
        context.give_up_if_cancelled()
        time.sleep(0.002)
    return Said.model_validate({"pid": os.getpid()})


def deaf(request: dict[str, Any], context: Context) -> Said:
    """Sleep without looking at anything."""
    time.sleep(request["duration"])
    return Said.model_validate({})


def allocate(request: dict[str, Any], context: Context) -> Said:
    """Keep `bytes` of memory, every page touched, then stay at work for `duration` seconds."""
    block = bytearray(request["bytes"])
    block[::4096] = b"\1" * len(block[::4096])
    kept.append(block)
    time.sleep(request.get("duration", 0))
    return Said.model_validate({"pid": os.getpid()})


def map_shared(request: dict[str, Any], context: Context) -> Said:
    """Map a file and read every page of it, then stay at work for `duration` seconds."""
    import mmap

    with Path(request["path"]).open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    kept.append(mapped)
    total = sum(mapped[::4096])
    time.sleep(request["duration"])
    return Said.model_validate({"total": total, "bytes": len(mapped)})


def crash(request: dict[str, Any], context: Context) -> Said:
    print("about to crash", file=sys.stderr, flush=True)
    os.kill(os.getpid(), request.get("signal", signal.SIGKILL))
    return Said.model_validate({})


def fail(request: dict[str, Any], context: Context) -> Said:
    """Raise the error that `error` names."""
    if request["error"] == "validation":
        TypeAdapter(int).validate_python("many")
    errors: dict[str, Exception] = {
        "data": DataError("no such samples"),
        "unavailable": StoreUnavailable("no answer"),
        "named": InvocationError("it did not fit", reason="TooTight", retryable=True),
        "memory": MemoryError("9 EiB"),
        "unexpected": ZeroDivisionError("division by zero"),
    }
    raise errors[request["error"]]


HANDLERS = {
    "noop": noop,
    "environment": environment,
    "wait": wait,
    "deaf": deaf,
    "allocate": allocate,
    "map": map_shared,
    "crash": crash,
    "fail": fail,
}

if __name__ == "__main__":
    role, *argv = sys.argv[1:]
    sys.exit(serve(role, lambda: HANDLERS, argv, os.environ))
