"""The record of a search's spec in its store: `jobs/<uid>/spec.json`, the TuningJob as it last ran."""

import json

from sapflow.errors import AlteredObject, ObjectMissing, SpecError
from sapflow.messages.documents import Document
from sapflow.objects import keys
from sapflow.objects.stores.protocol import Store
from sapflow.spec import tuning_document
from sapflow.spec.resolved import differences
from sapflow.spec.resolved_search import ResolvedSearch, fixed_fields, read
from sapflow.text import parse_json

_REMEDIES = {
    "local": "start it anew (--again), or use another store",
    "kubernetes": "delete the search and what lies under its prefix, find out who may write there, and create it again",
}


def write_spec(search: ResolvedSearch, store: Store) -> Document:
    """Write the search's spec where functions and commands find it, in place of one with other limits; what stands.

    Raises AlteredObject if another search's lies there, and StoreError.
    """
    key, document = keys.spec(search.prefix), search.to_json()
    body = json.dumps(document, sort_keys=True, indent=1).encode()
    if not store.create(key, body, durable=True):
        standing = bytes(store.read(key))
        if standing != body:
            _refuse_another(search, standing, key)
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


def _refuse_another(search: ResolvedSearch, standing: bytes, key: str) -> None:
    """Raise AlteredObject unless the standing spec differs only in what may change while a search lives."""
    remedy = _REMEDIES[search.runtime]
    try:
        found = fixed_fields(read(parse_json(standing), search.prefix).to_json())
    except (ValueError, SpecError) as error:
        raise AlteredObject(f"{key} in the store is no spec of this search: {error}; {remedy}") from error
    wanted = fixed_fields(search.to_json())
    if found != wanted:
        differing = ", ".join(differences(wanted, found)[:5])
        raise AlteredObject(
            f"{key} in the store is not the spec of this search: it differs in {differing}. Somebody else wrote it, "
            f"and nothing of it is used; {remedy}"
        )
