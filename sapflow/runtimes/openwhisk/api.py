"""The REST API of an OpenWhisk (docs/rest_api.md of apache/openwhisk), as the user of one namespace."""

import base64
import json
import time
from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL

from sapflow.errors import InstanceLost, InvocationError
from sapflow.runtimes.http.repeated import repeated
from sapflow.runtimes.http.sender import CONNECT_SECONDS, NotConnected

_ANSWER_SECONDS = 75.0
"""Time limit of a request: OpenWhisk answers a blocking one after a minute at the latest, with or without a result."""
FIRST_PAUSE = 0.1
AWAY = frozenset({502, 503, 504})
"""Statuses of a proxy before an OpenWhisk that is away, and of an OpenWhisk that is overloaded."""
BUSY = 429
"""Status of an OpenWhisk whose namespace is at a limit."""
REFUSED = frozenset({401, 403})
"""Statuses that no other try changes."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the API."""

    status: int
    text: str

    @property
    def body(self) -> dict[str, Any]:
        """The JSON object that it holds; empty if it holds none."""
        try:
            value = json.loads(self.text)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}

    @property
    def message(self) -> str:
        """Its `error`, or else its beginning."""
        return str(self.body.get("error", self.text[:200]))


class Api:
    """The API with the credentials of a namespace. Use and close it in one event loop."""

    def __init__(self, url: str, auth: str) -> None:
        """`url` is that of the API host, `auth` is `user:password` as in ~/.wskprops.

        Raises InvocationError if one of them is malformed.
        """
        self.url = URL(url)
        if self.url.scheme not in ("http", "https") or not self.url.host:
            raise InvocationError(
                f"{url!r} is no address of an OpenWhisk: write it as https://host", reason="StartFailed"
            )
        if ":" not in auth:
            raise InvocationError(
                "the credentials of OpenWhisk are not of the form user:password: set OW_AUTH to what "
                "`wsk property get --auth` prints",
                reason="StartFailed",
            )
        self._headers = {
            "Authorization": f"Basic {base64.b64encode(auth.encode()).decode()}",
            "Content-Type": "application/json",
        }
        self._session: aiohttp.ClientSession | None = None

    def place(self, *names: str) -> URL:
        """The address of something in the namespace."""
        return self.url.joinpath("api/v1/namespaces/_", *names)

    async def exchange(self, method: str, url: URL, body: str | None = None) -> Answer:
        """Make a request once. Raises NotConnected, and InstanceLost if there was a connection and no answer."""
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS, sock_connect=CONNECT_SECONDS)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), headers=self._headers, timeout=timeout
            )
        try:
            async with self._session.request(method, url, data=body) as response:
                return Answer(response.status, await response.text())
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise NotConnected(f"no connection to OpenWhisk at {self.url}: {error}") from error
        except (aiohttp.ClientError, TimeoutError) as error:
            why = str(error) or type(error).__name__
            raise InstanceLost(f"OpenWhisk at {self.url} gave no answer to {method}: {why}") from error

    async def insist(self, method: str, url: URL, body: str | None = None, *, seconds: float) -> Answer:
        """Make a request that may be made twice, again and again for `seconds` while the API is away.

        Raises NotConnected or InstanceLost if there was no answer at all.
        """
        return await repeated(
            lambda: self.exchange(method, url, body),
            seen=lambda answer: not away_or_busy(answer),
            deadline=time.monotonic() + seconds,
            first_pause=FIRST_PAUSE,
            lost=None,
        )

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


def away_or_busy(answer: Answer) -> bool:
    """Whether the API, or what it stands on, is away, or takes no more for now."""
    return answer.status in AWAY or answer.status == BUSY
