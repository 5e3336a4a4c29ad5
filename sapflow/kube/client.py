"""The client: requests to an API server, bounded in time, tried again where that may help, errors translated.

Objects are plain dicts without `managedFields`, which are half of most objects and which nobody here asks for.
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

Object = dict[str, Any]
Query = Mapping[str, str]
Change = tuple[str, list[Object]]
"""What happened (LISTED, ADDED, MODIFIED, DELETED) and to which objects; LISTED are all that there are now."""

PAGE = 200
"""Objects of a list that are read at once."""
_WATCH_SECONDS = 60
_SILENT_SECONDS = 75.0
"""A watch ends by itself before; a log that is silent for so long is asked for anew."""
_WATCH_TRIES = 10
_LONGEST_PAUSE = 10.0
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_SHOWN = 300
"""Characters of an answer that is no Status object."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a client waits for answers, and after which of them it asks again."""

    seconds: float = 15.0
    """For a whole answer; streams may last, and be silent for a minute."""
    connect_seconds: float = 5.0
    tries: int = 4
    pause: float = 0.2
    """Seconds before the second try, doubled at each further one, and varied so that clients do not come at once."""
    again: frozenset[int] = frozenset({429, 500, 502, 503, 504})
    """HTTP statuses that a further try may mend; 401 belongs here where credentials are renewed."""


class ApiClient:
    """Talks to one API server. To be used within one event loop, and closed there.

    Each request may be made twice: all of them leave the same behind whether they are made once or more often.
    """

    def __init__(
        self,
        access: AccessSource,
        patience: Patience = Patience(),
        *,
        connections: int = 100,
        failed: Callable[[str, int], None] | None = None,
    ) -> None:
        """`connections`: at most, at once. `failed` hears of each try that fails: its method and HTTP status."""
        self._access, self._patience = access, patience
        self._connections, self._failed = connections, failed
        self._session: aiohttp.ClientSession | None = None

    async def read(self, path: str, query: Query | None = None) -> Object:
        """An object. Raises ClusterError, also where there is none (404)."""
        return (await self._ask("GET", path, query=query))[1]

    async def each(self, path: str, query: Query | None = None) -> AsyncGenerator[Object, None]:
        """The objects of a list, one after the other: no more than a page of them is held. Raises ClusterError."""
        async with aclosing(self._pages(path, query or {})) as pages:
            async for page in pages:
                for item in page["items"]:
                    yield item

    async def objects(self, path: str, query: Query | None = None) -> list[Object]:
        """As `each`, all at once."""
        return [found async for found in self.each(path, query)]

    async def create(self, path: str, manifest: Mapping[str, Any]) -> Object:
        """A new object in the list at `path`. Raises ClusterError."""
        return (await self._ask("POST", path, body=manifest))[1]

    async def apply(
        self,
        path: str,
        manifest: Mapping[str, Any],
        manager: str,
        *,
        force: bool = True,
        dry_run: bool = False,
    ) -> tuple[bool, Object]:
        """Make the manager's fields of an object what the manifest says, by server-side apply.

        Whether the object is new, and the object. Without `force` a field of another manager is a conflict (409);
        with `dry_run` it is only asked whether it would do. Raises ClusterError.
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
        """Remove an object and what it owns. Raises ClusterError: 404 where it is gone, 409 where `uid` is another's.

        With `at_once` no node is waited for.
        """
        body: Object = {"propagationPolicy": "Background"}
        body |= {"gracePeriodSeconds": 0} if at_once else {}
        body |= {"preconditions": {"uid": uid}} if uid is not None else {}
        await self._ask("DELETE", path, body=body)

    async def changes(self, path: str, query: Query | None = None) -> AsyncGenerator[list[Change], None]:
        """What a list holds, then every change to it, for ever: cut off, it goes on where it was.

        Raises ClusterError; ClusterUnavailable after many failures with nothing heard between them.
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
                            # Mostly 410: that version is forgotten. Everything is listed anew.
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
        """The lines of a text, some at a time as they come; `follow`: it may be silent for a while.

        Raises ClusterError; ClusterUnavailable where it breaks off or has been silent for long.
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
        """The version of a list, which all its pages have, and its objects."""
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
    ) -> tuple[int, Object]:
        """Status and object of an answer, tried again a few times where that may help. Raises ClusterError."""
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
                return status, _object(text, f"{method} {path}", status)
        raise AssertionError("unreachable")

    @asynccontextmanager
    async def _stream(self, path: str, query: Query, seconds: float) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer whose body is still to come, silent for so many seconds at most. Only its head is tried again."""
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
        """An answer that is no refusal; what breaks while it is read is translated too. Raises ClusterError."""
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
                # A token is for the server that it was given for.
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


def _object(text: str, asked: str, status: int) -> Object:
    """The JSON object that an answer is. Raises ClusterError where it is something else: no API server speaks so."""
    try:
        found = json.loads(text, object_pairs_hook=_without_managed_fields)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ClusterError(
            f"{asked} was answered with what is no JSON object: {text[:_SHOWN]!r}; is an API server at that address?",
            status,
            text,
        )
    return found


def _without_managed_fields(pairs: list[tuple[str, Any]]) -> Object:
    return {name: value for name, value in pairs if name != "managedFields"}


def _message(text: str) -> str:
    """What a refusal says: the message of its Status object, else its first words."""
    try:
        said = json.loads(text)
    except ValueError:
        return text.strip()[:_SHOWN]
    return str(said.get("message", "")) if isinstance(said, dict) else ""
