"""The Secret of a job's pool: the functions' token, and store credentials as files that may be renewed."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

from sapflow_operator import names
from sapflow_operator.resources import metadata
from sapflow_operator.store.credentials import Issued
from sapflow_operator.wanted import Owned

KEYS_REMEMBERED = 3
"""Number of access keys that are remembered; older credentials have expired."""


def build(
    wanted: Owned,
    token: str,
    issued: Issued,
    earlier: Sequence[str] = (),
    notes: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The Secret; annotations say when credentials expire and are renewed, list all access keys, and say `notes`."""
    values = {
        names.TOKEN_KEY: token,
        names.ACCESS_KEY: issued.credentials.access_key,
        names.SECRET_KEY: issued.credentials.secret_key,
        # It is empty instead of missing, because functions read it, and renewed credentials may have one.
        names.SESSION_TOKEN: issued.credentials.session_token or "",
    }
    access_keys = [*earlier, issued.credentials.access_key]
    annotations: dict[str, str] = {names.CREDENTIALS_KIND: issued.kind, **(notes or {})}
    if issued.kind != "shared":
        annotations[names.CREDENTIALS_KEYS] = ",".join(access_keys[-KEYS_REMEMBERED:])
    if issued.expires is not None and issued.renew is not None:
        annotations |= {
            names.CREDENTIALS_EXPIRE: issued.expires.isoformat(),
            names.CREDENTIALS_RENEW: issued.renew.isoformat(),
        }
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": metadata.build(wanted, names.pool_secret(wanted.pool), None, annotations),
        "data": {name: b64encode(value.encode()).decode() for name, value in values.items()},
    }
