"""A store in a bucket of S3 or MinIO.

Every write is one conditional PUT (`If-None-Match: *`), never multipart: 412 means that another writer was
first. If an answer is lost, the same PUT is sent again; after a 412 the contents are compared.
docs/adr/0002-store-client.md has the measurements that chose the client.
"""

import hashlib
import html
import random
import re
import time
from base64 import b64encode
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlencode, urlsplit

from sapflow.errors import ObjectMissing, StoreError, StoreUnavailable
from sapflow.objects.stores.buffers import aligned_buffer, byte_views, check_key, check_prefix, check_range
from sapflow.objects.stores.connections import LOST, Answer, Connections
from sapflow.objects.stores.credentials import CredentialSource
from sapflow.objects.stores.probe import probe_store
from sapflow.objects.stores.protocol import Buffer, Listed
from sapflow.objects.stores.reader import SequentialReader
from sapflow.objects.stores.s3_failures import ACCESS_DENIED, Place
from sapflow.objects.stores.signature import encode_path, encode_query, sign

_MAX_PUT = 5 << 30
"""The most bytes that S3 takes in one PUT."""
_TRIES = 5
_FIRST_PAUSE = 0.1
"""Seconds before the first repetition. They double each time, with jitter, so that writers do not return at once."""
_COMPARED = 1 << 20
_BATCH = 1000
"""The most keys that S3 takes in one multi-object delete, and returns in one listing."""
_FIRST_WRITER_ONLY = {"if-none-match": "*"}


def open_s3(url: str, credentials: CredentialSource | None) -> "S3Store":
    """The store at `s3://bucket/prefix?endpoint=http://host:9000&region=us-east-1`.

    Without an endpoint it is that of AWS in the region. Raises StoreError.
    """
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    region = options.pop("region", "") or "us-east-1"
    endpoint = options.pop("endpoint", "") or f"https://s3.{region}.amazonaws.com"
    named = "@" not in parts.netloc and parts.netloc != ""
    if named and not re.fullmatch(r"[A-Za-z0-9._-]{3,63}", parts.netloc):
        raise StoreError(
            f"s3://{parts.netloc}{parts.path} is no store: the name of a bucket has 3 to 63 letters, digits, dots, "
            "hyphens or underscores"
        )
    if not named or options or parts.fragment:
        raise StoreError(
            f"s3://{parts.netloc.rpartition('@')[2]}{parts.path} is no store: write s3://bucket/prefix with "
            "nothing but endpoint and region after it, and leave credentials to the environment"
        )
    place = Place(endpoint.rstrip("/"), parts.netloc, region)
    if credentials is None:
        raise place.no_credentials()
    return S3Store(place, parts.path.strip("/"), credentials)


class S3Store:
    """A store in a bucket, below `prefix`. Safe to use from threads."""

    remote = True

    def __init__(self, place: Place, prefix: str, credentials: CredentialSource) -> None:
        if prefix:
            check_prefix(prefix)
        query = urlencode({"endpoint": place.endpoint, "region": place.region}, safe=":/")
        self.url = f"s3://{place.bucket}/{prefix}?{query}"
        self._place = place
        self._prefix = f"{prefix}/" if prefix else ""
        self._credentials = credentials
        self._connections = Connections(place.endpoint)

    def create(self, key: str, parts: Buffer | Sequence[Buffer], *, durable: bool = False) -> bool:
        """See Store.create. S3 answers once an object is durable, so `durable` changes nothing."""
        path = self._path(key)
        views = byte_views(parts)
        size = sum(map(len, views))
        if size > _MAX_PUT:
            raise StoreError(
                f"{self._place.name(path)}: {size} bytes are more than the {_MAX_PUT} that one PUT may carry: "
                "use more shards, so that each object is smaller"
            )
        headers = {**_FIRST_WRITER_ONLY, "content-length": str(size)}
        try:
            answer, tries = self._ask("PUT", path, (200, 412), headers=headers, body=views)
        except StoreUnavailable:
            if not self.exists(key):
                raise
            return self._holds(key, views)
        answer.close()
        return answer.status == 200 or (tries > 1 and self._holds(key, views))

    def _holds(self, key: str, views: list[memoryview]) -> bool:
        """Whether an object has the bytes that this call sent: then one of its earlier tries has stored it."""
        try:
            with self.open(key) as reader:
                return reader.size == sum(map(len, views)) and all(
                    reader.next(len(piece)) == piece
                    for view in views
                    for piece in (view[at : at + _COMPARED] for at in range(0, len(view), _COMPARED))
                )
        except ObjectMissing:
            return False

    def read(self, key: str, start: int = 0, count: int | None = None) -> memoryview:
        path = self._path(key)
        if start < 0 or count == 0 or (start and count is None):
            # An empty range cannot be requested from S3; the object's size tells whether it is valid.
            size = self._size(path)
            count = size - start if count is None else count
            check_range(self._place.name(path), start, count, size)
            if not count:
                return aligned_buffer(0)
        with self._reader(path, start, count) as reader:
            target = aligned_buffer(reader.size - start if count is None else count)
            reader.readinto(target)
        return target

    def open(self, key: str) -> "S3Reader":
        return self._reader(self._path(key), 0, None)

    def _reader(self, path: str, start: int, count: int | None) -> "S3Reader":
        name = self._place.name(path)
        answer = self._get(path, start, count)
        try:
            size = _size(answer, name)
            if count is not None:
                check_range(name, start, count, size)
        except StoreError:
            answer.close()
            raise
        stop = size if count is None else start + count
        return S3Reader(name, size, start, answer, lambda at: self._get(path, at, stop - at))

    def _get(self, path: str, start: int, count: int | None) -> Answer:
        """An answer with an object's bytes: all of them, or `count` from `start` if count is given."""
        if count is None:
            return self._ask("GET", path, (200,))[0]
        headers = {"range": f"bytes={start}-{start + count - 1}"}
        answer, _ = self._ask("GET", path, (206, 416), headers=headers)
        if answer.status == 416:
            answer.close()
            check_range(self._place.name(path), start, count, self._size(path))
            raise StoreError(f"{self._place.name(path)}: the store refused a range that the object has")
        return answer

    def _size(self, path: str) -> int:
        answer, _ = self._ask("HEAD", path, (200,))
        with answer:
            return _size(answer, self._place.name(path))

    def exists(self, key: str) -> bool:
        answer, _ = self._ask("HEAD", self._path(key), (200, 404))
        answer.close()
        return answer.status == 200

    def find(self, key: str) -> Listed | None:
        """An object, without a listing. None if there is none, or if it may not be read, which S3 does not tell apart
        for those who may not list.
        """
        answer, _ = self._ask("HEAD", self._path(key), (200, 403, 404))
        with answer:
            if answer.status != 200:
                return None
            return Listed(
                key, _size(answer, self._place.name(key)), answer.headers.get("etag", "").strip('"')
            )

    def delete(self, keys: Iterable[str]) -> None:
        paths = [self._path(key) for key in keys]
        for at in range(0, len(paths), _BATCH):
            self._delete(paths[at : at + _BATCH])

    def list(self, prefix: str, *, shallow: bool = False) -> Iterator[Listed]:
        if prefix:
            check_prefix(prefix)
        for page in self._pages(self._prefix + prefix, shallow):
            for each in page:
                yield each._replace(key=each.key.removeprefix(self._prefix))

    def delete_prefix(self, prefix: str) -> None:
        check_prefix(prefix)
        for page in self._pages(self._prefix + prefix):
            if page:
                self._delete([each.key for each in page])

    def _pages(self, prefix: str, shallow: bool = False) -> Iterator[Sequence[Listed]]:
        """The objects whose paths start with `prefix`, named by their paths, page by page, folders among them."""
        from xml.etree import ElementTree  # the data path needs no XML, and functions should start fast

        # Encoded: XML has no word for some characters that other writers' keys may have.
        query = {"list-type": "2", "prefix": prefix, "max-keys": str(_BATCH), "encoding-type": "url"}
        query |= {"delimiter": "/"} if shallow else {}
        while True:
            text = self._ask_text("GET", query=query)
            try:
                listing = ElementTree.fromstring(text)
                found = [
                    Listed(
                        unquote_plus(each.findtext("{*}Key") or ""),
                        int(each.findtext("{*}Size") or 0),
                        (each.findtext("{*}ETag") or "").strip('"'),
                        _time(each.findtext("{*}LastModified")),
                    )
                    for each in listing.iterfind("{*}Contents")
                ]
            except (ElementTree.ParseError, ValueError) as error:
                raise self._place.failure("GET", prefix, 200, text) from error
            folders = listing.iterfind("{*}CommonPrefixes/{*}Prefix")
            yield sorted([*found, *(Listed(unquote_plus(each.text or ""), 0) for each in folders)])
            token = listing.findtext("{*}NextContinuationToken")
            if not token:
                return
            query["continuation-token"] = token

    def _delete(self, paths: Sequence[str]) -> None:
        objects = "".join(f"<Object><Key>{html.escape(path)}</Key></Object>" for path in paths)
        body = f"<Delete><Quiet>true</Quiet>{objects}</Delete>".encode()
        checksum = hashlib.md5(body, usedforsecurity=False).digest()
        headers = {"content-md5": b64encode(checksum).decode(), "content-length": str(len(body))}
        text = self._ask_text("POST", query={"delete": ""}, headers=headers, body=[memoryview(body)])
        if refused := re.search(r"<Error>.*?</Error>", text, re.DOTALL):
            key = re.search(r"<Key>([^<]*)</Key>", refused[0])
            raise self._place.failure("DELETE", html.unescape(key[1]) if key else "", 400, refused[0])

    def probe(self, prefix: str = "") -> None:
        """See Store.probe. Writes only below `prefix`, which ends in '/'."""
        probe_store(self, prefix)

    def close(self) -> None:
        self._connections.close()

    def _path(self, key: str) -> str:
        path = self._prefix + key
        check_key(path)
        return path

    def _ask_text(self, method: str, **request: Any) -> str:
        """The body of an answer about the bucket: a listing, or what became of a delete.

        Where it breaks off it is asked for anew. Raises as `_ask`.
        """
        for tries in range(1, _TRIES + 1):
            answer, _ = self._ask(method, "", (200,), **request)
            with answer:
                try:
                    return answer.text()
                except LOST as error:
                    if tries == _TRIES:
                        raise self._place.no_answer(error) from error
            _pause(tries)
        raise AssertionError("unreachable")

    def _ask(
        self,
        method: str,
        path: str,
        good: Collection[int],
        *,
        query: Mapping[str, str] = MappingProxyType({}),
        headers: Mapping[str, str] = MappingProxyType({}),
        body: Sequence[memoryview] = (),
    ) -> tuple[Answer, int]:
        """An answer whose status is in `good`, and the number of tries that it took.

        Repeating is safe, because every request here is idempotent.
        Raises StoreUnavailable after the last try, and other StoreErrors at once.
        """
        target = encode_path(f"/{self._place.bucket}/{path}")
        text = encode_query(query)
        line = f"{target}?{text}" if text else target
        plain = {"host": self._connections.host, **headers}
        renewed = False
        for tries in range(1, _TRIES + 1):
            keys = self._credentials.current()
            signed = sign(keys, self._place.region, method, target, text, plain, time.time())
            try:
                answer = self._connections.exchange(method, line, signed, body)
                if answer.status in good:
                    return answer, tries
                with answer:
                    said = answer.text()
                if method == "HEAD" and answer.status == 400:
                    # AWS answers 400 to an expired token, and the answer to HEAD has no body that says so.
                    said = self._why(path, plain)
                failure = self._place.failure(method, path, answer.status, said)
            except LOST as error:
                failure = self._place.no_answer(error)
                failure.__cause__ = error
            if failure.reason == ACCESS_DENIED and not renewed and self._credentials.newer_than(keys):
                renewed = True
                continue
            if not failure.retryable or tries == _TRIES:
                break
            _pause(tries)
        raise failure

    def _why(self, path: str, headers: Mapping[str, str]) -> str:
        """The words of a store that refused a HEAD: it refuses a GET of one byte with a body. Raises LOST."""
        target = encode_path(f"/{self._place.bucket}/{path}")
        plain = {**headers, "range": "bytes=0-0"}
        keys = self._credentials.current()
        signed = sign(keys, self._place.region, "GET", target, "", plain, time.time())
        with self._connections.exchange("GET", target, signed) as answer:
            # One that allows the GET may allow the HEAD the next time.
            return "<Code>OperationAborted</Code>" if answer.status in (200, 206) else answer.text()


class S3Reader(SequentialReader):
    """Reads the body of an answer; if the connection breaks, it continues with a ranged request."""

    def __init__(
        self, name: str, size: int, start: int, answer: Answer, fetch: Callable[[int], Answer]
    ) -> None:
        super().__init__(name, size)
        self.position = start
        self._answer = answer
        self._fetch = fetch

    def fill(self, target: memoryview) -> None:
        done = self._answer.fill(target)
        tries = 0
        while done < len(target):
            if tries == _TRIES:
                raise StoreUnavailable(
                    f"{self.name}: the connection broke {tries} times over: try again later"
                )
            tries += 1
            self._answer.close()
            self._answer = self._fetch(self.position + done)
            done += self._answer.fill(target[done:])

    def close(self) -> None:
        self._answer.close()


def _pause(tries: int) -> None:
    time.sleep(_FIRST_PAUSE * 2 ** (tries - 1) * random.uniform(0.5, 1))


def _time(text: str | None) -> float:
    """Seconds since 1970 of a time as S3 writes it; 0 where there is none. Raises ValueError."""
    return datetime.fromisoformat(text).timestamp() if text else 0.0


def _size(answer: Answer, name: str) -> int:
    """The size in bytes of the whole object that an answer is about."""
    length = answer.headers.get("content-length", "")
    total = answer.headers.get("content-range", "").rpartition("/")[2] or length
    if not total.isdecimal():
        raise StoreError(f"{name}: the store did not say how large the object is")
    return int(total)
