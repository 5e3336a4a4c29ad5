"""AWS Signature Version 4 in request headers, for S3, with the payload left out of the signature.

Source: "Authenticating Requests (AWS Signature Version 4)" in the Amazon S3 API reference. A signed payload
costs a SHA-256 over every byte on both sides; lengths, TCP and TLS guard the bytes instead.
"""

import hashlib
import hmac
import time
from collections.abc import Mapping
from urllib.parse import quote

from sapflow.objects.stores.credentials import Credentials

_PAYLOAD = "UNSIGNED-PAYLOAD"
_UNRESERVED = "-._~"


def encode_path(path: str) -> str:
    """A path, encoded for the request line and the signature."""
    return quote(path, safe="/" + _UNRESERVED)


def encode_query(query: Mapping[str, str]) -> str:
    """A query, sorted and encoded as the signature requires."""
    pairs = sorted((quote(name, safe=_UNRESERVED), quote(query[name], safe=_UNRESERVED)) for name in query)
    return "&".join(f"{name}={value}" for name, value in pairs)


def sign(
    credentials: Credentials,
    region: str,
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    seconds: float,
) -> dict[str, str]:
    """`headers` (with lower-case names, `host` among them) and the headers that authenticate the request.

    `path` and `query` are encoded; `seconds` is the time of the request since the epoch.
    """
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(seconds))
    signed = {**headers, "x-amz-content-sha256": _PAYLOAD, "x-amz-date": moment}
    if credentials.session_token is not None:
        signed["x-amz-security-token"] = credentials.session_token
    names = sorted(signed)
    canonical = "\n".join(
        [method, path, query, *(f"{name}:{signed[name]}" for name in names), "", ";".join(names), _PAYLOAD]
    )
    scope = f"{moment[:8]}/{region}/s3/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    key = b"AWS4" + credentials.secret_key.encode()
    for part in (*scope.split("/"), f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{digest}"):
        key = hmac.digest(key, part.encode(), "sha256")
    signed["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope}, "
        f"SignedHeaders={';'.join(names)}, Signature={key.hex()}"
    )
    return signed
