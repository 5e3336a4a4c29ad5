"""Makes, renews and revokes a job's own credentials for the store.

MinIO makes them by AssumeRole or, if the operator's credentials may not assume roles (those of a service account), as a
service account through the admin API. With other stores a job may share the credentials of its Secret, if it says so.
"""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from urllib.parse import urlencode, urlsplit
from xml.etree import ElementTree

import urllib3
from minio.credentials.providers import StaticProvider
from minio.error import MinioAdminException
from minio.minioadmin import MinioAdmin
from minio.signer import sign_v4_sts

from sapflow.errors import StoreUnavailable
from sapflow.objects.stores.credentials import Credentials
from sapflow.objects.stores.signature import encode_query, sign
from sapflow_operator.errors import CredentialsRefused
from sapflow_operator.store.policy import SharedGrant, reading_policy, session_policy
from sapflow_operator.wanted import Place

Kind = Literal["session", "account", "shared"]
_SECONDS = 15.0
_NEVER = frozenset({501, 505})
"""Statuses of servers that will not be able to do it later either; every other one from 500 is an outage."""
_STS = "{https://sts.amazonaws.com/doc/2011-06-15/}"


@dataclass(frozen=True, slots=True)
class Issued:
    """Credentials for a job's functions and driver, and the time of their renewal. Shared ones are never renewed."""

    kind: Kind
    credentials: Credentials
    expires: datetime | None = None
    renew: datetime | None = None


class Issuer:
    """Makes and revokes credentials, using those that own the store. It blocks, and is thread-safe."""

    def __init__(self, place: Place, owner: Credentials) -> None:
        self._place, self._owner = place, owner
        self._http = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=5.0, read=_SECONDS),
            retries=urllib3.Retry(
                total=3,
                backoff_factor=0.2,
                backoff_jitter=0.2,
                status_forcelist=[502, 503, 504],
                raise_on_status=False,
            ),
        )

    def issue(
        self,
        uid: str,
        source: str,
        seconds: int,
        objects: Sequence[str] = (),
        validation: str = "",
        origin: Sequence[str] = (),
        shared: SharedGrant | None = None,
    ) -> Issued:
        """Make credentials for job `uid` that are valid for `seconds` and due for renewal after half of that time.

        They allow reading the data at `source` and `validation`, `objects`, those of `origin`, and what
        `shared` says.

        Raises CredentialsRefused if the store makes none and none may be shared, and StoreUnavailable.
        """
        allowed = session_policy(self._place.bucket, uid, source, objects, validation, origin, shared)
        return self._issue(uid, allowed, seconds)

    def issue_reading(self, uid: str, readable: Sequence[str], seconds: int) -> Issued:
        """Make credentials for the service `uid` that only read the objects with these keys, or patterns of them.

        Raises CredentialsRefused if the store makes none and none may be shared, and StoreUnavailable.
        """
        return self._issue(uid, reading_policy(self._place.bucket, readable), seconds)

    def _issue(self, uid: str, allowed: Mapping[str, Any], seconds: int) -> Issued:
        policy = json.dumps(allowed, separators=(",", ":"))
        now = datetime.now(UTC).replace(microsecond=0)
        expires, renew = now + timedelta(seconds=seconds), now + timedelta(seconds=seconds / 2)
        why = []
        for kind, make in (("session", self._assume_role), ("account", self._add_account)):
            made, refusal = make(uid, policy, seconds, expires)
            if made is not None:
                return Issued("session" if kind == "session" else "account", made, expires, renew)
            why.append(refusal)
        if self._place.share:
            return Issued("shared", self._owner)
        raise CredentialsRefused(
            f"{self._place.endpoint} makes no credentials for this job alone ({'; '.join(why)}); use credentials that "
            "may do that (a user of MinIO, not a service account), or say spec.storage.shareCredentials: true with a "
            "spec.storage.secretName of your own"
        )

    def revoke(self, uid: str, kind: str, access_keys: Sequence[str]) -> None:
        """Revoke all credentials of a job. Those that are gone already, and shared ones, are ignored.

        Raises StoreUnavailable, CredentialsRefused.
        """
        if kind == "session":
            query = encode_query({"tokenRevokeType": uid})
            answer = self._signed("POST", "/minio/admin/v3/revoke-tokens/builtin", query)
            if answer.status not in (200, 204):
                raise CredentialsRefused(
                    f"{self._place.endpoint} did not revoke job {uid}'s credentials ({_word(answer)}); they end by "
                    "themselves"
                )
        elif kind == "account":
            for access_key in access_keys:
                self._remove_account(uid, access_key)

    def _remove_account(self, uid: str, access_key: str) -> None:
        try:
            self._admin().delete_service_account(access_key)
        except MinioAdminException as error:
            self._check_outage(int(_code(error)), str(error))
            if _code(error) != "404":
                raise CredentialsRefused(
                    f"{self._place.endpoint} did not remove the service account {access_key} of job {uid}: {error}"
                ) from error
        except urllib3.exceptions.HTTPError as error:
            raise self._silent(error) from error

    def _assume_role(
        self, uid: str, policy: str, seconds: int, expires: datetime
    ) -> tuple[Credentials | None, str]:
        """A session that is tagged with the job, so that it can be revoked separately; or why there is none."""
        form = {
            "Action": "AssumeRole",
            "Version": "2011-06-15",
            "DurationSeconds": str(seconds),
            "Policy": policy,
            "TokenRevokeType": uid,
        }
        body = urlencode(form)
        url, now = urlsplit(self._place.endpoint), datetime.now(UTC)
        headers = sign_v4_sts(
            method="POST",
            url=url,
            region=self._place.region,
            headers={
                "Content-Type": "application/x-www-form-urlencoded",
                "Host": url.netloc,
                "X-Amz-Date": now.strftime("%Y%m%dT%H%M%SZ"),
            },
            credentials=StaticProvider(self._owner.access_key, self._owner.secret_key).retrieve(),
            content_sha256=_sha256(body),
            date=now,
        )
        answer = self._send("POST", f"{self._place.endpoint}/", headers, body)
        if answer.status != 200:
            return None, f"AssumeRole: {_word(answer)}"
        root = _xml(answer.data)
        found = None if root is None else root.find(f".//{_STS}Credentials")
        if found is None:
            return None, "AssumeRole: an answer without credentials"
        parts = [
            found.findtext(f"{_STS}{name}") or ""
            for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")
        ]
        return Credentials(parts[0], parts[1], parts[2]), ""

    def _add_account(
        self, uid: str, policy: str, seconds: int, expires: datetime
    ) -> tuple[Credentials | None, str]:
        """A service account; or why there is none."""
        try:
            text = self._admin().add_service_account(
                name=f"sapflow-{uid[:20]}",
                description="a Sapflow job's own",
                policy=json.loads(policy),
                # Slightly more, because by MinIO's clock at least 15 minutes must be left.
                expiration=(expires + timedelta(seconds=60)).strftime("%Y-%m-%dT%H:%M:%SZ"),
            )
        except MinioAdminException as error:
            self._check_outage(int(_code(error)), str(error))
            return None, f"service account: {_code(error)}"
        except urllib3.exceptions.HTTPError as error:
            raise self._silent(error) from error
        except (ValueError, OSError):
            # The library cannot decrypt what is no answer of MinIO's.
            return None, "service account: an answer without credentials"
        made = _json(text).get("credentials")
        if not isinstance(made, dict) or not made.get("accessKey") or not made.get("secretKey"):
            return None, "service account: an answer without credentials"
        return Credentials(str(made["accessKey"]), str(made["secretKey"])), ""

    def _admin(self) -> MinioAdmin:
        url = urlsplit(self._place.endpoint)
        return MinioAdmin(
            endpoint=url.netloc,
            credentials=StaticProvider(self._owner.access_key, self._owner.secret_key),
            region=self._place.region,
            secure=url.scheme == "https",
            http_client=self._http,
        )

    def _signed(self, method: str, path: str, query: str) -> Any:
        url = urlsplit(self._place.endpoint)
        headers = sign(
            self._owner, self._place.region, method, path, query, {"host": url.netloc}, time.time()
        )
        return self._send(method, f"{self._place.endpoint}{path}?{query}", headers, None)

    def _send(self, method: str, url: str, headers: Mapping[str, Any], body: str | None) -> Any:
        try:
            answer = self._http.request(method, url, headers=dict(headers), body=body)
        except urllib3.exceptions.HTTPError as error:
            raise self._silent(error) from error
        self._check_outage(answer.status, _word(answer))
        return answer

    def _check_outage(self, status: int, why: str) -> None:
        """Raise StoreUnavailable for an answer that asks to try again later, and so is no refusal."""
        if status in (408, 429, 499) or (status >= 500 and status not in _NEVER):
            raise StoreUnavailable(f"{self._place.endpoint} answered {status} ({why}): it is tried again")

    def _silent(self, error: Exception) -> StoreUnavailable:
        return StoreUnavailable(f"{self._place.endpoint} does not answer: {error}; is the store running?")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _code(error: MinioAdminException) -> str:
    """The HTTP status of an answer of the admin API."""
    return str(error._code)


def _word(answer: Any) -> str:
    """The error's code in an XML or JSON answer, else its HTTP status."""
    if answer.data.startswith(b"{"):
        return str(_json(answer.data).get("Code", f"HTTP {answer.status}"))
    root = _xml(answer.data)
    codes = (
        [] if root is None else [each.text for each in root.iter() if each.tag.rpartition("}")[2] == "Code"]
    )
    return codes[0] if codes and codes[0] else f"HTTP {answer.status}"


def _xml(data: bytes) -> ElementTree.Element | None:
    """The root of an answer; None if it is no XML, as answers of proxies and consoles are not."""
    try:
        return ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError):
        return None


def _json(data: bytes | str) -> dict[str, Any]:
    """The object of an answer; empty if it is no JSON object."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
