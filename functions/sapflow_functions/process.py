"""The process of a function: lifeline, imports, socket, uvicorn, shutdown.

A function that a local parent starts holds one end of a socket pair, the lifeline. It writes `ready` there when it
listens, and ends at once when the other end closes. So functions end with their parent, however that ends.
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
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from sapflow import logs
from sapflow.errors import SapflowError
from sapflow_functions.settings import Settings

if TYPE_CHECKING:
    from sapflow_functions.runner import Handler

logger = logging.getLogger("sapflow.function")


class Listening(Protocol):
    """Where a process listens, and how long it may take to stop."""

    @property
    def uds(self) -> str | None: ...

    @property
    def host(self) -> str: ...

    @property
    def port(self) -> int: ...

    @property
    def grace_seconds(self) -> float: ...


def serve(
    role: str,
    load_handlers: Callable[[], "Mapping[str, Handler]"],
    argv: Sequence[str],
    environ: Mapping[str, str],
) -> int:
    """Serve until SIGTERM or the end of the parent. Returns the exit code of the process.

    `load_handlers` is called after the lifeline is connected, so heavy imports belong inside it.
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
    function = app.state.function
    run_app(app, settings, lifeline, stop=function.stop)
    if function.busy:
        # The handler did not give up in time; its thread must not keep the process alive.
        os._exit(1)
    return 0


def hold_lifeline(fd: int) -> socket.socket:
    """Watch the inherited socket `fd` in a thread, and end this process when the other end closes."""
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
    """Import without garbage collection and without building the schemas of FastAPI's OpenAPI models.

    This saves a quarter of the start. The collector would walk all modules several times and free nothing. The OpenAPI
    document is never requested, and pydantic builds a deferred schema when it is first used.
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


def run_app(
    app: Callable[..., Awaitable[None]],
    settings: Listening,
    lifeline: socket.socket | None,
    *,
    stop: Callable[[], None] = lambda: None,
    beside: contextlib.AbstractAsyncContextManager[object] | None = None,
) -> None:
    """Serve an ASGI application until SIGTERM or SIGINT, when `stop` is called. What is in flight is answered before.

    `beside` is what serves in the same event loop: it is entered before the process is ready, and left at its end.
    """
    import uvicorn

    listener = listen(settings)

    class Server(uvicorn.Server):
        async def main_loop(self) -> None:
            # uvicorn's own loop wakes ten times a second, too often for idle processes beside busy ones.
            await self.on_tick(0)
            await self.stopped.wait()

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            if beside is not None:
                await beside.__aenter__()
            await super().startup(sockets)
            if lifeline is not None:
                lifeline.sendall(_ready_line(listener))
            logs.event(logger, logging.INFO, "listening", address=str(listener.getsockname()))

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            await super().shutdown(sockets)
            if beside is not None:
                await beside.__aexit__(None, None, None)

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            # uvicorn's own handler raises the signal again at the end, and the exit code would then mean a failure.
            loop = asyncio.get_running_loop()
            self.stopped = asyncio.Event()

            def end(number: int, frame: object) -> None:
                self.should_exit = True
                stop()
                loop.call_soon_threadsafe(self.stopped.set)

            before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
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
        # Warm instances are idle between steps, and a caller's persistent connection must survive that.
        timeout_keep_alive=3600,
        timeout_graceful_shutdown=max(1, round(settings.grace_seconds)),
    )
    Server(config).run(sockets=[listener])


def listen(settings: Listening) -> socket.socket:
    """The bound socket that the settings name. Raises OSError."""
    if settings.uds is not None:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(settings.uds)
    else:
        # asyncio sets TCP_NODELAY only if the socket's protocol number is given. Without it, an
        # answer's body would wait 40 ms for the acknowledgement of its head.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
    return listener


def _ready_line(listener: socket.socket) -> bytes:
    """The line `ready PORT`; the port is 0 for a Unix socket."""
    port = 0 if listener.family == socket.AF_UNIX else listener.getsockname()[1]
    return f"ready {port}\n".encode()
