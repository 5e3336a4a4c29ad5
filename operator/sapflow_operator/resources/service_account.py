"""The driver's ServiceAccount."""

from typing import Any

from sapflow_operator import names
from sapflow_operator.resources import metadata
from sapflow_operator.wanted import Wanted


def build(wanted: Wanted) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata.build(wanted, names.driver(wanted.pool), names.DRIVER),
    }
