"""Sampling: which parameters the next trial has. By Optuna, which runs in the search's process or in a worker."""
