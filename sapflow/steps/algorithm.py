"""The driver's side of an algorithm: the interface that makes one commit after the other."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

from sapflow.records.commits import Commit, Plan
from sapflow.records.plateau import PlateauState
from sapflow.steps.carried import Carried
from sapflow.steps.context import Context
from sapflow.steps.leftovers import Leftovers


class AlgorithmDriver(ABC):
    """The algorithm of a job in a driver.

    The driver calls `next_commit` and writes the commit, once `carried` has stored what it names, unless another driver
    was first. Then it calls `settle` with the commit that the store holds. All state of an algorithm can be rebuilt
    from the last commit.
    """

    plateau: PlateauState | None = None
    """Where a schedule by the loss stands, for the learning rate of the next step; set before each `next_commit`."""
    dealt_from: tuple[Commit, Plan] | None = None
    """The commit after which the number of workers changed, and the plan that it names, of the workers before."""
    carried: Carried | None = None
    """Takes a new version from the root's answer to the workers and into the store; None: the root writes it."""
    repeatable = True
    """Whether a step may be repeated if an object was lost."""

    def __init__(
        self,
        context: Context,
        commit: Commit,
        plan: Plan,
        *,
        resumed: bool,
        meanwhile: Callable[[], None],
    ) -> None:
        """Continue from `commit` with `plan`.

        `resumed` says that an earlier driver may have left objects of the current step. `meanwhile` must be called
        when the driver waits and cores are idle.
        """
        self.context, self.commit, self.plan = context, commit, plan
        self.resumed, self.meanwhile = resumed, meanwhile

    @property
    @abstractmethod
    def finished(self) -> bool:
        """Whether the current commit is the last one."""

    @abstractmethod
    async def next_commit(self) -> Commit:
        """Make the following commit; it is not written yet. Raises JobFailed, StoreError, or a group of them."""

    async def again(self, made: Commit, versions: Mapping[int, Commit]) -> Commit:
        """Make the commit again that was `made` of the current one; `versions` are those that its contributions were
        computed on, by number. Raises what `next_commit` raises."""
        return await self.next_commit()

    def begin_next(self, commit: Commit, plan: Plan) -> None:
        """Begin the step after `commit`, which is still being written, as far as only contributions are made."""
        return

    @property
    def has_begun_next(self) -> bool:
        """Whether a step was begun that `next_commit` has not been asked for yet."""
        return False

    async def abandon_next(self) -> Leftovers:
        """Give up what `begin_next` began. Returns what it may have written."""
        return Leftovers()

    def settle(self, commit: Commit, plan: Plan) -> None:
        """Continue from `commit`, which this or another driver made, with `plan`."""
        self.commit, self.plan = commit, plan

    @abstractmethod
    def leftovers(self, commit: Commit) -> Leftovers:
        """The objects that were needed only to make `commit`, which has just been settled."""

    @abstractmethod
    def contributions(self) -> Leftovers:
        """The objects that were written for a failed step; they are removed before it is repeated."""

    @abstractmethod
    def inherited(self, before: Commit, plan: Plan, made: Commit) -> Leftovers:
        """The objects that an earlier driver may have left of the step with `plan` from `before` to `made`."""

    def abandoned(self, commit: Commit, plan: Plan) -> Leftovers:
        """The objects that drivers may have left of the step with `plan` after `commit`, where the version that follows
        was made by other workers."""
        return Leftovers()

    def held_versions(self) -> set[int]:
        """Versions before the last one that functions may still read."""
        return set()

    async def close(self) -> None:
        """Cancel the calls under way."""
        return
