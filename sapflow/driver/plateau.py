"""The schedule Plateau beside a job's steps: which state each step goes by, and which its commit carries."""

from sapflow.algorithms.plateau import after_loss, after_step
from sapflow.driver.evaluations import Evaluations
from sapflow.records.commits import Commit
from sapflow.records.plateau import PlateauState
from sapflow.steps.context import Context


class Plateau:
    """Computes the schedule's state from committed values only: commits, and evaluations that are recorded."""

    def __init__(self, context: Context, evaluations: Evaluations) -> None:
        self._context, self._evaluations = context, evaluations

    @property
    def _validates(self) -> bool:
        return self._context.schedule.metric == "ValidationLoss"

    async def before_step_after(self, commit: Commit) -> PlateauState | None:
        """What the learning rate of the step after `commit` goes by; None where the job has another schedule.

        With ValidationLoss an evaluated version's loss counts from the very next step on, which waits for it.
        """
        state = commit.plateau
        if state is None or not self._validates or not self._evaluations.due(commit.version):
            return state
        loss = await self._evaluations.loss_of(commit.version)
        return state if loss is None else after_loss(self._context.schedule, state, loss)

    def after(self, state: PlateauState, old: Commit, new: Commit) -> PlateauState:
        """What the commit of the step that went by `state` carries; a skipped step has no loss and changes nothing."""
        measured = new.measured
        if self._validates or measured.loss is None:
            return state
        return after_step(
            self._context.schedule,
            state,
            mean=measured.loss,
            samples=measured.samples,
            updates=new.updates - old.updates,
        )
