"""Records are JSON that any reader understands."""

import asyncio
import json
from pathlib import Path

from sapflow.driver.commits import Records
from sapflow.store import open_store


def test_a_number_that_is_not_finite_is_recorded_as_null(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    records = Records(store, "job")
    body = {"loss": float("nan"), "sums": [float("inf"), 1.0], "account": {"seconds": float("-inf")}}

    asyncio.run(records.write("record.json", body))

    def refuse(name: str) -> float:
        raise AssertionError(f"{name} is no JSON")

    written = json.loads(bytes(store.read("record.json")), parse_constant=refuse)
    assert written == {"loss": None, "sums": [None, 1.0], "account": {"seconds": None}}
