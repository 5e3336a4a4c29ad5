"""Records of a later release are refused as such, and broken ones as broken."""

import asyncio
import json

import pytest
from helpers.scripted import first_commit

from sapflow import __version__
from sapflow.errors import CorruptObject, LaterRelease
from sapflow.objects import keys
from sapflow.objects.stores.protocol import Store
from sapflow.records.commits import Plan, Records

PREFIX = keys.job("j")


def written(store: Store, key: str, body: object) -> Records:
    store.create(key, json.dumps(body).encode())
    return Records(store, PREFIX)


def test_a_commit_with_a_field_of_a_later_release_is_refused_with_release_and_remedy(
    directory_store: Store,
) -> None:
    body = first_commit().body()
    body["measured"] = {**body["measured"], "mood": "good"}
    records = written(directory_store, keys.commit(PREFIX, 0), body)
    with pytest.raises(LaterRelease, match=r"has the fields 'measured\.mood', which this release") as caught:
        asyncio.run(records.commit(0))
    assert __version__ in str(caught.value)
    assert "Go on with that release" in str(caught.value)


def test_a_plan_of_a_later_release_is_refused(directory_store: Store) -> None:
    body = {**Plan(structure=(1, 2), shards=1).body(), "fashion": 1}
    records = written(directory_store, keys.plan(PREFIX, "p"), body)
    with pytest.raises(LaterRelease, match="'fashion'"):
        asyncio.run(records.plan("p"))


def test_a_record_that_has_something_else_wrong_with_it_is_broken(directory_store: Store) -> None:
    records = written(directory_store, keys.commit(PREFIX, 0), {"version": "x", "mood": 1})
    with pytest.raises(CorruptObject, match="is broken"):
        asyncio.run(records.commit(0))
    with pytest.raises(CorruptObject, match="is broken"):
        asyncio.run(written(directory_store, keys.plan(PREFIX, "p"), {"shards": 1}).plan("p"))
