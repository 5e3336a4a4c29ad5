"""A search for a learning rate whose trials do as good as nothing: one worker, one sample, a step or a few."""

from sapflow.spec import tuning_document
from sapflow.spec.training_job import API_VERSION
from sapflow.spec.tuning_job import TUNING_KIND, TuningJob


def rate_search(
    name: str, *, trials: int, at_once: int, most: int, steps: int = 1, sampler: str = "Random"
) -> TuningJob:
    """A search with so many trials, `at_once` of them at the same time, by at most `most` calls; each trial has `steps`
    steps, and is evaluated after the last."""
    template = {
        "model": {"name": "mlp"},
        "data": {
            "source": "synthetic:binary",
            "options": {"samples": 2},
            "batchSize": 1,
            "validationFraction": 0.5,
        },
        "workers": 1,
        "algorithm": {"steps": steps},
        "evaluation": {"everySteps": steps, "metrics": ["accuracy"]},
        "optimizer": {"name": "Momentum"},
        "merge": {"structure": [1, 1], "channel": "Store"},
    }
    rate = {"min": 0.001, "max": 1, "log": True}
    spec = {
        "template": {"spec": template},
        "parameters": [{"path": "spec.optimizer.learningRate", "float": rate}],
        "objective": {"metric": "loss", "direction": "Minimize"},
        "search": {"name": sampler},
        "maxTrials": trials,
        "parallelTrials": at_once,
        "maxWorkers": most,
    }
    head = {"apiVersion": API_VERSION, "kind": TUNING_KIND, "metadata": {"name": name}}
    return tuning_document.parse({**head, "spec": spec})
