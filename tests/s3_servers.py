"""Object stores for tests: a real MinIO process, a fake S3 with faults, and a proxy that cuts connections."""

import html
import os
import re
import secrets
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import parse_qs, parse_qsl, quote_plus, unquote, urlsplit

from sapflow.objects.stores.credentials import Credentials
from sapflow.objects.stores.factory import open_store
from sapflow.objects.stores.protocol import Store

HOW_TO_FIX = (
    "S3 tests need a store: run `tests/cluster/cluster build minio` once (it needs Go), put a `minio` binary on "
    "PATH, or set SAPFLOW_TEST_S3=s3://bucket/prefix?endpoint=http://host:9000 with SAPFLOW_S3_ACCESS_KEY and "
    "SAPFLOW_S3_SECRET_KEY"
)


@dataclass(frozen=True)
class S3Service:
    """A running store: `bucket` exists, and everything below `prefix` is the tests' own."""

    endpoint: str
    bucket: str
    prefix: str
    credentials: Credentials

    def url(self, prefix: str = "", *, bucket: str | None = None, endpoint: str | None = None) -> str:
        path = "/".join(part for part in (bucket or self.bucket, self.prefix, prefix) if part)
        return f"s3://{path}?endpoint={endpoint or self.endpoint}"

    def open(self, prefix: str = "") -> Store:
        return open_store(self.url(prefix), self.credentials)

    def clear(self) -> None:
        """Remove what tests have left in a store that outlives them."""
        store = open_store(f"s3://{self.bucket}?endpoint={self.endpoint}", self.credentials)
        store.delete_prefix(f"{self.prefix}/")
        store.close()


def named_service(environ: Mapping[str, str]) -> S3Service | None:
    """The store that SAPFLOW_TEST_S3 names, if it does."""
    url = environ.get("SAPFLOW_TEST_S3")
    if not url:
        return None
    credentials = Credentials.from_environment(environ)
    if credentials is None:
        raise ValueError(f"SAPFLOW_TEST_S3 is set, but no credentials are. {HOW_TO_FIX}")
    parts = urlsplit(url)
    prefix = f"{parts.path.strip('/')}/sapflow-tests-{secrets.token_hex(4)}".lstrip("/")
    return S3Service(parse_qs(parts.query)["endpoint"][0], parts.netloc, prefix, credentials)


def find_minio(environ: Mapping[str, str]) -> str | None:
    """A `minio` binary: the one on PATH, else the one that the cluster kit has built."""
    if found := shutil.which("minio", path=environ.get("PATH")):
        return found
    home = environ.get("CLUSTER_HOME") or Path(environ.get("HOME", "/"), ".cache", "sapflow-cluster")
    return shutil.which(Path(home, "bin", "minio"))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Minio:
    """A MinIO process on a free port, with its data in `folder` and a bucket. Use as a context manager."""

    def __init__(self, binary: str, folder: Path) -> None:
        self._binary = binary
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.credentials = Credentials("tests", secrets.token_hex(16))

    def __enter__(self) -> S3Service:
        # The port is free when it is looked for, not for sure when MinIO takes it.
        for _ in range(3):
            address = f"127.0.0.1:{free_port()}"
            if self._start(address):
                return S3Service(f"http://{address}", self._make_bucket(address), "", self.credentials)
        raise RuntimeError(f"MinIO did not start:\n{(self._folder / 'log').read_text()}")

    def _start(self, address: str) -> bool:
        environ = {
            "HOME": str(self._folder),
            "PATH": os.defpath,
            "MINIO_ROOT_USER": self.credentials.access_key,
            "MINIO_ROOT_PASSWORD": self.credentials.secret_key,
            "MINIO_BROWSER": "off",
        }
        command = [self._binary, "server", "--quiet", "--address", address, str(self._folder / "data")]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while self._process.poll() is None and time.monotonic() < deadline:
            connection = HTTPConnection(address, timeout=5)
            with suppress(OSError, HTTPException):
                connection.request("GET", "/minio/health/ready")
                if connection.getresponse().status == 200:
                    connection.close()
                    return True
            connection.close()
            time.sleep(0.05)  # another process: there is nothing to wait on
        self._stop()
        return False

    def _make_bucket(self, address: str) -> str:
        import urllib3
        from minio import Minio as Client

        # A server that has just started may answer 503 and ask to come back after a minute; it needs none.
        retries = urllib3.Retry(
            100,
            backoff_factor=0.02,
            backoff_max=0.2,
            status_forcelist=[503],
            respect_retry_after_header=False,
        )
        keys = self.credentials
        client = Client(
            address,
            access_key=keys.access_key,
            secret_key=keys.secret_key,
            secure=False,
            http_client=urllib3.PoolManager(retries=retries, timeout=10),
        )
        client.make_bucket("tests")
        return "tests"

    def _stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def __exit__(self, *exc: object) -> None:
        self._stop()
        shutil.rmtree(self._folder / "data", ignore_errors=True)


Manner = Literal["honest", "ignores", "small only", "racing", "overwrites", "refuses early"]


class FakeS3:
    """An S3 server that keeps objects in memory and has one fault, its `manner`.

    honest: honours If-None-Match. ignores: never looks at it. small only: not for bodies above 5 MiB.
    racing: looks, and writes later. overwrites: answers 412, and stores all the same. refuses early: answers
    412 without reading the body. `script` holds (status, code) of answers to give before anything else.
    """

    def __init__(self, manner: Manner = "honest", tls: ssl.SSLContext | None = None) -> None:
        self.manner = manner
        self.objects: dict[str, bytes] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.script: deque[tuple[int, str]] = deque()
        self.undeletable: set[str] = set()
        self.connections = 0
        self.without_disk = 0
        """To so many connections, the first ones, the server says that nothing exists."""
        self.lock = threading.Lock()
        self.sockets: list[socket.socket] = []
        self.rivals: dict[str, threading.Event] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self.endpoint = f"http{'s' if tls else ''}://127.0.0.1:{self._server.server_port}"

    def open(self) -> Store:
        return open_store(f"s3://bucket?endpoint={self.endpoint}", Credentials("key", "secret"))

    def put(self, key: str, body: bytes, *, conditional: bool) -> bool:
        """Store an object as this server's manner is; True for 200, False for 412."""
        if self.manner == "ignores" or (self.manner == "small only" and len(body) > 5 << 20):
            conditional = False
        if self.manner == "racing" and conditional:
            with self.lock:
                absent = key not in self.objects
                rival = self.rivals.get(key)
                if rival:
                    rival.set()
                rival = self.rivals.setdefault(key, threading.Event())
            rival.wait(1)
            if absent:
                self.objects[key] = body
            return absent
        with self.lock:
            won = not conditional or key not in self.objects
            if won or self.manner == "overwrites":
                self.objects[key] = body
            return won

    def hang_up(self) -> None:
        """End all connections, as a server does with idle ones."""
        for end in self.sockets:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self.hang_up()
        self._server.server_close()


def _handler_of(fake: FakeS3) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            fake.connections += 1
            self.number = fake.connections
            fake.sockets.append(self.connection)

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except ConnectionError:
                self.close_connection = True

        def answer(self, status: int, code: str = "", body: bytes = b"", **headers: str) -> None:
            if code:
                body = f"<Error><Code>{code}</Code><Message>as the test wants it</Message></Error>".encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def take(self) -> tuple[str, bytes] | None:
            """Key and body of a request; None when it has been answered already."""
            fake.requests.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
            key = unquote(urlsplit(self.path).path).removeprefix("/bucket/")
            if fake.manner == "refuses early" and self.command == "PUT" and key in fake.objects:
                self.close_connection = True
                self.answer(412, "PreconditionFailed", Connection="close")
                return None
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.number <= fake.without_disk:
                self.answer(404, "NoSuchKey")
                return None
            if fake.script:
                self.answer(*fake.script.popleft())
                return None
            return key, body

        def do_PUT(self) -> None:
            if taken := self.take():
                if fake.put(*taken, conditional=self.headers.get("If-None-Match") == "*"):
                    self.answer(200)
                else:
                    self.answer(412, "PreconditionFailed")

        def listing(self, query: dict[str, str]) -> None:
            """A page of the keys below a prefix; its token is the last key of the page before."""
            found: dict[str, str] = {}
            for key, body in sorted(fake.objects.items()):
                if key.startswith(query["prefix"]) and key > query.get("continuation-token", ""):
                    name, slash, _ = key.removeprefix(query["prefix"]).partition("/")
                    if slash and query.get("delimiter") == "/":
                        folder = f"{query['prefix']}{name}/"
                        entry = f"<CommonPrefixes><Prefix>{quote_plus(folder)}</Prefix></CommonPrefixes>"
                        found[entry] = key
                    else:
                        entry = f"<Key>{quote_plus(key)}</Key><Size>{len(body)}</Size>"
                        found[f"<Contents>{entry}</Contents>"] = key
            page = dict(islice(found.items(), int(query["max-keys"])))
            more = len(page) < len(found)
            token = f"<NextContinuationToken>{[*page.values()][-1]}</NextContinuationToken>" if more else ""
            text = f"<ListBucketResult>{''.join(page)}{token}</ListBucketResult>"
            self.answer(200, body=text.encode())

        def do_GET(self) -> None:
            if taken := self.take():
                query = dict(parse_qsl(urlsplit(self.path).query))
                body = fake.objects.get(taken[0])
                if "list-type" in query and body is None:
                    self.listing(query)
                elif body is None:
                    self.answer(404, "NoSuchKey")
                elif wanted := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")):
                    start, last = int(wanted[1]), int(wanted[2])
                    piece = body[start : last + 1]
                    total = f"bytes {start}-{start + len(piece) - 1}/{len(body)}"
                    self.answer(206 if piece else 416, body=piece, Content_Range=total)
                else:
                    self.answer(200, body=body)

        do_HEAD = do_GET

        def do_POST(self) -> None:
            if taken := self.take():
                refused = ""
                for key in re.findall("<Key>([^<]*)</Key>", taken[1].decode()):
                    if html.unescape(key) in fake.undeletable:
                        refused += f"<Error><Key>{key}</Key><Code>AccessDenied</Code></Error>"
                    else:
                        fake.objects.pop(html.unescape(key), None)
                self.answer(200, body=f"<DeleteResult>{refused}</DeleteResult>".encode())

        def log_message(self, *args: Any) -> None:
            """Tests read `requests` instead."""

    return Handler


class CuttingProxy:
    """Passes bytes on to `endpoint` and cuts one connection as it is told: use as a context manager.

    `cut_request()`: the next bytes of a client are dropped, and both sides hung up on. `cut_answer(after)`:
    the same once `after` bytes of an answer have been passed on.
    """

    def __init__(self, endpoint: str) -> None:
        parts = urlsplit(endpoint)
        self._target = (str(parts.hostname), int(parts.port or 80))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.lines: list[str] = []
        self._lock = threading.Lock()
        self._cut_request = False
        self._answer_left: int | None = None
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]

    def cut_request(self) -> None:
        self._cut_request = True

    def cut_answer(self, after: int = 0) -> None:
        self._answer_left = after

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            self._sockets += [client, server]
            for source, sink, allow in (
                (client, server, self._allow_request),
                (server, client, self._allow_answer),
            ):
                thread = threading.Thread(target=self._pump, args=(source, sink, allow))
                self._threads.append(thread)
                thread.start()

    def _pump(self, source: socket.socket, sink: socket.socket, allow: Any) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                allowed = allow(data)
                sink.sendall(allowed)
                if len(allowed) < len(data):
                    break
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _allow_request(self, data: bytes) -> bytes:
        with self._lock:
            self.lines += [line.decode() for line in re.findall(rb"([A-Z]+ \S+) HTTP/1\.1\r\n", data)]
            cut, self._cut_request = self._cut_request, False
            return b"" if cut else data

    def _allow_answer(self, data: bytes) -> bytes:
        with self._lock:
            if self._answer_left is None:
                return data
            allowed = data[: self._answer_left]
            self._answer_left = None if len(allowed) < len(data) else self._answer_left - len(data)
            return allowed

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def stop(self) -> None:
        """Hang up on everybody, and listen no more."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join()
        for end in self._sockets:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join()
        for end in self._sockets:
            end.close()

    def __exit__(self, *exc: object) -> None:
        self.stop()
