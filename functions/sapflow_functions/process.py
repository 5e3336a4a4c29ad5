"""The process of a function: lifeline, imports, socket, uvicorn, shutdown.

A function started by a local parent holds one end of a socket pair. It writes `ready` there when it listens, and it
ends at once when the other end closes: whatever ends the parent, by any signal, ends its functions.
"""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from sapflow import logs
from sapflow.errors import SapflowError
from sapflow_functions.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

    from sapflow_functions.runner import Handler

logger = logging.getLogger("sapflow.function")


def serve(
    role: str,
    load_handlers: Callable[[], "Mapping[str, Handler]"],
    argv: Sequence[str],
    environ: Mapping[str, str],
) -> int:
    """Serve until SIGTERM or the end of the parent; the exit code of the process.

    `load_handlers` is called after the lifeline holds, so that heavy imports belong inside it.
    """
    born = time.monotonic()
    try:
        settings = Settings.read(argv, environ)
        lifeline = None if settings.lifeline is None else hold_lifeline(settings.lifeline)
        logs.configure(settings.log_level, role=role)
        with quick_imports():
            from sapflow_functions.app import create_app

            handlers = load_handlers()
            app = create_app(role, handlers, settings, born)
    except SapflowError as error:
        print(f"sapflow {role}: {error}", file=sys.stderr)
        return 2
    _run(app, settings, lifeline)
    return 0


def hold_lifeline(fd: int) -> socket.socket:
    """Watch the inherited socket `fd` from a thread of its own, and end this process when its other end closes."""
    lifeline = socket.socket(fileno=fd)

    def watch() -> None:
        with contextlib.suppress(OSError):
            while lifeline.recv(64):
                pass
        os._exit(1)

    threading.Thread(target=watch, name="sapflow-lifeline", daemon=True).start()
    return lifeline


@contextlib.contextmanager
def quick_imports() -> Iterator[None]:
    """Import without garbage collection, and without building the schemas of FastAPI's OpenAPI models.

    Both are a quarter of the start. The collector would walk all modules several times and free nothing; nobody
    asks a function for its OpenAPI document, and pydantic builds a deferred schema when it is first used.
    """
    from pydantic import BaseModel

    gc.disable()
    BaseModel.model_config["defer_build"] = True
    try:
        yield
    finally:
        del BaseModel.model_config["defer_build"]
        gc.freeze()
        gc.enable()


def _run(app: "FastAPI", settings: Settings, lifeline: socket.socket | None) -> None:
    import uvicorn

    listener = listen(settings)

    class Server(uvicorn.Server):
        async def main_loop(self) -> None:
            # uvicorn's own wakes ten times a second: too often for processes that idle beside busy ones.
            await self.on_tick(0)
            await self.stopped.wait()

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if lifeline is not None:
                lifeline.sendall(_ready_line(listener))
            logs.event(logger, logging.INFO, "listening", address=str(listener.getsockname()))

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            # uvicorn's own raises the signal once more at the end, and the exit code would tell of a failure.
            loop = asyncio.get_running_loop()
            self.stopped = asyncio.Event()

            def stop(number: int, frame: object) -> None:
                self.should_exit = True
                app.state.function.stop()
                loop.call_soon_threadsafe(self.stopped.set)

            before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
            try:
                yield
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)

    config = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        # Warm instances idle between steps: a caller's kept connection must outlive that.
        timeout_keep_alive=3600,
        timeout_graceful_shutdown=max(1, round(settings.grace_seconds)),
    )
    Server(config).run(sockets=[listener])
    if app.state.function.busy:
        # A handler that did not give up in time: its thread must not hold the process.
        os._exit(1)


def listen(settings: Settings) -> socket.socket:
    """The socket that the settings name, bound. Raises OSError."""
    if settings.uds is not None:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(settings.uds)
    else:
        # By its protocol's number alone does asyncio know that connections of this are to send without delay: an
        # answer's body would wait 40 ms for the acknowledgement of its head.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
    return listener


def _ready_line(listener: socket.socket) -> bytes:
    """`ready PORT`; port 0 on a Unix socket."""
    port = 0 if listener.family == socket.AF_UNIX else listener.getsockname()[1]
    return f"ready {port}\n".encode()
