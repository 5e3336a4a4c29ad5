"""A worker over its memory limit: named, and with growOnOOM given more."""

from typing import Any

from helpers.kube import ONE_CPU, Job, condition_of, own_models_image, sample, step_of

LIMIT = "512Mi"
BALLAST = 420
"""MiB: with Python and torch more than LIMIT, and less than the size after that."""


def hungry(**changes: Any) -> dict[str, Any]:
    model = {"entrypoint": "hungry:hungry", "args": {"mebibytes": BALLAST}, "image": own_models_image()}
    return sample(
        "digits",
        model=model,
        workers=1,
        merge__structure=[1, 1],
        algorithm={"steps": 5},
        evaluation=None,
        cpu=ONE_CPU,
        **changes,
    )


def test_a_worker_killed_for_memory_is_named_in_the_condition(namespace: str) -> None:
    job = Job.apply(namespace, hungry(memory={"worker": LIMIT, "merger": "128Mi"}))

    seen = job.until_finished()

    succeeded = condition_of(seen, "Succeeded")
    assert (succeeded["status"], succeeded["reason"]) == ("False", "OutOfMemory"), seen
    assert LIMIT in succeeded["message"]
    assert "spec.memory.growOnOOM" in succeeded["message"]


def test_with_grow_on_oom_it_is_given_more_and_the_job_ends_well(namespace: str) -> None:
    job = Job.apply(namespace, hungry(memory={"worker": LIMIT, "merger": "128Mi", "growOnOOM": True}))

    seen = job.until_succeeded()

    assert step_of(seen) == 5
    assert seen["memory"] == {"worker": "768Mi", "merger": "128Mi"}
    grown = [event for event in job.events() if event["reason"] == "MemoryGrown"]
    assert [event["type"] for event in grown] == ["Warning"]
    assert "768Mi" in grown[0]["message"]
