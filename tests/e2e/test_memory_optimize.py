"""Workers that are given another memory size while their job trains, and CPU with it."""

import statistics
from itertools import pairwise
from typing import Any

from helpers.kube import Job, condition_of, own_models_image, owned_store, sample, step_of

from sapflow.objects import keys
from sapflow.records.commits import Commit
from sapflow.records.memory_search import SizeSearch

STEPS, WORKERS = 1500, 4
HUNGRY_STEPS = 500
"""So that each size has its seconds of settling before the job is over: three of them, and the one killed."""
SEARCH = {"goal": "Cost", "everySteps": 5, "maxUpdates": 3, "min": "384Mi", "max": "1Gi"}


def training(memory: dict[str, Any]) -> dict[str, Any]:
    """Digits on four workers whose CPU follows their memory."""
    return sample(
        "digits",
        workers=WORKERS,
        merge__structure=[1, WORKERS],
        algorithm={"steps": STEPS, "seed": 0},
        evaluation={"everySteps": STEPS},
        memory={"worker": "768Mi", "merger": "128Mi"} | memory,
    )


def commits(job: Job, steps: int) -> list[Commit]:
    """The commit of every version; fails where one is missing."""
    uid = job.read()["metadata"]["uid"]
    with owned_store() as store:
        texts = [bytes(store.read(keys.commit(keys.job(uid), version))) for version in range(steps + 1)]
    return [Commit.model_validate_json(text) for text in texts]


def sizes_of(found: list[Commit]) -> list[tuple[int, ...]]:
    """The workers' limits of each step in MiB."""
    return [tuple(size >> 20 for size in each.measured.memory_limits["worker"]) for each in found[1:]]


def search_of(commit: Commit) -> SizeSearch:
    assert commit.measured.search is not None
    return commit.measured.search


def test_a_search_changes_the_workers_size_and_no_bit_of_the_result(namespace: str) -> None:
    plain = Job.apply(namespace, training({}), "plain").until_succeeded()
    job = Job.apply(namespace, training({"optimize": SEARCH}), "searching")

    seen = job.until_succeeded()

    assert seen["result"]["sha256"] == plain["result"]["sha256"]
    assert step_of(seen) == STEPS
    assert seen["progress"]["retries"] == 0
    memory = seen["progress"]["memory"]
    assert not memory["searching"]
    assert len({each["worker"] for each in memory["trials"]}) == len(memory["trials"]) >= 2
    assert memory["worker"] in {each["worker"] for each in memory["trials"]}
    assert seen["memory"]["worker"] == memory["worker"]

    found = commits(job, STEPS)
    assert all(each.measured.levels[0].calls == WORKERS for each in found[1:])
    served = sizes_of(found)
    assert served[-1] == (search_of(found[-1]).size,)
    slow = slow_steps(found)
    print("\n".join(story(found)))
    changes = [index for index, (old, new) in enumerate(pairwise(served)) if old != new]
    assert len(changes) >= 2
    print(f"{len(changes)} changes of size, {len(slow)} steps in which workers were started: {slow}")
    assert len(slow) <= len(changes), "a change of size slows more than one step"

    # Two sizes serve a step that a change strikes.
    of_one_size = [sizes for sizes in served if len(sizes) == 1]
    resizes = sum(old != new for old, new in pairwise(of_one_size))
    events = [event for event in job.events() if event["reason"] == "MemoryChanged"]
    assert len(events) >= resizes >= 2


def slow_steps(found: list[Commit]) -> list[int]:
    """Steps after the first in which functions had to be started."""
    return [
        new.version for old, new in pairwise(found[1:]) if new.account.cold_starts > old.account.cold_starts
    ]


def story(found: list[Commit]) -> list[str]:
    """One line a run of steps with the same sizes."""
    lines, first = [], 1
    for version in range(1, len(found)):
        limits = found[version].measured.memory_limits["worker"]
        if version + 1 < len(found) and found[version + 1].measured.memory_limits["worker"] == limits:
            continue
        steps = found[first : version + 1]
        seconds = [each.measured.seconds for each in steps]
        sizes = " and ".join(f"{size >> 20} MiB" for size in limits)
        wanted = search_of(found[version]).size
        lines.append(
            f"steps {first}-{version}: {sizes}; median {1000 * statistics.median(seconds):.0f} ms, "
            f"slowest {sorted(round(1000 * each) for each in seconds)[-3:]} ms; wanted in the end {wanted} MiB"
        )
        first = version + 1
    return lines


def test_a_driver_killed_in_the_midst_of_a_search_goes_on_with_it(namespace: str) -> None:
    job = Job.apply(namespace, training({"optimize": SEARCH}))
    job.until(
        lambda seen: len(seen.get("progress", {}).get("memory", {}).get("trials", [])) >= 1, "a first trial"
    )

    job.kill("driver")

    seen = job.until_succeeded()
    assert seen["progress"]["step"] == STEPS
    searches = [search_of(each) for each in commits(job, STEPS)]
    for old, new in pairwise(searches):
        assert new.trials[: len(old.trials)] == old.trials
    sizes = [each.size for each in searches[-1].trials]
    assert len(set(sizes)) == len(sizes) >= 2


def test_a_size_that_a_worker_is_killed_over_is_left_upwards_and_never_tried_again(namespace: str) -> None:
    """The model holds 420 MiB that no estimate sees: the search runs into that."""
    model = {"entrypoint": "hungry:hungry", "args": {"mebibytes": 420}, "image": own_models_image()}
    search = {"goal": "Cost", "everySteps": 3, "maxUpdates": 4, "min": "512Mi", "max": "1280Mi"}
    document = sample(
        "digits",
        model=model,
        workers=1,
        merge__structure=[1, 1],
        algorithm={"steps": HUNGRY_STEPS},
        evaluation=None,
        memory={"worker": "1Gi", "merger": "128Mi", "optimize": search},
    )
    job = Job.apply(namespace, document)

    seen = job.until_succeeded()

    assert step_of(seen) == HUNGRY_STEPS
    killed = seen["memory"]["workerKilled"]
    assert killed.endswith("Mi")
    found = commits(job, HUNGRY_STEPS)
    last = search_of(found[-1])
    assert last.size > int(killed.removesuffix("Mi"))
    assert condition_of(seen, "Succeeded")["reason"] == "Completed"
    grown = [event["message"] for event in job.events() if event["reason"] == "MemoryGrown"]
    assert any(killed in message for message in grown)
    print("\n".join(story(found)))
