"""What a step asks of whom: every worker for the gradient of its samples, the root for one update by their mean."""

from sapflow.messages.requests import Update
from sapflow.records.commits import Commit
from sapflow.steps.synchronous import SynchronousDriver


class Driver(SynchronousDriver):
    """The driver's side."""

    def update(self, commit: Commit, start: int, stop: int) -> Update:
        rate = self.context.learning_rate(commit.updates, self.plateau)
        return self.context.update(commit.updates + 1, rate, start, stop)

    def batch(self, samples: int) -> int:
        return samples
