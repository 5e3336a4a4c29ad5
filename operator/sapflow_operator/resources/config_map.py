"""The ConfigMap with the driver's files: for a TrainingJob the resolved job and its packing into cells."""

from typing import Any

from sapflow_operator import names
from sapflow_operator.resources import metadata
from sapflow_operator.wanted import Wanted


def build(wanted: Wanted) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata.build(wanted, names.spec_config_map(wanted.pool)),
        "data": dict(wanted.documents),
    }
