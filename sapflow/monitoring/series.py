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


SEARCH = "tuning_job"
"""Label of every series of a search."""

SEARCH_PROGRESS = {
    "best_objective": "Objective of the best trial so far.",
    "trials_limit": "Trials that there may be in all.",
    "calls_in_flight": "Calls of functions under way, those of all trials together.",
    "calls_limit": "The most calls that may be under way at once.",
    "cost_dollars": "Cost of all trials so far, at the template's prices.",
    "reserved_dollars": "Worst price of what is under way, kept free in the budget.",
    "budget_dollars": "Budget of the search.",
}
"""Gauges of a search's progress, and their help texts."""
SEARCH_TRIALS = "trials"
SEARCH_TRIALS_HELP = "Trials by state: running, paused, finished, pruned, failed."


def of_search(name: str) -> str:
    """The full metric name of a gauge of a search."""
    return f"sapflow_search_{name}"


def of_job(name: str) -> str:
    """The full metric name of a gauge."""
    return f"sapflow_job_{name}"
