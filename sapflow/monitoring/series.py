"""Metrics of a job that both driver and operator export under the same names; `max by` shows them once."""

JOB = "training_job"
"""Label of every series of a job. It is not called `job`, because that label is Prometheus's own."""

PROGRESS = {
    "step": "Steps done (asynchronous: contributions).",
    "steps": "Steps of the whole job (asynchronous: contributions).",
    "epoch": "Epoch of the data.",
    "loss": "Training loss of the last step.",
    "accuracy": "Training accuracy of the last step.",
    "validation_loss": "Loss on the held-out samples.",
    "validation_accuracy": "Accuracy on the held-out samples.",
    "seconds_per_step": "Recent median of seconds a step.",
    "cost_dollars": "Cost so far, at spec.prices.",
}
"""Gauges of a job's progress, and their help texts."""

VALIDATION_METRIC = "validation_metric"
VALIDATION_METRIC_HELP = "Other metrics on the held-out samples, by name: macroF1, auc, r2 …"
METRIC = "metric"
"""Label of the metric's name."""


def of_job(name: str) -> str:
    """The full metric name of a gauge."""
    return f"sapflow_job_{name}"
