"""Finds the credentials that own a job's store: the operator's own, or those of a Secret in the job's namespace."""

from base64 import b64decode

from sapflow.objects.stores.credentials import Credentials
from sapflow_operator import names
from sapflow_operator.api.cluster import Cluster
from sapflow_operator.errors import SecretUnusable
from sapflow_operator.settings import Settings
from sapflow_operator.wanted import Place


async def owner_of(place: Place, namespace: str, cluster: Cluster, settings: Settings) -> Credentials:
    """The credentials that own a job's place in a store. Raises SecretUnusable, ClusterError."""
    if place.secret_name is None:
        own = settings.storage
        if own is None or (own.endpoint.rstrip("/"), own.bucket) != (place.endpoint, place.bucket):
            raise SecretUnusable(
                f"the operator has no credentials for bucket {place.bucket} at {place.endpoint} any more: its "
                "objectStorage was changed"
            )
        return Credentials(own.access_key, own.secret_key.get_secret_value())
    secret = await cluster.get("Secret", namespace, place.secret_name)
    if secret is None:
        raise SecretUnusable(
            f"spec.storage.secretName: there is no Secret {place.secret_name} in namespace {namespace}; make it, with "
            f"the keys {names.ACCESS_KEY} and {names.SECRET_KEY}"
        )
    data = secret.get("data", {})
    missing = [key for key in (names.ACCESS_KEY, names.SECRET_KEY) if not data.get(key)]
    if missing:
        raise SecretUnusable(
            f"spec.storage.secretName: the Secret {place.secret_name} in namespace {namespace} lacks the key "
            f"{' and '.join(missing)}"
        )
    try:
        values = [b64decode(data[key]).decode().strip() for key in (names.ACCESS_KEY, names.SECRET_KEY)]
        token = b64decode(data.get(names.SESSION_TOKEN, "")).decode().strip()
    except ValueError as error:
        raise SecretUnusable(
            f"spec.storage.secretName: the Secret {place.secret_name} in namespace {namespace} has keys that are no "
            "text: write access-key and secret-key into it as they are"
        ) from error
    return Credentials(values[0], values[1], token or None)
