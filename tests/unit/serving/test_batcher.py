"""Requests that wait at the same time are computed together, and each caller gets its own rows."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sapflow.serving.batcher import Batcher
from sapflow.serving.raw_rows import RawRows
from sapflow.serving.refusal import BadRow
from sapflow.serving.served_model import Computed


def rows(*values: float) -> RawRows:
    return RawRows({"value": np.array(values, np.float64)}, len(values))


class Model:
    """Doubles values; 13 is a bad row, and nobody can compute 66. `hold` keeps the first forward at work."""

    def __init__(self) -> None:
        self.batches: list[list[float]] = []
        self.hold = threading.Event()
        self.hold.set()

    def compute(self, given: RawRows) -> Computed:
        values = np.asarray(given.columns["value"])
        self.batches.append(values.tolist())
        self.hold.wait(5)
        if 66 in values:
            raise RuntimeError("66 cannot be computed")
        bad = tuple(BadRow(row, "value", "is 13") for row in np.flatnonzero(values == 13).tolist())
        return Computed(2 * values[:, None], values[:, None], bad)


def together(model: Model, batcher: Batcher, *requests: RawRows) -> list[Any]:
    """The answers to requests that all come while a first one is computed."""

    async def ask() -> list[Any]:
        model.hold.clear()
        first = asyncio.create_task(batcher.compute(rows(0)))
        while not model.batches:
            await asyncio.sleep(0.001)
        others = [asyncio.create_task(batcher.compute(each)) for each in requests]
        await asyncio.sleep(0)
        model.hold.set()
        await first
        return await asyncio.gather(*others, return_exceptions=True)

    try:
        return asyncio.run(ask())
    finally:
        batcher.close()


@pytest.fixture
def model() -> Model:
    return Model()


def outputs(found: Any) -> Any:
    return found.outputs[:, 0].tolist()


def test_what_waits_is_computed_at_once_and_each_caller_gets_its_own(model: Model) -> None:
    found = together(model, Batcher(model.compute, 100), rows(1, 2), rows(3), rows(4, 5, 6))
    assert [outputs(each) for each in found] == [[2, 4], [6], [8, 10, 12]]
    assert model.batches == [[0], [1, 2, 3, 4, 5, 6]]


def test_a_bad_row_is_told_to_its_caller_alone_by_its_number_there(model: Model) -> None:
    found = together(model, Batcher(model.compute, 100), rows(1, 2), rows(3, 13), rows(4))
    assert [each.bad for each in found] == [(), (BadRow(1, "value", "is 13"),), ()]


def test_a_request_that_cannot_be_computed_fails_its_caller_alone(model: Model) -> None:
    found = together(model, Batcher(model.compute, 100), rows(1), rows(66), rows(2))
    assert outputs(found[0]) == [2]
    assert outputs(found[2]) == [4]
    assert isinstance(found[1], RuntimeError)


def test_no_more_rows_are_computed_at_once_than_asked_for(model: Model) -> None:
    found = together(model, Batcher(model.compute, 3), rows(1, 2), rows(3, 4), rows(5), rows(6, 7, 8, 9))
    assert [outputs(each) for each in found] == [[2, 4], [6, 8], [10], [12, 14, 16, 18]]
    assert model.batches[1:] == [[1, 2], [3, 4, 5], [6, 7, 8, 9]]


def test_a_request_waits_for_others_where_it_is_asked_to(model: Model) -> None:
    batcher = Batcher(model.compute, 100, 0.05)

    async def ask() -> None:
        await asyncio.gather(batcher.compute(rows(1)), batcher.compute(rows(2)))

    asyncio.run(ask())
    batcher.close()
    assert model.batches == [[1, 2]]


@pytest.mark.parametrize("cancel", [lambda task: task.cancel()])
def test_a_caller_that_has_gone_is_left_out(model: Model, cancel: Callable[[Any], Any]) -> None:
    batcher = Batcher(model.compute, 100)

    async def ask() -> None:
        model.hold.clear()
        first = asyncio.create_task(batcher.compute(rows(0)))
        while not model.batches:
            await asyncio.sleep(0.001)
        gone, stays = (
            asyncio.create_task(batcher.compute(rows(1))),
            asyncio.create_task(batcher.compute(rows(2))),
        )
        await asyncio.sleep(0)
        cancel(gone)
        await asyncio.sleep(0)
        model.hold.set()
        await first
        assert outputs(await stays) == [4]

    asyncio.run(ask())
    batcher.close()
    assert model.batches == [[0], [2]]
