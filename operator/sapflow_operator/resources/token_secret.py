"""The Secret with the bearer token of a ModelService."""

from base64 import b64encode
from typing import Any

from sapflow_operator import names
from sapflow_operator.resources import metadata
from sapflow_operator.wanted import Owned


def build(wanted: Owned, token: str) -> dict[str, Any]:
    """A Secret that is made once: whoever changes the token in it has changed the service's."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": metadata.build(wanted, names.token_secret(wanted.pool)),
        "data": {names.TOKEN_KEY: b64encode(token.encode()).decode()},
    }
