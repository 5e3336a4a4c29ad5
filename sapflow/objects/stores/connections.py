"""Persistent HTTP connections to one endpoint. Bodies are sent and received without joining or copying them."""

import select
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http.client import HTTPException, HTTPResponse, IncompleteRead
from typing import Self
from urllib.parse import urlsplit

from sapflow.errors import StoreError
from sapflow.objects.stores.buffers import IOV_MAX, rest_of

LOST = (OSError, HTTPException)
"""The exceptions of an exchange whose answer is lost, so that nobody knows what the server did."""

_SECONDS = 60.0
"""Time limit of each system call that sends or receives a piece."""
_CONNECT_SECONDS = 5.0
_TRUSTED_SECONDS = 1.0
"""How long a connection is known to lead to a server that is alive."""
_CHECK_EVERY = 4 << 20
"""Bytes after which a sender checks whether the server has answered already."""
_TEXT_LIMIT = 4 << 20
_LEFTOVER = 16 << 10
"""Up to this many unread bytes of an answer are read to keep the connection; with more it is closed."""


class Answer:
    """A response whose body is yet to be read. Its connection is kept once the body has been read to its end."""

    def __init__(
        self, owner: "Connections", connection: socket.socket, opened: float, response: HTTPResponse
    ) -> None:
        """`opened` is the time.monotonic() value at which the connection was opened."""
        self.opened = opened
        self.status = response.status
        self.headers = response.headers
        self._owner = owner
        self._connection = connection
        self._response = response
        self._closed = False

    def fill(self, target: memoryview) -> int:
        """Fill `target`, and return the number of bytes: fewer if the body ends or the connection breaks."""
        done = 0
        while done < len(target):
            try:
                got = self._response.readinto(target[done:])
            except LOST:
                self._connection.close()
                break
            if not got:
                break
            done += got
        return done

    def text(self) -> str:
        """A small body, as answers about errors and listings have. Raises LOST."""
        text = self._response.read(_TEXT_LIMIT)
        if self._response.length and len(text) < _TEXT_LIMIT:
            # http.client tells of a body that broke off only where all of it is asked for.
            raise IncompleteRead(text, self._response.length)
        return text.decode(errors="replace")

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._response.length is not None and self._response.length <= _LEFTOVER:
            with suppress(*LOST):
                self._response.read()
        # A body that broke off also counts as closed; it differs by the bytes that are missing.
        complete = self._response.isclosed() and not self._response.length
        reusable = complete and not self._response.will_close
        self._response.close()
        if reusable:
            self._owner.keep(self._connection, self.opened)
        else:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Connections:
    """Connections to `endpoint` (`http://host:port` or `https://…`). Each serves one exchange at a time.

    Threads share the idle ones without a lock, because a Python list appends and pops atomically.
    """

    def __init__(self, endpoint: str) -> None:
        parts = urlsplit(endpoint)
        try:
            port = parts.port
        except ValueError:
            port = 0
        odd = parts.path.strip("/") or parts.query or parts.fragment or parts.username or port == 0
        if parts.scheme not in ("http", "https") or not parts.hostname or odd:
            raise StoreError(f"endpoint {endpoint!r} is no address of a server: write it as http://host:9000")
        self._name = parts.hostname
        self._port = port or (443 if parts.scheme == "https" else 80)
        self._context = ssl.create_default_context() if parts.scheme == "https" else None
        self._idle: list[tuple[socket.socket, float]] = []
        self.host = parts.netloc

    def exchange(
        self, method: str, target: str, headers: Mapping[str, str], body: Sequence[memoryview] = ()
    ) -> Answer:
        """Send a request and wait for the head of its answer. Raises LOST.

        An answer 404 on a connection that has been open for a while is asked for again on a new one. A server whose pod
        was removed by force may live on for half a minute without its disk: old connections lead to it, and it says
        that nothing exists, while new ones lead to the server in its place.
        """
        answer = self._exchange(method, target, headers, body)
        if answer.status == 404 and time.monotonic() - answer.opened > _TRUSTED_SECONDS:
            answer.close()
            self.close()
            answer = self._exchange(method, target, headers, body)
        return answer

    def _exchange(
        self, method: str, target: str, headers: Mapping[str, str], body: Sequence[memoryview]
    ) -> Answer:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode()
        connection, opened = self._lend()
        try:
            sent_all = _send(connection, [memoryview(head), *body])
            response = HTTPResponse(connection, method=method)
            try:
                response.begin()
            except BaseException:
                response.close()
                raise
        except BaseException:
            connection.close()
            raise
        if not sent_all:
            # The rest of the body was not sent, so the server would take the next request for it.
            response.will_close = True
        return Answer(self, connection, opened, response)

    def keep(self, connection: socket.socket, opened: float) -> None:
        self._idle.append((connection, opened))

    def close(self) -> None:
        while self._idle:
            self._idle.pop()[0].close()

    def _lend(self) -> tuple[socket.socket, float]:
        """A connection, and when it was opened."""
        while True:
            try:
                connection, opened = self._idle.pop()
            except IndexError:
                break
            if not _readable(connection):
                return connection, opened
            # An idle connection is readable only if the server has closed it.
            connection.close()
        connection = socket.create_connection((self._name, self._port), _CONNECT_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._context is not None:
            connection = self._context.wrap_socket(connection, server_hostname=self._name)
        connection.settimeout(_SECONDS)
        return connection, time.monotonic()


def _send(connection: socket.socket, views: list[memoryview]) -> bool:
    """Send head and body. Returns False if the server answered before everything was sent, as when it refuses it."""
    encrypted = isinstance(connection, ssl.SSLSocket)
    unseen = 0
    while views:
        # Bytes on an encrypted connection may belong to TLS itself and need not be an answer.
        if unseen >= _CHECK_EVERY and not encrypted:
            if _readable(connection):
                return False
            unseen = 0
        try:
            if encrypted:
                sent = connection.send(views[0][:_CHECK_EVERY])
            else:
                sent = connection.sendmsg(views[:IOV_MAX])
        except (BrokenPipeError, ConnectionResetError):
            # The server may have answered before it closed the connection; if not, reading the answer fails, too.
            return False
        unseen += sent
        views = rest_of(views, sent)
    return True


def _readable(connection: socket.socket) -> bool:
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))
