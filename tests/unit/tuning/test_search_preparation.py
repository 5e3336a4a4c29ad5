"""What is done to the data of a search counts in its time, and the deadline ends it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from helpers import virtual_loop
from helpers.functions import Functions
from helpers.jobs import make_search_place, tiny_job
from helpers.search_runs import TEMPLATE, iris_search, runner_of

from sapflow.data.manifest import Manifest
from sapflow.errors import JobFailed
from sapflow.runtimes.sender import Sender

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
