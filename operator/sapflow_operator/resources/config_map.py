"""The ConfigMap with the driver's files: for a TrainingJob the resolved job and its packing into cells."""

from typing import Any

from sapflow_operator import names, recorded_place
from sapflow_operator.resources import metadata
from sapflow_operator.wanted import Wanted


def build(wanted: Wanted) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata.build(
            wanted, names.spec_config_map(wanted.pool), None, recorded_place.note(wanted)
        ),
        "data": dict(wanted.documents),
    }
