"""Request signatures against an independent implementation of the same standard."""

import datetime
from urllib.parse import urlsplit

import pytest
from minio.credentials.credentials import Credentials as ReferenceCredentials
from minio.signer import sign_v4_s3

from sapflow.objects.stores.credentials import Credentials
from sapflow.objects.stores.signature import encode_path, encode_query, sign

MOMENT = datetime.datetime(2024, 2, 29, 23, 59, 58, tzinfo=datetime.UTC)


@pytest.mark.parametrize("token", [None, "session/token+="])
@pytest.mark.parametrize(
    ("method", "path", "query"),
    [
        ("PUT", "/bucket/jobs/a/work/1-x/0-0.0", {}),
        ("GET", "/bucket/Ü b/&=+~'(1)%", {}),
        ("GET", "/bucket/", {"prefix": "a b/ü", "list-type": "2", "continuation-token": "x+/="}),
        ("POST", "/bucket/", {"delete": ""}),
    ],
)
def test_a_signature_is_what_the_reference_makes(
    method: str, path: str, query: dict[str, str], token: str | None
) -> None:
    target, text = encode_path(path), encode_query(query)
    headers = {"host": "minio:9000", "if-none-match": "*", "content-length": "12"}
    signed = sign(
        Credentials("access", "secret", token), "eu-1", method, target, text, headers, MOMENT.timestamp()
    )
    expected = sign_v4_s3(
        method=method,
        url=urlsplit(f"http://minio:9000{target}?{text}"),
        region="eu-1",
        headers={name: value for name, value in signed.items() if name != "authorization"},
        credentials=ReferenceCredentials("access", "secret", token),
        content_sha256="UNSIGNED-PAYLOAD",
        date=MOMENT,
    )
    assert signed["authorization"] == expected["Authorization"]
    assert signed["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"
    assert signed.get("x-amz-security-token") == token
