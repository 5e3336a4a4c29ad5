"""What a step asks of whom: every worker for what its local steps changed, the root for the mean of it."""

from sapflow.messages.requests import Update
from sapflow.records.commits import Commit
from sapflow.steps.synchronous import SynchronousDriver


class Driver(SynchronousDriver):
    """The driver's side."""

    def update(self, commit: Commit, start: int, stop: int) -> Update:
        return Update(kind="average")

    def batch(self, samples: int) -> int:
        return self.context.job.spec.data.batch_size
