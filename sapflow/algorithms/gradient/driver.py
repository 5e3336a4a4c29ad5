"""What a step asks of whom: every worker for the gradient of its samples, the root for one update by their mean."""

from dataclasses import asdict

from sapflow.messages.requests import Update
from sapflow.records.commits import Commit
from sapflow.steps.synchronous import SynchronousDriver


class Driver(SynchronousDriver):
    """The driver's side."""

    def update(self, commit: Commit) -> Update:
        job = self.context.job
        return Update(
            kind="optimizer",
            settings=asdict(job.optimizer_settings),
            learning_rate=self.context.learning_rate(commit.updates),
            step=commit.updates + 1,
            clip_norm=job.spec.optimizer.clip_norm,
        )

    def batch(self, begin: int, end: int) -> int:
        return end - begin
