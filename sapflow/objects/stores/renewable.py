"""Credentials in mounted files, which the operator renews while functions and driver run."""

from collections.abc import Callable, Mapping
from time import monotonic

from sapflow.errors import StoreError
from sapflow.mounted import MountedFiles
from sapflow.objects.stores.credentials import Credentials

ACCESS_KEY_FILE = "SAPFLOW_S3_ACCESS_KEY_FILE"
SECRET_KEY_FILE = "SAPFLOW_S3_SECRET_KEY_FILE"
SESSION_TOKEN_FILE = "SAPFLOW_S3_SESSION_TOKEN_FILE"


class RenewableCredentials:
    """A CredentialSource of two or three files. It watches the secret key's file, which every renewal changes."""

    def __init__(
        self,
        access_key: str,
        secret_key: str,
        session_token: str | None = None,
        *,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Raises StoreError if a file cannot be read or a key is empty."""
        optional = [] if session_token is None else [session_token]
        try:
            self._files = MountedFiles([secret_key, access_key], optional, clock=clock)
        except (OSError, UnicodeDecodeError) as error:
            raise StoreError(f"the store's credentials cannot be read: {error}; mount them there") from error
        self._texts = self._files.texts()
        if not all(self._texts[:2]):
            raise StoreError(f"the store's credentials are incomplete: {access_key} or {secret_key} is empty")
        self._current = _credentials(self._texts)

    def current(self) -> Credentials:
        texts = self._files.texts()
        if texts is not self._texts:
            self._take(texts)
        return self._current

    def newer_than(self, refused: Credentials) -> bool:
        self._take(self._files.read_again())
        return self._current != refused

    def _take(self, texts: tuple[str, ...]) -> None:
        # An empty key is just being written; until it is complete, the earlier keys are used.
        if all(texts[:2]):
            self._current = _credentials(texts)
        self._texts = texts


def _credentials(texts: tuple[str, ...]) -> Credentials:
    secret_key, access_key, *rest = texts
    return Credentials(access_key, secret_key, (rest[0] if rest else "") or None)


def credentials_from_files(environ: Mapping[str, str]) -> RenewableCredentials | None:
    """Credentials from the files that the environment names, or None if it names none. Raises StoreError."""
    access, secret = environ.get(ACCESS_KEY_FILE), environ.get(SECRET_KEY_FILE)
    if access and secret:
        return RenewableCredentials(access, secret, environ.get(SESSION_TOKEN_FILE) or None)
    if access or secret:
        missing = SECRET_KEY_FILE if access else ACCESS_KEY_FILE
        raise StoreError(f"credentials are incomplete: {missing} is not set; set both, or neither")
    return None
