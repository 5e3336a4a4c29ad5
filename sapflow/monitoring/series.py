"""What driver and operator both export of a job, under one name: Prometheus shows it once, with `max by`."""

JOB = "training_job"
"""Label of every series of a job. Not `job`: that is Prometheus's own."""

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
"""Gauges of where a job stands, and their help."""


def of_job(name: str) -> str:
    """The series of a gauge."""
    return f"sapflow_job_{name}"
