"""A ModelService of a cluster for those who ask it: where it answers, and with which token."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from sapflow.client.cluster import Cluster, Object
from sapflow.client.cluster_errors import ClusterRefused
from sapflow.client.cluster_kinds import MODEL_SERVICES
from sapflow.client.served import Served
from sapflow.errors import DataError
from sapflow.spec.service_names import SUFFIX, TOKEN_KEY, token_secret


def served(
    cluster: Cluster, namespace: str, name: str, *, gateway: str | None = None, token: str | None = None
) -> Served:
    """The service of a name. `gateway` is where Knative's gateway is reached from here, if the service's own host name
    is not; `token` is the bearer token, which is otherwise read from the service's Secret.

    Raises JobUnknown, DataError if it serves nothing yet, ClusterRefused, ClusterUnavailable.
    """
    service = cluster.job(namespace, name, MODEL_SERVICES)
    url = service.get("status", {}).get("url")
    if url is None:
        raise DataError(
            f"the model service {name} in namespace {namespace} serves nothing yet{_why(service)}"
        )
    if service["spec"].get("protocol") == "Grpc":
        raise DataError(
            f"the model service {name} in namespace {namespace} speaks gRPC alone (spec.protocol): ask {url} with a "
            "client of the Open Inference Protocol, such as tritonclient[grpc], or serve it by Rest"
        )
    asked = token or _token(cluster, namespace, service)
    if gateway is None:
        return Served(url, asked, unreached=_UNREACHED)
    return Served(gateway, asked, host=urlsplit(url).netloc)


_UNREACHED = (
    "its host name may be known in the cluster alone: `kubectl port-forward -n kourier-system svc/kourier 8080:80`, "
    "and give --gateway http://127.0.0.1:8080 (gateway= in Python)"
)


def _why(service: Object) -> str:
    """What its condition says, for messages."""
    for each in service.get("status", {}).get("conditions", ()):
        if each["type"] == "Ready":
            return f" ({each['reason']}): {each.get('message', '')}".rstrip(": ")
    return ": its operator has not seen it"


def _token(cluster: Cluster, namespace: str, service: Object) -> str | None:
    """The token in the Secret that the service names, or in its own; None where none is asked for."""
    auth: Mapping[str, Any] = service["spec"].get("auth") or {}
    if auth.get("mode") == "None":
        return None
    secret = auth.get("secretName") or token_secret(service["metadata"]["name"] + SUFFIX)
    try:
        data = cluster.secret(namespace, secret)
        return base64.b64decode(data[TOKEN_KEY], validate=True).decode().strip()
    except ClusterRefused as error:
        raise ClusterRefused(f"{error}; or give the service's token (--token)", error.status) from error
    except (KeyError, binascii.Error, UnicodeDecodeError) as error:
        raise DataError(
            f"the Secret {secret} in namespace {namespace} has no text under {TOKEN_KEY!r}"
        ) from error
