"""The record of a search's spec in its store: `jobs/<uid>/spec.json`, the TuningJob as it last ran."""

import json

from sapflow.errors import ObjectMissing
from sapflow.messages.documents import Document
from sapflow.objects import keys
from sapflow.objects.stores.protocol import Store
from sapflow.spec import tuning_document
from sapflow.spec.resolved_search import ResolvedSearch, fixed_fields, read
from sapflow.spec.standing import refuse_another
from sapflow.text import parse_json


def write_spec(search: ResolvedSearch, store: Store) -> Document:
    """Write the search's spec where functions and commands find it, in place of one with other limits; what stands.

    Raises AlteredObject if another search's lies there, and StoreError.
    """
    key, document = keys.spec(search.prefix), search.to_json()
    body = json.dumps(document, sort_keys=True, indent=1).encode()
    if not store.create(key, body, durable=True):
        standing = bytes(store.read(key))
        if standing != body:
            refuse_another(
                "search",
                key,
                standing,
                fixed_fields(document),
                lambda found: fixed_fields(read(found, search.prefix).to_json()),
                runtime=search.runtime,
                again="--again",
            )
            store.delete([key])
            store.create(key, body, durable=True)
    return Document.of(key, body)


def read_spec(store: Store, uid: str) -> ResolvedSearch | None:
    """The search of this uid as the store has it; None if what lies there is none, or nothing does.

    Raises StoreError, and SpecError if its spec is of another release.
    """
    prefix = keys.job(uid)
    try:
        document = parse_json(bytes(store.read(keys.spec(prefix))))
    except (ObjectMissing, ValueError):
        return None
    return read(document, prefix) if tuning_document.is_tuning(document) else None
