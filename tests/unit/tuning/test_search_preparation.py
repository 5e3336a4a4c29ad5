"""What is done to the data of a search counts in its time and cost, and the deadline ends it."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from helpers import virtual_loop
from helpers.functions import Functions
from helpers.jobs import make_search_place, tiny_job
from helpers.search_runs import TEMPLATE, iris_search, runner_of
from helpers.tapped_store import Killed, TappedStore

from sapflow.data.manifest import Manifest
from sapflow.errors import JobFailed
from sapflow.quantities.prices import cost
from sapflow.quantities.roles import Role
from sapflow.runtimes.sender import Reply, Sender
from sapflow.tuning.calls import GROWTH
from sapflow.tuning.run import state_of

SECONDS = 40.0


def test_a_deadline_ends_the_preparation_and_the_next_run_counts_what_was_taken(tmp_path: Path) -> None:
    place = make_search_place(tmp_path, tiny_job(**TEMPLATE))

    async def slow(sender: Sender) -> Manifest:
        await asyncio.sleep(SECONDS)
        return place.manifest

    def run(deadline: int) -> tuple[float, dict[str, Any]]:
        job = iris_search(maxTrials=1, prune={"name": "None"}, deadlineSeconds=deadline)

        async def main() -> tuple[float, dict[str, Any]]:
            search = runner_of(place, job, Functions(place.store, 0), data=slow)
            outcome = await search.run()
            return search.seconds, outcome

        return virtual_loop.run(main())

    with pytest.raises(
        JobFailed, match=r"spec\.deadlineSeconds \(30\) is reached before the data was cut"
    ) as caught:
        run(30)
    assert caught.value.reason == "DeadlineExceeded"
    seconds, outcome = run(300)
    assert outcome["endedBy"] == "Completed"
    assert seconds >= 30 + SECONDS


def test_dollars_of_a_runner_that_was_killed_in_a_preparation_count_but_for_a_tenth(tmp_path: Path) -> None:
    place = make_search_place(tmp_path, tiny_job(**TEMPLATE))
    dead = TappedStore(place.store)
    billed: list[float] = []

    class Billed:
        """Functions that take a second a call."""

        async def invoke(self, role: Role, request: Mapping[str, Any], *, seconds: float) -> Reply:
            job = place.resolved.job
            billed.append(cost(job.price, job.memory_bytes[role], 1.0, job.cpus[role]))
            return Reply({}, 1.0, cold_seconds=0.0, queue_seconds=0.0)

        async def close(self) -> None:
            """Nothing to end."""

    async def dies(sender: Sender) -> Manifest:
        for _ in range(50):
            await sender.invoke("worker", {"op": "parse"}, seconds=10)
        dead.dead = True
        raise Killed

    job = iris_search(maxTrials=1, prune={"name": "None"})
    with pytest.raises(Killed):
        virtual_loop.run(runner_of(place, job, Billed(), dead, data=dies).run())
    noted = asyncio.run(state_of(place.store, place.resolved.prefix, job)).common
    assert sum(billed[:-1]) / (1 + GROWTH) <= noted <= sum(billed)
