"""Kept HTTP connections to one endpoint, for bodies that are neither joined nor copied on their way."""

import select
import socket
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http.client import HTTPException, HTTPResponse, IncompleteRead
from typing import Self
from urllib.parse import urlsplit

from sapflow.errors import StoreError
from sapflow.objects.stores.buffers import IOV_MAX, rest_of

LOST = (OSError, HTTPException)
"""What an exchange raises when its answer is lost: nobody knows what the server did."""

_SECONDS = 60.0
"""Time limit of every system call: of one piece sent, of one piece of an answer."""
_CONNECT_SECONDS = 5.0
_LOOK_EVERY = 4 << 20
"""Bytes sent between two looks at whether the server has already answered."""
_TEXT_LIMIT = 4 << 20
_LEFTOVER = 16 << 10
"""Bytes of an answer that are rather read than given up together with their connection."""


class Answer:
    """A response whose body is still to come. Its connection is kept once the body has been read to its end."""

    def __init__(self, owner: "Connections", connection: socket.socket, response: HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self._owner = owner
        self._connection = connection
        self._response = response
        self._closed = False

    def fill(self, target: memoryview) -> int:
        """Bytes put into `target`: all of it, or fewer where the body ends or the connection breaks."""
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
        # A body that broke off counts as closed too; what was promised and did not come tells it apart.
        complete = self._response.isclosed() and not self._response.length
        reusable = complete and not self._response.will_close
        self._response.close()
        if reusable:
            self._owner.keep(self._connection)
        else:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Connections:
    """Connections to `endpoint` (`http://host:port` or `https://…`), lent to one exchange at a time.

    Threads share the idle ones: lists of Python append and pop in one step.
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
        self._idle: list[socket.socket] = []
        self.host = parts.netloc

    def exchange(
        self, method: str, target: str, headers: Mapping[str, str], body: Sequence[memoryview] = ()
    ) -> Answer:
        """Send one request and await the head of its answer. Raises LOST."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode()
        connection = self._lend()
        try:
            whole = _send(connection, [memoryview(head), *body])
            response = HTTPResponse(connection, method=method)
            try:
                response.begin()
            except BaseException:
                response.close()
                raise
        except BaseException:
            connection.close()
            raise
        if not whole:
            # The rest of the body was never sent, so the next request would be taken for it.
            response.will_close = True
        return Answer(self, connection, response)

    def keep(self, connection: socket.socket) -> None:
        self._idle.append(connection)

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _lend(self) -> socket.socket:
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                break
            if not _readable(connection):
                return connection
            # An idle connection has nothing to say but that the server has ended it.
            connection.close()
        connection = socket.create_connection((self._name, self._port), _CONNECT_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._context is not None:
            connection = self._context.wrap_socket(connection, server_hostname=self._name)
        connection.settimeout(_SECONDS)
        return connection


def _send(connection: socket.socket, views: list[memoryview]) -> bool:
    """Send head and body; False where the server answered before all was sent, as it does to refuse it."""
    encrypted = isinstance(connection, ssl.SSLSocket)
    unseen = 0
    while views:
        # What comes in on an encrypted connection may be TLS's own, and is no answer then.
        if unseen >= _LOOK_EVERY and not encrypted:
            if _readable(connection):
                return False
            unseen = 0
        try:
            if encrypted:
                sent = connection.send(views[0][:_LOOK_EVERY])
            else:
                sent = connection.sendmsg(views[:IOV_MAX])
        except (BrokenPipeError, ConnectionResetError):
            # It may have answered before it hung up; if not, reading the answer fails the same way.
            return False
        unseen += sent
        views = rest_of(views, sent)
    return True


def _readable(connection: socket.socket) -> bool:
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))
