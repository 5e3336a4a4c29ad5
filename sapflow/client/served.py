"""A served model at a URL: raw rows are sent, decisions come back.

from sapflow import Served
late = Served("http://127.0.0.1:8080")
late.predict([{"carrier": "UA", "distance": 1400, …}])
"""

import http.client
import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from sapflow.errors import DataError, SapflowError

SECONDS = 60.0
"""The time limit of one request."""
TRIES = 5
RETRYABLE = frozenset({429, 502, 503, 504})
JSON, CSV = "application/json", "text/csv"


class NotAnswered(SapflowError):
    """A server could not be reached, or did not answer in time."""

    reason = "NotAnswered"
    retryable = True


@dataclass(frozen=True, slots=True)
class Served:
    """A model that a server at `url` answers for. `token` is the bearer token, if one is asked for."""

    url: str
    token: str | None = None
    host: str | None = None
    """The server's own host name, where `url` is that of a gateway before it."""
    unreached: str = "is it served there?"
    """What may be the matter where it does not answer."""

    def predict(self, rows: Sequence[Mapping[str, object] | Sequence[object]]) -> list[dict[str, Any]]:
        """The decisions on raw rows, in their order: columns by name, or lists of numbers for a model without names.

        Raises DataError, which names row and column, and NotAnswered.
        """
        return self._decided(json.dumps({"rows": list(rows)}).encode(), JSON)

    def predict_csv(self, text: str) -> list[dict[str, Any]]:
        """The decisions on the rows of CSV text, whose first line names the columns. Raises DataError, NotAnswered."""
        return self._decided(text.encode(), CSV)

    def metadata(self) -> dict[str, Any]:
        """What the server is, and what it takes. Raises DataError, NotAnswered."""
        found: dict[str, Any] = self._asked("GET", "/openapi.json", b"", JSON)
        return found

    def _decided(self, body: bytes, kind: str) -> list[dict[str, Any]]:
        answer = self._asked("POST", "/predict", body, kind)
        decisions = answer.get("decisions") if isinstance(answer, dict) else None
        if not isinstance(decisions, list):
            raise DataError(f"{self.url} has not answered with decisions: is it a model that Sapflow serves?")
        return decisions

    def _asked(self, method: str, path: str, body: bytes, kind: str) -> Any:
        """The JSON of an answer. Asking twice does no harm: a decision changes nothing."""
        for attempt in range(TRIES):
            last = attempt == TRIES - 1
            try:
                status, content = self._sent(method, path, body, kind)
            except (OSError, http.client.HTTPException) as error:
                if last:
                    raise NotAnswered(f"{self.url} does not answer: {error}; {self.unreached}") from error
            else:
                if status == 200:
                    return _json(content)
                if status not in RETRYABLE or last:
                    raise _error(self.url, status, content)
            time.sleep(min(2.0, 0.1 * 2**attempt) * (0.5 + random.random()))
        raise AssertionError("the last try returns or raises")

    def _sent(self, method: str, path: str, body: bytes, kind: str) -> tuple[int, bytes]:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise DataError(f"{self.url!r} is no URL of a server: give http://host:port")
        made = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = made(parts.hostname, parts.port, timeout=SECONDS)
        headers = {
            "Content-Type": kind,
            **({"Authorization": f"Bearer {self.token}"} if self.token else {}),
            **({"Host": self.host} if self.host else {}),
        }
        try:
            connection.request(method, parts.path.rstrip("/") + path, body or None, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError as error:
        raise DataError(f"the answer is no JSON: {error}") from error


def _error(url: str, status: int, content: bytes) -> SapflowError:
    try:
        found = json.loads(content)["error"]
        message = f"{url}: {found['message']}"
    except (ValueError, KeyError, TypeError):
        message = f"{url} has answered {status}: {content[:200].decode(errors='replace')}"
    return NotAnswered(message) if status in RETRYABLE else DataError(message)
