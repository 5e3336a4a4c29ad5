"""The schedule Plateau in a job: the state that each step uses, and the state in its commit."""

from sapflow.algorithms.plateau import after_loss, after_step
from sapflow.driver.evaluations import Evaluations
from sapflow.records.commits import Commit
from sapflow.records.plateau import PlateauState
from sapflow.steps.context import Context


class Plateau:
    """Computes the schedule's state from recorded values only: commits and evaluations."""

    def __init__(self, context: Context, evaluations: Evaluations) -> None:
        self._context, self._evaluations = context, evaluations

    @property
    def _validates(self) -> bool:
        return self._context.schedule.metric == "ValidationLoss"

    async def before_step_after(self, commit: Commit) -> PlateauState | None:
        """The state for the learning rate of the step after `commit`; None if the job has another schedule.

        With ValidationLoss the loss of an evaluated version counts from the next step on, which waits for it.
        """
        state = commit.plateau
        if state is None or not self._validates or not self._evaluations.due(commit.version):
            return state
        loss = await self._evaluations.loss_of(commit.version)
        return state if loss is None else after_loss(self._context.schedule, state, loss)

    def after(self, state: PlateauState, old: Commit, new: Commit) -> PlateauState:
        """The state in the commit of a step that used `state`. A skipped step has no loss and does not change it."""
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
