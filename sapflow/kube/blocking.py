"""The client for programs without an event loop. Each call waits for the same call of `ApiClient`.

The event loop runs in a thread, so a signal that interrupts the caller never interrupts the loop.
"""

import asyncio
import threading
import weakref
from collections.abc import AsyncGenerator, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from typing import Any, TypeVar

from sapflow.kube.client import ApiClient, Change, Object, Query
from sapflow.kube.errors import ClusterUnavailable

T = TypeVar("T")
_CLOSE_SECONDS = 5.0


class BlockingApiClient:
    """An ApiClient whose calls block. It is thread-safe.

    It ends with `close`, or when it has no more references, or with the process.
    """

    def __init__(self, client: ApiClient) -> None:
        """`client` must not be used by anything else, and is closed by this object."""
        started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        thread = threading.Thread(target=_run, args=(client, started), name="kube", daemon=True)
        thread.start()
        self._client = client
        self._loop, stop = started.result()
        self._finalizer = weakref.finalize(self, _stop, self._loop, stop, thread)

    def close(self) -> None:
        """End all calls under way, and the thread."""
        self._finalizer()

    def read(self, path: str, query: Query | None = None) -> Object:
        return self._wait(self._client.read(path, query))

    def objects(self, path: str, query: Query | None = None) -> list[Object]:
        return self._wait(self._client.objects(path, query))

    def apply(
        self,
        path: str,
        manifest: Mapping[str, Any],
        manager: str,
        *,
        force: bool = True,
        dry_run: bool = False,
    ) -> tuple[bool, Object]:
        return self._wait(self._client.apply(path, manifest, manager, force=force, dry_run=dry_run))

    def patch(self, path: str, change: Mapping[str, Any]) -> Object:
        return self._wait(self._client.patch(path, change))

    def delete(self, path: str, uid: str | None = None, *, at_once: bool = False) -> None:
        self._wait(self._client.delete(path, uid, at_once=at_once))

    def changes(self, path: str, query: Query | None = None) -> Iterator[Change]:
        return self._iterate(self._client.changes(path, query))

    def lines(self, path: str, query: Query | None = None, *, follow: bool = False) -> Iterator[str]:
        return self._iterate(self._client.lines(path, query, follow=follow))

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, which is cancelled if the wait is interrupted."""
        if not self._finalizer.alive:
            work.close()
            raise ClusterUnavailable("the client of the API server is closed", 0)
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except CancelledError as error:
            raise ClusterUnavailable("the client of the API server was closed", 0) from error
        except BaseException:
            future.cancel()
            raise

    def _iterate(self, batches: AsyncGenerator[Sequence[T], None]) -> Iterator[T]:
        """The items of batches one by one; to switch threads for each item would take longer than reading it."""
        try:
            while (batch := self._wait(_next(batches))) is not None:
                yield from batch
        finally:
            # This does not wait: an abandoned generator is closed in whichever thread collects the garbage.
            if self._finalizer.alive:
                asyncio.run_coroutine_threadsafe(_close(batches), self._loop)


async def _next(batches: AsyncGenerator[T, None]) -> T | None:
    return await anext(batches, None)


async def _close(batches: AsyncGenerator[Any, None]) -> None:
    # It still runs if a wait for it was interrupted just now; then it is cancelled and ends by itself.
    with suppress(RuntimeError):
        await batches.aclose()


def _run(client: ApiClient, started: "Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]") -> None:
    """Run the event loop in the thread until it is told to stop; tasks under way are cancelled then."""

    async def serve() -> None:
        stop = asyncio.Event()
        started.set_result((asyncio.get_running_loop(), stop))
        await stop.wait()
        calls = asyncio.all_tasks() - {asyncio.current_task()}
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await client.close()

    asyncio.run(serve())


def _stop(loop: asyncio.AbstractEventLoop, stop: asyncio.Event, thread: threading.Thread) -> None:
    with suppress(RuntimeError):  # the loop is closed
        loop.call_soon_threadsafe(stop.set)
    if thread is not threading.current_thread():
        thread.join(_CLOSE_SECONDS)
