"""The ConfigMap with the resolved job, and with how it is packed into cells."""

import json
from typing import Any

from sapflow_operator import names
from sapflow_operator.resources import metadata
from sapflow_operator.wanted import Wanted


def build(wanted: Wanted) -> dict[str, Any]:
    data = {names.JOB_KEY: json.dumps(wanted.resolved.to_json(), sort_keys=True, indent=1)}
    if wanted.placed is not None:
        data[names.PLACEMENT_KEY] = json.dumps(wanted.placed.to_json(), separators=(",", ":"))
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata.build(wanted, names.spec_config_map(wanted.name)),
        "data": data,
    }
