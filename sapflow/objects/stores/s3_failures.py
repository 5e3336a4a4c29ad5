"""Translates errors of S3 into StoreErrors that say what to do."""

import re
from dataclasses import dataclass

from sapflow.errors import BucketMissing, ObjectMissing, StoreError, StoreUnavailable, StoreUnsafe

ACCESS_DENIED = "AccessDenied"
"""The reason of a StoreUnsafe if the store refuses the credentials or lacks permissions for them."""

_AGAIN_STATUS = frozenset({408, 429, 499, 500, 502, 503, 504})
"""Statuses after which a request is repeated. MinIO answers 499 to requests in flight when it shuts down, and proxies
do so when a connection was cut."""
_AGAIN_CODES = frozenset(
    {
        "ClientDisconnected",
        "ConditionalRequestConflict",
        "IncompleteBody",
        "InternalError",
        "OperationAborted",
        "RequestTimeout",
        "SlowDown",
    }
)
_REFUSALS = {
    "AccessDenied": "this access key may not do that; allow it there, or use another key",
    "InvalidAccessKeyId": "the store does not know the access key",
    "SignatureDoesNotMatch": "the secret key does not belong to the access key",
    "ExpiredToken": "the session token has expired",
    "InvalidToken": "the session token is not valid",
    "InvalidTokenId": "the session token is not valid",
    "RequestTimeTooSkewed": "this machine's clock differs from the store's by more than 15 minutes; set it",
}
_VARIABLES = "SAPFLOW_S3_ACCESS_KEY, SAPFLOW_S3_SECRET_KEY and SAPFLOW_S3_SESSION_TOKEN (or their AWS_ names)"


@dataclass(frozen=True, slots=True)
class Place:
    """The bucket that errors are about, and its endpoint."""

    endpoint: str
    bucket: str
    region: str

    def name(self, key: str) -> str:
        return f"s3://{self.bucket}/{key} at {self.endpoint}"

    def no_credentials(self) -> StoreError:
        return StoreError(f"s3://{self.bucket} at {self.endpoint} needs credentials: set {_VARIABLES}")

    def no_answer(self, error: Exception) -> StoreUnavailable:
        return StoreUnavailable(
            f"{self.endpoint} gave no answer ({str(error) or type(error).__name__}): check that the address is "
            "right, that the server runs, and that no network policy is between"
        )

    def failure(self, method: str, key: str, status: int, text: str) -> StoreError:
        """The error for an answer with `status` and body `text`."""
        code, message = _tag("Code", text), _tag("Message", text)
        where = self.name(key)
        if code == "NoSuchBucket":
            return BucketMissing(
                f"bucket {self.bucket!r} does not exist at {self.endpoint}: make it, or correct the store's URL"
            )
        # A PUT needs no existing object; MinIO was seen to answer 404 to it while it shut down or started.
        again = method == "PUT" and status == 404 and code != ""
        if status == 404 and not again:
            return ObjectMissing(f"{where}: no such object")
        if status in (401, 403) or code in _REFUSALS:
            why = _REFUSALS.get(code, _REFUSALS["AccessDenied"])
            refusal = StoreUnsafe(
                f"{where}: {method}: {code or status}: {why}. Credentials are read from {_VARIABLES}"
            )
            refusal.reason = ACCESS_DENIED
            return refusal
        if again or status in _AGAIN_STATUS or code in _AGAIN_CODES:
            return StoreUnavailable(f"{where}: {method} answered {status} {code} {message}: try again later")
        if status == 507:
            return StoreError(f"{where}: disk full: the store has no space left; free some there")
        if status in (301, 307) or code == "AuthorizationHeaderMalformed":
            region = _tag("Region", text) or "the bucket's own"
            return StoreError(f"{where}: region {self.region!r} is wrong: put region={region} into the URL")
        if not code:
            return StoreError(
                f"{where}: {method} answered {status}, but not as S3 does: is the endpoint its API's port?"
            )
        return StoreError(f"{where}: {method} answered {status} {code}: {message}")


def _tag(name: str, text: str) -> str:
    # This is not parsed as XML: the server may not be S3 at all, and the data path should not load a parser.
    found = re.search(f"<{name}>([^<]*)</{name}>", text)
    return found[1] if found else ""
