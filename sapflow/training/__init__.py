"""The training loop of workers. Besides sapflow.models this is the only place that imports torch."""
