"""The loop of a search: decide, write the decision, act, and tell what came of it.

Whatever is decided is in the search's log before it is carried out, and each answer is there before anything follows
from it. So the runner may end at any instruction: the next one is given the actions again that have no answer yet.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from sapflow.driver.deadline import Deadline
from sapflow.records.commits import Account
from sapflow.steps.observer import PreparedSoFar
from sapflow.tuning.account import SearchAccount
from sapflow.tuning.actions import Action, Advance, Ask, Deleted, Event, Fork, Stop
from sapflow.tuning.calls import Calls, SearchBudgetSpent
from sapflow.tuning.entries import End
from sapflow.tuning.forecast.record import SearchForecast
from sapflow.tuning.search import Results, Search
from sapflow.tuning.trial import Trial
from sapflow.tuning.trials import Trials

_ANY_NUMBER = 1 << 30
"""Of trials that the functions are enough for: their calls wait for each other where they are not."""


class TuningObserver:
    """Is told what a search does. The base class ignores it."""

    def opened(self, trials: Sequence[Trial]) -> None:
        """The search goes on with these trials, of earlier runners."""

    def began(self, action: Action) -> None:
        """An action is carried out from now on."""

    def told(self, event: Event) -> None:
        """An answer is in the log."""

    def stage(self, text: str) -> None:
        """What is done before the first trial."""

    def prepared(self, position: PreparedSoFar) -> None:
        """Raw data is prepared, and so far it has come."""

    def preparation_forecast(self, said: Mapping[str, Any]) -> None:
        """What the preparation is forecast to take, and at its end how far off that was."""

    def forecast(self, said: SearchForecast) -> None:
        """What the search was forecast to take, before its first trial or in an earlier run."""

    def not_forecast(self, why: str) -> None:
        """There is no forecast."""

    def finished(self, outcome: dict[str, Any]) -> None:
        """The search has a result; `outcome` is its record."""


class Runner:
    """Carries out a search's actions until it is over."""

    def __init__(
        self,
        search: Search,
        trials: Trials,
        calls: Calls,
        deadline: Deadline,
        observer: TuningObserver | None = None,
        before: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`calls` keeps the trials' calls within the search's limits, `deadline` its time. `before` is waited for where
        a run begins, once the log is read."""
        self._search, self._trials, self._calls, self._deadline = search, trials, calls, deadline
        self._observer, self._account = observer or TuningObserver(), SearchAccount(search, calls)
        self._before = before
        self._spent: Callable[[], float] = lambda: 0.0
        self._running: dict[asyncio.Task[Event], int] = {}
        self._told: list[Event] = []
        """Answers that are not in the log yet."""
        self._news = asyncio.Event()

    @property
    def seconds(self) -> float:
        """How long the search has run, by this run and earlier ones; 0 before `run` has read the record of those."""
        return self._spent()

    def delete(self, trial: int) -> None:
        """Tell the search that a user has deleted a trial: it is stopped."""
        self._told.append(Deleted(trial))
        self._news.set()

    async def run(self, warm: Results = ()) -> End:
        """Run the search to its end, and say why that is. `warm` are the results of an earlier search.

        Raises StoreError, and JobFailed for what is no fault of a trial: the next run goes on from here.
        """
        clock = asyncio.get_running_loop().time
        known, started = await self._deadline.account(Account()), clock()
        self._spent = lambda: known.seconds + clock() - started
        self._deadline.start(self._spent)
        try:
            actions: Sequence[Action] = await self._search.open(warm)
            self._account.take_over()
            self._observer.opened(self._search.trials)
            if self._before is not None:
                await self._before()
            while True:
                for action in actions:
                    await self._carry_out(action)
                if self._search.over is not None:
                    return self._search.over
                actions = await self._step()
                if not actions and not self._told and self._search.over is None:
                    await self._wait()
        finally:
            total = self.seconds
            self._spent = lambda: total
            await self._give_up(list(self._running))
            await self._deadline.stop()
            await self._account.settle()
            await self._search.note_usage()

    async def _step(self) -> list[Action]:
        """Tell the search what has been answered, and have it decide."""
        told, self._told = self._told, []
        actions = await self._search.step(told, free=_ANY_NUMBER, left=self._calls.budget.left)
        for event in told:
            self._observer.told(event)
        return actions

    async def _carry_out(self, action: Action) -> None:
        if not isinstance(action, Stop) and action.trial in self._running.values():
            # Another driver of this search has decided meanwhile, and all actions without an answer came again.
            return
        self._observer.began(action)
        match action:
            case Advance():
                self._running[asyncio.create_task(self._trials.advance(action))] = action.trial
            case Ask():
                self._running[asyncio.create_task(self._trials.ask(action))] = action.trial
            case Fork():
                await self._trials.fork(action)
            case Stop(trial):
                await self._give_up([task for task, of in self._running.items() if of == trial])
                self._told.append(await self._trials.stopped(trial))

    async def _wait(self) -> None:
        """Wait for answers, or for the deadline, and take them in the order of their trials.

        Raises what a trial's work has failed with.
        """
        if not self._running:
            raise RuntimeError("the search waits, and nothing is under way that it could wait for")
        left = self._deadline.left
        noticed = asyncio.create_task(self._news.wait())
        waiting: set[asyncio.Task[Any]] = {*self._running, noticed}
        timeout = None if left is None else max(0.0, left)
        try:
            done, _ = await asyncio.wait(waiting, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            noticed.cancel()
        self._news.clear()
        if left is not None and not done:
            await self._search.end("DeadlineExceeded", "spec.deadlineSeconds are over")
        answered = [task for task in self._running if task in done]
        for task in sorted(answered, key=self._running.__getitem__):
            del self._running[task]
            try:
                self._told.append(task.result())
            except SearchBudgetSpent as error:
                await self._search.end(SearchBudgetSpent.reason, str(error))

    async def _give_up(self, tasks: Sequence[asyncio.Task[Event]]) -> None:
        """Cancel the work of trials; what they would have answered counts no more."""
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for task in tasks:
            self._running.pop(task, None)
