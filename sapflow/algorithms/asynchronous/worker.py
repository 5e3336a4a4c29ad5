"""What a worker computes: the same gradient as in a synchronous step."""

from sapflow.algorithms.gradient.worker import Worker as Worker
