"""The length of a job in steps and in optimiser updates."""

from typing import Any

import pytest
from helpers.jobs import tiny_job
from helpers.reference import split

from sapflow.planning.extent import Extent


def counted(extent: Extent, samples: int, batch: int) -> list[int]:
    """The updates of each step, by the shares of its ranks."""
    found, used = [], 0
    for _ in range(extent.steps):
        end = min(used + extent.round_samples, samples)
        shares = [stop - start for start, stop in split(used, end, extent.workers) if stop > start]
        found.append(len(shares) if not extent.facts.merged else max(-(-share // batch) for share in shares))
        used = 0 if end == samples else end
    return found if extent.facts.local_steps > 1 or not extent.facts.merged else [1] * len(found)


@pytest.mark.parametrize("samples", [1, 7, 40, 41, 119, 120, 121, 1000])
@pytest.mark.parametrize("workers", [1, 3, 5])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"algorithm_localSteps": 4},
        {"algorithm_localSteps": 7, "algorithm_steps": 11},
        {"algorithm_mode": "Async", "merge_structure": None},
    ],
)
def test_updates_are_those_that_all_steps_make(samples: int, workers: int, changes: dict[str, Any]) -> None:
    changes = {"algorithm_steps": None, "algorithm_epochs": 3, "workers": workers} | changes
    if changes.get("algorithm_steps"):
        changes.pop("algorithm_epochs")
    job = tiny_job(**{"merge_structure": [1, workers], "data_batchSize": 8, **changes})
    extent = Extent.of(job, samples)
    updates = counted(extent, samples, 8)
    assert extent.updates == sum(updates)
    assert (
        extent.updates_per_epoch == sum(updates[: extent.steps_per_epoch])
        or extent.steps < extent.steps_per_epoch
    )
