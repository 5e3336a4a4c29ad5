"""What a search has used, between its calls and its log."""

from sapflow.tuning.calls import Calls
from sapflow.tuning.search import Search


class SearchAccount:
    """Brings the budget of a search's calls and the log to the same account."""

    def __init__(self, search: Search, calls: Calls) -> None:
        self._search, self._calls = search, calls

    def take_over(self) -> None:
        """Begin where the drivers before have ended. One that died may have used all that was granted to it."""
        state, budget = self._search.state, self._calls.budget
        budget.used, budget.granted = max(state.used, state.granted), state.granted

    async def settle(self) -> None:
        """Note what calls have cost, where more had been granted than they did: nothing is in flight any more. Raises
        StoreError."""
        budget = self._calls.budget
        if common := self._calls.take_common():
            await self._search.spend(common)
        if budget.limit is not None and budget.used < budget.granted:
            await self._search.grant(budget.used)
            budget.granted = budget.used
