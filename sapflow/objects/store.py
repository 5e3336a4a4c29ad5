"""One interface to object storage, and the two stores behind it.

Every write is create-only: the first writer of a key wins, everybody else reads what is there.
`open_store` takes `file:///path`, a plain path, or `s3://bucket/prefix?endpoint=http://host:9000`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import unquote, urlsplit

from sapflow.errors import StoreError

Buffer = bytes | bytearray | memoryview


class ObjectReader(Protocol):
    """One object read front to back. Use as a context manager."""

    size: int

    def next(self, count: int) -> memoryview:
        """The next `count` bytes in a 64-byte aligned buffer, valid until the next call.

        Raises CorruptObject when the object ends early.
        """

    def readinto(self, target: memoryview) -> None:
        """Fill `target` with the next bytes. Raises CorruptObject when the object ends early."""

    def __enter__(self) -> "ObjectReader": ...

    def __exit__(self, *exc: object) -> None: ...


class Store(Protocol):
    """Create-only object storage. Safe to use from several threads."""

    url: str
    remote: bool
    """True where a read is a network round trip, so that reading ahead pays."""

    def create(self, key: str, parts: Buffer | Sequence[Buffer], *, durable: bool = False) -> bool:
        """Write an object unless the key exists; True when this call made it.

        `parts` are written one after the other. A lost answer is resolved by reading back: the object is
        ours if its bytes are. `durable` objects survive a power failure once this returns.
        Raises StoreUnavailable, StoreError.
        """

    def read(self, key: str, start: int = 0, count: int | None = None) -> memoryview:
        """Bytes of an object (a range of it). The buffer's address is 64-byte aligned where `start` is.

        Raises ObjectMissing, CorruptObject (shorter than asked), StoreUnavailable.
        """

    def open(self, key: str) -> ObjectReader:
        """An object to read front to back in one request. Raises ObjectMissing, StoreUnavailable."""

    def exists(self, key: str) -> bool: ...

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; missing ones are passed over."""

    def delete_prefix(self, prefix: str) -> None:
        """Remove all objects whose keys start with `prefix`: clean-up of a deleted job only."""

    def probe(self, prefix: str = "") -> None:
        """Refuse a store on which two writers can both win, by writing below `prefix` (it ends in '/').

        Raises StoreUnsafe, StoreUnavailable.
        """

    def close(self) -> None: ...


class CredentialSource(Protocol):
    """Where a store's credentials come from at each request: they may be renewed while it is open."""

    def current(self) -> "Credentials":
        """The credentials to sign with now."""

    def newer_than(self, refused: "Credentials") -> bool:
        """Whether there are others than these, which the store has refused; they are looked for at once."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What signs S3 requests; as a source, it never changes. The secrets are left out of its representation."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)

    def current(self) -> "Credentials":
        return self

    def newer_than(self, refused: "Credentials") -> bool:
        return self != refused

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "Credentials | None":
        """Credentials from SAPFLOW_S3_ACCESS_KEY, SAPFLOW_S3_SECRET_KEY and SAPFLOW_S3_SESSION_TOKEN, else
        from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, else None.

        One set is never completed from the other. Raises StoreError where a set has one key of the two.
        """
        for access_name, secret_name, token_name in _VARIABLES:
            access, secret = environ.get(access_name), environ.get(secret_name)
            if access and secret:
                return cls(access, secret, environ.get(token_name) or None)
            if access or secret:
                missing = secret_name if access else access_name
                raise StoreError(f"credentials are incomplete: {missing} is not set; set both, or neither")
        return None


_VARIABLES = (
    ("SAPFLOW_S3_ACCESS_KEY", "SAPFLOW_S3_SECRET_KEY", "SAPFLOW_S3_SESSION_TOKEN"),
    ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
)


def credentials_from_environment(environ: Mapping[str, str]) -> CredentialSource | None:
    """Credentials from the environment itself (`Credentials.from_environment`), else from the files it names.

    Those are SAPFLOW_S3_ACCESS_KEY_FILE, SAPFLOW_S3_SECRET_KEY_FILE and SAPFLOW_S3_SESSION_TOKEN_FILE, which are
    read again when they change. Raises StoreError.
    """
    given = Credentials.from_environment(environ)
    if given is not None or not any(name.endswith("_KEY_FILE") for name in environ):
        return given
    from sapflow.objects.stores.renewable import credentials_from_files

    return credentials_from_files(environ)


def open_store(url: str, credentials: CredentialSource | None = None) -> Store:
    """The store at `file:///path`, a plain path, or `s3://bucket/prefix?endpoint=http://host:9000&region=us-east-1`.

    Nothing is asked of the store yet: `probe` does that. Each kind's module is imported when it is opened,
    so that a process that uses a directory does not load an HTTP client.
    Raises StoreError for other URLs, and for s3 without credentials.
    """
    parts = urlsplit(url)
    if parts.scheme == "s3":
        from sapflow.objects.stores.s3 import open_s3

        return open_s3(url, credentials)
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path:
        path = unquote(parts.path)
    elif url and "://" not in url and "\0" not in url:
        path = url
    else:
        raise StoreError(
            f"{url!r} is no store: use a directory, file:///path, or s3://bucket/prefix?endpoint=http://host:9000"
        )
    from sapflow.objects.stores.directory import DirectoryStore

    return DirectoryStore(path)
