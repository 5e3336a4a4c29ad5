"""Opens a store by its URL: `file:///path`, a plain path, or `s3://bucket/prefix?endpoint=http://host:9000`."""

from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

from sapflow.errors import StoreError
from sapflow.objects.stores.credentials import Credentials, CredentialSource
from sapflow.objects.stores.protocol import Store


def credentials_from_environment(environ: Mapping[str, str]) -> CredentialSource | None:
    """Credentials from environment variables (`Credentials.from_environment`), else from the files that they name.

    Those are SAPFLOW_S3_ACCESS_KEY_FILE, SAPFLOW_S3_SECRET_KEY_FILE and SAPFLOW_S3_SESSION_TOKEN_FILE, which are
    read again when they change. Raises StoreError.
    """
    given = Credentials.from_environment(environ)
    if given is not None or not any(name.endswith("_KEY_FILE") for name in environ):
        return given
    from sapflow.objects.stores.renewable import credentials_from_files

    return credentials_from_files(environ)


def credentials_for(url: str, environ: Mapping[str, str]) -> CredentialSource | None:
    """The credentials for the store at `url`; a directory needs none, so what is set of them matters nothing there.

    Raises StoreError.
    """
    if url.startswith("overlay:"):
        from sapflow.objects.stores.overlay import parts_of

        return credentials_for(parts_of(url)[1], environ)
    return credentials_from_environment(environ) if url.startswith("s3://") else None


def open_store(url: str, credentials: CredentialSource | None = None) -> Store:
    """The store at `file:///path`, a plain path, or `s3://bucket/prefix?endpoint=http://host:9000&region=us-east-1`.

    `overlay:` lays one store over another (`overlay.py`).

    No request is sent yet; `probe` does that. Each kind's module is imported only when such a store is opened, so a
    process that uses a directory does not load an HTTP client.
    Raises StoreError for other URLs, and for s3 without credentials.
    """
    parts = urlsplit(url)
    if parts.scheme == "overlay":
        from sapflow.objects.stores.overlay import OverlayStore, parts_of

        upper, lower = parts_of(url)
        return OverlayStore(open_store(upper), open_store(lower, credentials))
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
