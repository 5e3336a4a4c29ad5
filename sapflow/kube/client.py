"""The client: requests to an API server with time limits, repetitions if they may help, and translated errors.

Objects are plain dicts without `managedFields`, which make half of most objects and are not needed here.
"""

import asyncio
import json
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from sapflow.kube.access import AccessSource
from sapflow.kube.errors import ClusterError, ClusterUnavailable
from sapflow.text import parse_json

Object = dict[str, Any]
Query = Mapping[str, str]
Change = tuple[str, list[Object]]
"""A kind of change (LISTED, ADDED, MODIFIED, DELETED) and its objects; LISTED has all objects that exist now."""

PAGE = 200
"""The number of objects in a page of a list."""
_WATCH_SECONDS = 60
_SILENT_SECONDS = 75.0
"""After this silence a followed log is requested again. A watch ends by itself earlier."""
_WATCH_TRIES = 10
_LONGEST_PAUSE = 10.0
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_SHOWN = 300
"""The number of characters that are shown of an answer that is no Status object."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a client waits for answers, and after which of them it repeats a request."""

    seconds: float = 15.0
    """Time limit of an answer. Streams may last longer, and be silent for a minute."""
    connect_seconds: float = 5.0
    tries: int = 4
    pause: float = 0.2
    """Seconds before the second try. They double for each further one, with jitter."""
    again: frozenset[int] = frozenset({429, 500, 502, 503, 504})
    """HTTP statuses after which a request is repeated; with renewable credentials 401 belongs here."""


class ApiClient:
    """A client of one API server. It must be used and closed in one event loop.

    Each request may be made twice, because all of them are idempotent.
    """

    def __init__(
        self,
        access: AccessSource,
        patience: Patience = Patience(),
        *,
        connections: int = 100,
        failed: Callable[[str, int], None] | None = None,
    ) -> None:
        """`connections` is the largest number of connections. `failed` is called with method and HTTP status of each
        failed try."""
        self._access, self._patience = access, patience
        self._connections, self._failed = connections, failed
        self._session: aiohttp.ClientSession | None = None

    async def read(self, path: str, query: Query | None = None, *, with_managers: bool = False) -> Object:
        """An object, without its `managedFields` unless `with_managers`. Raises ClusterError, also if there is none
        (404)."""
        return (await self._ask("GET", path, query=query, with_managers=with_managers))[1]

    async def each(self, path: str, query: Query | None = None) -> AsyncGenerator[Object, None]:
        """Yields the objects of a list, and holds only a page of them. Raises ClusterError."""
        async with aclosing(self._pages(path, query or {})) as pages:
            async for page in pages:
                for item in page["items"]:
                    yield item

    async def objects(self, path: str, query: Query | None = None) -> list[Object]:
        """The objects of a list. Raises ClusterError."""
        return [found async for found in self.each(path, query)]

    async def create(
        self, path: str, manifest: Mapping[str, Any], manager: str | None = None, *, dry_run: bool = False
    ) -> Object:
        """Create an object in the list at `path`, with fields of this manager. With `dry_run` the server only checks
        the manifest. Raises ClusterError, with 409 if there is an object of its name."""
        query = {"fieldManager": manager} if manager else {}
        query |= {"dryRun": "All"} if dry_run else {}
        return (await self._ask("POST", path, query=query, body=manifest))[1]

    async def apply(
        self,
        path: str,
        manifest: Mapping[str, Any],
        manager: str,
        *,
        force: bool = True,
        dry_run: bool = False,
    ) -> tuple[bool, Object]:
        """Apply a manifest server-side. Returns whether the object is new, and the object.

        Without `force` a field of another manager is a conflict (409). With `dry_run` the server only checks the
        manifest. Raises ClusterError.
        """
        query = {"fieldManager": manager}
        query |= {"force": "true"} if force else {}
        query |= {"dryRun": "All"} if dry_run else {}
        status, found = await self._ask("PATCH", path, query=query, body=manifest, media=_APPLY)
        return status == 201, found

    async def patch(self, path: str, change: Mapping[str, Any]) -> Object:
        """Apply a JSON merge patch. Raises ClusterError."""
        return (await self._ask("PATCH", path, body=change, media=_MERGE))[1]

    async def delete(self, path: str, uid: str | None = None, *, at_once: bool = False) -> None:
        """Remove an object and everything that it owns. Raises ClusterError with 404 if it is gone, 409 if its uid is
        not `uid`.

        With `at_once` the node need not confirm it.
        """
        body: Object = {"propagationPolicy": "Background"}
        body |= {"gracePeriodSeconds": 0} if at_once else {}
        body |= {"preconditions": {"uid": uid}} if uid is not None else {}
        await self._ask("DELETE", path, body=body)

    async def changes(self, path: str, query: Query | None = None) -> AsyncGenerator[list[Change], None]:
        """Yields a list's objects, then every change to it, without end. After an interruption it resumes.

        Raises ClusterError, and ClusterUnavailable after many consecutive failures.
        """
        version: str | None = None
        failures = 0
        while True:
            try:
                if version is None:
                    version, found = await self._listed(path, query or {})
                    yield [("LISTED", found)]
                async with aclosing(self._watch(path, query or {}, version)) as watch:
                    async for heard in watch:
                        failures = 0
                        if any(kind == "ERROR" for kind, _ in heard):
                            # Usually 410: the server no longer knows this resource version. Everything is listed again.
                            version = None
                            break
                        version = str(heard[-1][1]["metadata"]["resourceVersion"])
                        if told := [(kind, [changed]) for kind, changed in heard if kind != "BOOKMARK"]:
                            yield told
                failures = 0 if version is not None else failures + 1
            except ClusterUnavailable:
                failures += 1
                if failures > _WATCH_TRIES:
                    raise
            except ClusterError as error:
                if error.status != 410:
                    raise
                version, failures = None, failures + 1
            await self._wait(failures)

    async def lines(
        self, path: str, query: Query | None = None, *, follow: bool = False
    ) -> AsyncGenerator[list[str], None]:
        """Yields the lines of a text in batches as they arrive. With `follow` it may be silent for a while.

        Raises ClusterError, and ClusterUnavailable if it breaks off or is silent for long.
        """
        seconds = _SILENT_SECONDS if follow else self._patience.seconds
        async with self._stream(path, query or {}, seconds) as response:
            rest = b""
            async for part in response.content.iter_any():
                *lines, rest = (rest + part).split(b"\n")
                if lines:
                    yield [line.decode("utf-8", errors="replace") for line in lines]
            if rest:
                yield [rest.decode("utf-8", errors="replace")]

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
        self._session = None

    async def _pages(self, path: str, query: Query) -> AsyncGenerator[Object, None]:
        asked = {**query, "limit": str(PAGE)}
        while True:
            _, page = await self._ask("GET", path, query=asked)
            yield page
            if not (more := page.get("metadata", {}).get("continue")):
                return
            asked["continue"] = more

    async def _listed(self, path: str, query: Query) -> tuple[str, list[Object]]:
        """The resource version of a list, which all its pages share, and its objects."""
        found: list[Object] = []
        version = ""
        async for page in self._pages(path, query):
            version = str(page["metadata"]["resourceVersion"])
            found += page["items"]
        return version, found

    async def _watch(
        self, path: str, query: Query, version: str
    ) -> AsyncGenerator[list[tuple[str, Object]], None]:
        asked = {
            **query,
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(_WATCH_SECONDS),
        }
        async with aclosing(self.lines(path, asked, follow=True)) as batches:
            async for batch in batches:
                events = [_object(line, f"watch {path}", 200) for line in batch if line.strip()]
                if events:
                    yield [(str(event["type"]), event["object"]) for event in events]

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Mapping[str, Any] | None = None,
        media: str = "application/json",
        with_managers: bool = False,
    ) -> tuple[int, Object]:
        """Status and object of an answer. Requests are repeated a few times if that may help. Raises ClusterError."""
        timeout = aiohttp.ClientTimeout(
            total=self._patience.seconds, sock_connect=self._patience.connect_seconds
        )
        for attempt in range(self._patience.tries):
            try:
                async with self._send(method, path, timeout, query, body, media) as response:
                    status, text = response.status, await response.text()
            except ClusterUnavailable:
                if attempt == self._patience.tries - 1:
                    raise
                await self._wait(attempt)
            else:
                return status, _object(text, f"{method} {path}", status, with_managers)
        raise AssertionError("unreachable")

    @asynccontextmanager
    async def _stream(self, path: str, query: Query, seconds: float) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer whose body is yet to be read and may be silent for `seconds`. Only the request is repeated."""
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=self._patience.connect_seconds, sock_read=seconds
        )
        for attempt in range(self._patience.tries):
            begun = False
            try:
                async with self._send("GET", path, timeout, query) as response:
                    begun = True
                    yield response
                    return
            except ClusterUnavailable:
                if begun or attempt == self._patience.tries - 1:
                    raise
            await self._wait(attempt)

    @asynccontextmanager
    async def _send(
        self,
        method: str,
        path: str,
        timeout: aiohttp.ClientTimeout,
        query: Query | None = None,
        body: Mapping[str, Any] | None = None,
        media: str = "application/json",
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A successful answer; errors while it is read are translated, too. Raises ClusterError."""
        asked = f"{method} {path}"
        access = await self._access.current()
        try:
            async with self._connected().request(
                method,
                f"{access.server}{path}",
                params=query,
                data=None if body is None else json.dumps(body).encode(),
                headers={**access.headers, **({} if body is None else {"Content-Type": media})},
                timeout=timeout,
                ssl=access.tls or True,
                server_hostname=access.server_name,
                proxy=access.proxy,
                # A token must not be sent to another server.
                allow_redirects=False,
            ) as response:
                if response.status >= 300:
                    raise self._refusal(asked, response.status, await response.text())
                yield response
        except ClusterError as error:
            self._tell(method, error.status)
            raise
        except (aiohttp.ClientError, OSError, TimeoutError, UnicodeDecodeError) as error:
            self._tell(method, 0)
            why = str(error) or type(error).__name__
            raise ClusterUnavailable(
                f"the API server at {access.server} does not answer: {why} ({asked})", 0
            ) from error

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=self._connections))
        return self._session

    def _refusal(self, asked: str, status: int, text: str) -> ClusterError:
        if status == 401:
            self._access.refused()
        kind = ClusterUnavailable if status in self._patience.again else ClusterError
        return kind(f"{asked} was refused: {status}: {_message(text)}", status, text)

    def _tell(self, method: str, status: int) -> None:
        if self._failed is not None:
            self._failed(method, status)

    async def _wait(self, failures: int) -> None:
        pause = min(_LONGEST_PAUSE, self._patience.pause * 2**failures)
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))


def _object(text: str, asked: str, status: int, with_managers: bool = False) -> Object:
    """The JSON object of an answer. Raises ClusterError if it is anything else, because then it is no API server."""
    try:
        found = json.loads(text, object_pairs_hook=dict if with_managers else _without_managed_fields)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ClusterError(
            f"{asked} got an answer that is no JSON object: {text[:_SHOWN]!r}; is an API server at that address?",
            status,
            text,
        )
    return found


def _without_managed_fields(pairs: list[tuple[str, Any]]) -> Object:
    return {name: value for name, value in pairs if name != "managedFields"}


def _message(text: str) -> str:
    """The message of a refusal's Status object, or else the beginning of its text."""
    try:
        said = parse_json(text)
    except ValueError:
        return text.strip()[:_SHOWN]
    return str(said.get("message", "")) if isinstance(said, dict) else ""
