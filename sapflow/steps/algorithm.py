"""The driver's side of an algorithm: how it gets from one commit to the next."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from sapflow.records.commits import Commit, Plan
from sapflow.records.plateau import PlateauState
from sapflow.steps.context import Context
from sapflow.steps.leftovers import Leftovers


class AlgorithmDriver(ABC):
    """One job's algorithm at work in one driver.

    The driver asks for the `next_commit`, writes it or finds that another driver was first, and tells which commit
    stands by `settle`. An algorithm keeps nothing that could not be made again from the last commit.
    """

    plateau: PlateauState | None = None
    """Where a schedule by the loss stands, for the learning rate of the next step; set before each `next_commit`."""
    repeatable = True
    """Whether a step for which something was lost may be asked for again."""

    def __init__(
        self,
        context: Context,
        commit: Commit,
        plan: Plan,
        *,
        resumed: bool,
        meanwhile: Callable[[], None],
    ) -> None:
        """Go on from `commit` by `plan`.

        `resumed`: an earlier driver may have left something of its try at the step at hand. `meanwhile` is to be
        called where the driver waits and cores are idle.
        """
        self.context, self.commit, self.plan = context, commit, plan
        self.resumed, self.meanwhile = resumed, meanwhile

    @property
    @abstractmethod
    def finished(self) -> bool:
        """Whether `commit` is the last one."""

    @abstractmethod
    async def next_commit(self) -> Commit:
        """Compute the commit that follows; it is not written yet. Raises JobFailed, StoreError, or a group of them."""

    def settle(self, commit: Commit, plan: Plan) -> None:
        """`commit` stands, ours or another driver's; the next step goes by `plan`."""
        self.commit, self.plan = commit, plan

    @abstractmethod
    def leftovers(self, commit: Commit) -> Leftovers:
        """What only the making of `commit`, which has just been settled, needed."""

    @abstractmethod
    def contributions(self) -> Leftovers:
        """What was written for the step that failed: it goes before the step is made anew."""

    @abstractmethod
    def inherited(self, before: Commit, plan: Plan, made: Commit) -> Leftovers:
        """What an earlier driver may have left of the step by `plan` from `before` to `made`."""

    def held_versions(self) -> set[int]:
        """Versions before the last that functions may still read."""
        return set()

    async def close(self) -> None:
        """Give up what is under way."""
        return
