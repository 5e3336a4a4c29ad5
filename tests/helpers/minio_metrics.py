"""What MinIO says of itself: bytes that went in and out by S3."""

import hmac
import json
import re
import time
import urllib.request
from base64 import urlsafe_b64encode
from dataclasses import dataclass

from helpers.kube import owner, reachable_store


@dataclass(frozen=True)
class Bytes:
    """As the server counts them since its start."""

    received: float
    sent: float

    def __sub__(self, earlier: "Bytes") -> "Bytes":
        return Bytes(self.received - earlier.received, self.sent - earlier.sent)


def traffic() -> Bytes:
    """Of the chart's MinIO, up to now."""
    with reachable_store() as endpoint:
        request = urllib.request.Request(f"{endpoint}/minio/v2/metrics/cluster")
        request.add_header("Authorization", f"Bearer {_token()}")
        with urllib.request.urlopen(request, timeout=30) as response:
            text = response.read().decode()
    found = {
        name: sum(float(value) for value in re.findall(rf"^{name}{{[^}}]*}} (\S+)$", text, re.MULTILINE))
        for name in ("minio_s3_traffic_received_bytes", "minio_s3_traffic_sent_bytes")
    }
    return Bytes(found["minio_s3_traffic_received_bytes"], found["minio_s3_traffic_sent_bytes"])


def _token() -> str:
    """A JSON web token that MinIO's metrics are read with."""
    credentials = owner()
    claims = {"exp": int(time.time()) + 300, "sub": credentials.access_key, "iss": "prometheus"}
    signed = b".".join(map(_part, ({"alg": "HS512", "typ": "JWT"}, claims)))
    signature = hmac.digest(credentials.secret_key.encode(), signed, "sha512")
    return b".".join((signed, urlsafe_b64encode(signature).rstrip(b"="))).decode()


def _part(value: object) -> bytes:
    return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")
