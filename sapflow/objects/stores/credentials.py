"""Credentials of a store: access keys, from the environment or from files."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from sapflow.errors import StoreError


class CredentialSource(Protocol):
    """A source that is asked for credentials at each request, because they may be renewed while the store is open."""

    def current(self) -> "Credentials":
        """The credentials to sign with now."""

    def newer_than(self, refused: "Credentials") -> bool:
        """Whether there are newer credentials than `refused`, which the store has refused. Checks at once."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Keys that sign S3 requests; also a source that never changes. Its repr shows no secrets."""

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

        The two sets are never mixed. Raises StoreError if a set has only one of its two keys.
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
