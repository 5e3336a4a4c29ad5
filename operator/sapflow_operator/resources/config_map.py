"""The ConfigMap with the resolved job."""

import json
from pathlib import PurePosixPath
from typing import Any

from sapflow_operator import names
from sapflow_operator.resources import metadata
from sapflow_operator.wanted import Wanted


def build(wanted: Wanted) -> dict[str, Any]:
    text = json.dumps(wanted.document, sort_keys=True, indent=1)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata.build(wanted, names.spec_config_map(wanted.name)),
        "data": {PurePosixPath(names.JOB_FILE).name: text},
    }
