"""TuningJobs in a real cluster, and the objects of their trials."""

import random
from typing import Any, ClassVar

from helpers.kube import ONE_CPU, SYSTEM, Job, kill_pods, kubectl, read, run_kubectl, sample, wait_until
from sapflow.driver.data_cut import LEAST_SECONDS
from sapflow.quantities.prices import cost
from sapflow.quantities.roles import Role
from sapflow.spec import tuning_document
from sapflow.tuning.calls import GRACE
from sapflow.tuning.run import EXPORTS

RATE = {"path": "spec.optimizer.learningRate", "float": {"min": 0.01, "max": 0.3, "log": True}}


class Search(Job):
    """A TuningJob in a cluster."""

    kind: ClassVar[str] = "TuningJob"
    short: ClassVar[str] = "tune"

    def trials(self) -> list[dict[str, Any]]:
        """The objects of its trials."""
        label = f"sapflow.dev/tuning={self.name}"
        return list(read("trials", "-n", self.namespace, "-l", label)["items"])

    def trial(self, number: int) -> dict[str, Any]:
        """The object of a trial; empty if there is none."""
        found = [each for each in self.trials() if each["spec"]["number"] == number]
        return found[0] if found else {}

    @property
    def progress(self) -> dict[str, Any]:
        return dict(self.status.get("progress", {}))

    @property
    def gone(self) -> bool:
        return run_kubectl("get", self.short, "-n", self.namespace, self.name).returncode != 0


def brief(**changes: Any) -> dict[str, Any]:
    """A search over the learning rate of digits with one worker a trial, for about a minute on two cores."""
    small: dict[str, Any] = {
        "template__spec__workers": 1,
        "template__spec__algorithm": {"epochs": 2, "seed": 0},
        "template__spec__memory": {"worker": "512Mi", "merger": "128Mi"},
        "template__spec__cpu": ONE_CPU,
        "parameters": [RATE],
        "initial": None,
        "prune": None,
        "search": {"name": "Random", "seed": 0},
        "maxTrials": 4,
        "parallelTrials": 2,
        "maxWorkers": 4,
    }
    return sample("tune", **{**small, **changes})


def least_budget(document: dict[str, Any]) -> float:
    """Dollars that are enough for one call at a time and for the model's export, each at its worst price. The call that
    cuts the data is the dearest: it may take `LEAST_SECONDS` whatever `invocationSeconds` are."""
    template = tuning_document.parse(document, "kubernetes").template
    seconds = template.spec.limits.invocation_seconds

    def worst(role: Role, seconds: float) -> float:
        memory, cpus = template.memory_bytes[role], template.cpus[role]
        return cost(template.price, memory, seconds + GRACE, cpus)

    return EXPORTS * worst("merger", seconds) + worst("worker", max(LEAST_SECONDS, seconds))


def strike(job: Job, part: str, chance: random.Random) -> None:
    """Kill some of a part's pods without grace; waits until it has one, or the job or search is over."""
    if part in ("operator", "minio"):
        kill_pods(SYSTEM, f"app.kubernetes.io/component={part}")
        return

    def killed() -> bool:
        names = [each["metadata"]["name"] for each in job.pods(part) if _lives(each)]
        if not names:
            return False
        chosen = chance.sample(sorted(names), chance.randint(1, len(names)))
        words = ("--grace-period=0", "--force", "--wait=false", "--ignore-not-found", "-o", "name")
        return bool(kubectl("delete", "pod", "-n", job.namespace, *chosen, *words).strip())

    wait_until(lambda: killed() or job.state[0] != "Unknown", f"a {part} to kill", 120)


def _lives(pod: dict[str, Any]) -> bool:
    return "deletionTimestamp" not in pod["metadata"] and pod["status"].get("phase") == "Running"


def values_of(search: Search) -> dict[int, tuple[float, float]]:
    """Learning rate and objective of each trial that has finished and is shown, by number."""
    return {
        each["spec"]["number"]: (
            float(each["spec"]["parameters"][RATE["path"]]),
            each["status"]["objective"],
        )
        for each in search.trials()
        if each["status"]["state"] == "Finished"
    }
