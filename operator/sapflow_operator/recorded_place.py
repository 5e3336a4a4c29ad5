"""The place of a resource's objects, as noted on its ConfigMap. Pure.

With the note a resource can be cleaned up when its spec no longer parses, or the operator's own store is another by
then.
"""

import json

from sapflow_operator import names
from sapflow_operator.observed import Observed
from sapflow_operator.wanted import Owned, Place


def note(wanted: Owned) -> dict[str, str]:
    """The annotation for the ConfigMap."""
    place = wanted.place
    body = {
        "endpoint": place.endpoint,
        "bucket": place.bucket,
        "region": place.region,
        "secretName": place.secret_name,
        "shareCredentials": place.share,
        "keepResult": wanted.keeps_result,
    }
    return {names.STORE_PLACE: json.dumps(body, sort_keys=True)}


def read(observed: Observed, pool: str) -> tuple[Place, bool] | None:
    """The place, and whether the result stays there; None if there is no such note, or none that can be read."""
    config = observed.get("ConfigMap", names.spec_config_map(pool))
    notes = {} if config is None else config["metadata"].get("annotations", {})
    try:
        body = json.loads(notes.get(names.STORE_PLACE, ""))
        place = Place(
            body["endpoint"], body["bucket"], body["region"], body["secretName"], body["shareCredentials"]
        )
        return place, bool(body["keepResult"])
    except (ValueError, KeyError, TypeError):
        return None
