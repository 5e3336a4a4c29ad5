"""Two jobs at once on the same functions, one driver each: the weights are those of each job alone."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from helpers.jobs import make_place, tiny_job

from sapflow.data.blocks import Manifest
from sapflow.data.cut import cut, write_spec
from sapflow.driver.driver import Driver
from sapflow.objects import keys
from sapflow.objects.stores.factory import open_store
from sapflow.quantities.roles import Role
from sapflow.runtimes.embedded.runtime import EmbeddedRuntime
from sapflow.spec.resolved import ResolvedJob
from sapflow.spec.training_job import TrainingJob


def job_of(threads: int, **changes: Any) -> dict[str, Any]:
    """Wide enough that the order of its gradient's sums depends on the number of threads."""
    return {
        "model": {"name": "mlp", "args": {"hidden": [512, 256]}},
        "data_source": "sklearn:digits",
        "data_batchSize": 256,
        "workers": 2,
        "merge_structure": [1, 2],
        "algorithm_steps": 3,
        "threads": threads,
        "memory_worker": "1Gi",
        **changes,
    }


def placed(folder: Path, job: TrainingJob) -> tuple[ResolvedJob, Manifest]:
    """A job of its own with its data cut."""
    place = make_place(folder, job)
    return place.resolved, place.manifest


def trained(
    folder: Path, *jobs: tuple[ResolvedJob, Manifest]
) -> tuple[list[dict[str, Any]], dict[Role, int]]:
    """The outcomes of jobs that share one worker and one merger, and the calls that each of these has served."""

    async def body() -> tuple[list[dict[str, Any]], dict[Role, int]]:
        store, threads = open_store(str(folder)), jobs[0][0].job.spec.threads
        # One place for calls: each role has one process, and every second call is of the other job.
        runtime = EmbeddedRuntime(folder.as_uri(), memory={}, threads=threads, max_instances=1)
        try:
            drivers = [Driver(resolved, manifest, store, runtime) for resolved, manifest in jobs]
            outcomes = await asyncio.gather(*(driver.run() for driver in drivers))
            infos = runtime.instances()
            assert len({info.role for info in infos}) == len(infos) == 2
            return list(outcomes), {info.role: info.calls for info in infos}
        finally:
            await runtime.close()

    return asyncio.run(body())


@pytest.mark.slow
def test_two_jobs_with_different_threads_that_share_one_worker_keep_their_bits(tmp_path: Path) -> None:
    jobs = [tiny_job(**job_of(1)), tiny_job(**job_of(2, optimizer_name="Adam"))]
    alone = []
    for number, job in enumerate(jobs):
        folder = tmp_path / f"alone-{number}"
        alone.append(trained(folder, placed(folder, job)))
    shared = tmp_path / "shared"
    outcomes, calls = trained(shared, *(placed(shared, job) for job in jobs))
    assert [each["sha256"] for each in outcomes] == [outcome["sha256"] for (outcome,), _ in alone]
    served = [single for _, single in alone]
    assert calls == {role: sum(each[role] for each in served) for role in calls}
    for outcome, ((single,), _) in zip(outcomes, alone, strict=True):
        assert outcome["account"]["invocations"] == single["account"]["invocations"]


def trial_of(folder: Path, number: int, job: TrainingJob) -> tuple[ResolvedJob, Manifest]:
    """A job below the prefix of a search, with its data cut there."""
    resolved = ResolvedJob(job, keys.trial(keys.job("search"), number))
    store = open_store(str(folder))
    write_spec(resolved, store)
    return resolved, cut(resolved, store)


@pytest.mark.slow
def test_trials_below_one_prefix_leave_each_other_alone(tmp_path: Path) -> None:
    """Their keys, accounts, failures and results are their own; the data is cut for each."""
    changes = [{"optimizer_learningRate": rate} for rate in (0.05, 0.2)]
    expected = []
    for number, each in enumerate(changes):
        (outcome,), _ = trained(tmp_path / f"{number}", placed(tmp_path / f"{number}", tiny_job(**each)))
        expected.append(outcome["sha256"])
    folder = tmp_path / "search"
    places = [trial_of(folder, number, tiny_job(**each)) for number, each in enumerate(changes)]
    outcomes, _ = trained(folder, *places)
    store = open_store(str(folder))
    assert [each["sha256"] for each in outcomes] == expected
    for number in range(2):
        prefix = keys.trial(keys.job("search"), number)
        assert store.exists(keys.result(prefix, "outcome.json"))
        assert not store.exists(keys.failure(prefix, 0))
    assert sorted(path.name for path in (folder / "jobs").iterdir()) == ["search"]
