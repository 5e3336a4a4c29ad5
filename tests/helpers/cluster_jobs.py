"""Jobs that several tests of a cluster run."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from helpers.kube import ONE_CPU, Job, namespace_of_its_own, sample

OPERATOR = "deploy/sapflow-operator"
_TWO_WORKERS: dict[str, Any] = {
    "workers": 2,
    "merge__structure": [1, 2],
    "memory": {"worker": "512Mi", "merger": "128Mi"},
}


def small(**changes: Any) -> dict[str, Any]:
    """Digits with two workers, for half a minute."""
    brief = {"algorithm": {"steps": 800}, "evaluation": None, "cpu": ONE_CPU}
    return sample("digits", **{**_TWO_WORKERS, **brief, **changes})


@contextmanager
def job_at_work(*, steps: int, **changes: Any) -> Iterator[Job]:
    """A job of digits at work, in a namespace of its own, which enforces the restricted standard."""
    with namespace_of_its_own() as namespace:
        document = sample("digits", **{**_TWO_WORKERS, "algorithm": {"steps": steps}, **changes})
        job = Job.apply(namespace, document)
        job.until_step(3)
        yield job
        job.delete()
