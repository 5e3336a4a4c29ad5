"""TuningJobs in a real cluster, and the objects of their trials."""

from typing import Any, ClassVar

from helpers.kube import ONE_CPU, Job, read, run_kubectl, sample

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
