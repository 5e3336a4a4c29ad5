"""The ConfigMap with what the processes of a ModelService read: a document for each revision that may be started."""

from collections.abc import Mapping, Sequence
from typing import Any

from sapflow_operator import names, recorded_place
from sapflow_operator.resources import metadata
from sapflow_operator.service_wanted import ServiceWanted


def build(
    wanted: ServiceWanted, revisions: Sequence[str], standing: Mapping[str, Any] | None, *, comparing: bool
) -> dict[str, Any]:
    """The ConfigMap for the wanted revision and those of `revisions`, whose documents are in the `standing` one.

    `comparing`: a canary gets requests, and asks the version that serves the same.
    """
    known = {} if standing is None else standing.get("data", {})
    kept = {key: known[key] for key in map(names.served_key, revisions) if key in known}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata.build(
            wanted, names.spec_config_map(wanted.pool), None, recorded_place.note(wanted)
        ),
        "data": {
            **kept,
            names.served_key(wanted.revision): wanted.document,
            names.COMPARE_KEY: wanted.compare_url if comparing else "",
        },
    }
