"""Records are JSON that any reader understands."""

import asyncio
import json
from pathlib import Path

from sapflow.errors import DataError, StoreUnavailable
from sapflow.objects import keys
from sapflow.objects.stores.factory import open_store
from sapflow.records.commits import Records


def test_a_number_that_is_not_finite_is_recorded_as_null(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    records = Records(store, "jobs/job/")
    body = {"loss": float("nan"), "sums": [float("inf"), 1.0], "account": {"seconds": float("-inf")}}

    asyncio.run(records.write("record.json", body))

    def refuse(name: str) -> float:
        raise AssertionError(f"{name} is no JSON")

    written = json.loads(bytes(store.read("record.json")), parse_constant=refuse)
    assert written == {"loss": None, "sums": [None, 1.0], "account": {"seconds": None}}


def test_the_last_failure_after_a_version_is_the_one_that_is_kept(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    records = Records(store, "jobs/job/")
    for failure in (StoreUnavailable("away"), DataError("gone")):
        asyncio.run(records.fail(failure, 3))
    written = json.loads(bytes(store.read(keys.failure(keys.job("job"), 3))))
    assert written == {"reason": "InvalidData", "message": "gone", "version": 3}
    assert asyncio.run(records.take_failure(3)) == "InvalidData"
    assert asyncio.run(records.take_failure(3)) is None
