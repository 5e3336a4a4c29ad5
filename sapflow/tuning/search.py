"""A search: its state, its sampler and its log together. Everything that it knows comes from the log.

A runner calls `open` once, then `step` with the events that have happened, again and again as long as it yields
actions. What a step decides is in the log before the step returns, so before anything acts on it."""

import asyncio
import math
from collections.abc import Sequence

from sapflow.objects.stores.protocol import Store
from sapflow.tuning.actions import (
    Action,
    Advance,
    Ask,
    Event,
    Failed,
    Finished,
    Fork,
    Parameters,
    Report,
    Stop,
    Suggested,
)
from sapflow.tuning.decide import decide
from sapflow.tuning.entries import Asked, Begin, Common, End, Entry, Granted, Sized, Train, Warm
from sapflow.tuning.log import Log
from sapflow.tuning.pool_sizes import PoolSizes
from sapflow.tuning.samplers.registry import sampler_sought
from sapflow.tuning.samplers.sampler import Sampler
from sapflow.tuning.settings import Limits, Settings
from sapflow.tuning.state import State
from sapflow.tuning.trial import Trial
from sapflow.tuning.usage import UsageMeter

METRIC_MISSING = "MetricMissing"
"""The reason of a trial whose evaluations lack an objective."""

Results = Sequence[tuple[Parameters, Sequence[float]]]


class Search:
    """The search whose keys begin with `prefix`. One step runs at a time."""

    def __init__(
        self,
        store: Store,
        prefix: str,
        settings: Settings,
        limits: Limits,
        meter: UsageMeter | None = None,
    ) -> None:
        """`meter`: what it has measured of calls is written beside what is decided."""
        self._store, self._prefix, self._meter = store, prefix, meter
        self._settings, self._limits = settings, limits
        self._lock = asyncio.Lock()
        self._begin()

    def _begin(self) -> None:
        self.state = State(self._settings)
        self._sampler: Sampler = sampler_sought(self._settings)
        self._log = Log(self._store, self._prefix)

    @property
    def over(self) -> End | None:
        """Why the search has ended; None as long as it goes on. Then what runs is to be interrupted, and nothing else
        is asked for until a limit is raised."""
        return self.state.over

    @property
    def trials(self) -> Sequence[Trial]:
        return self.state.trials

    def standing(self, trial: int) -> tuple[float, ...]:
        """How much a trial promises: how far it is, and how good it was there."""
        if trial >= len(self.trials):
            return (0.0, -math.inf)
        known = self.trials[trial]
        first = self._settings.objectives[0]
        return (float(known.at), first.score(known.values[0]) if known.values else -math.inf)

    def kept(self, trial: int) -> set[int]:
        """The versions of a trial that must not be removed."""
        return self.state.kept(trial)

    async def open(self, warm: Results = ()) -> list[Action]:
        """Read what is new in the log, note the limits of now, and yield the actions that have no answer yet.

        `warm`: the results of an earlier search; those of the first call that has any are taken for good. Raises
        CorruptObject, StoreError; then the search must be made anew.
        """
        async with self._lock:
            while True:
                await self._catch_up()
                entries: list[Entry] = []
                if self._log.count == 0 and warm:
                    entries.append(Warm(tuple((values, tuple(found)) for values, found in warm)))
                if self._limits != self.state.limits:
                    entries.append(self._limits)
                if not entries or await self._append(entries):
                    break
            for entry in entries:
                self._apply(entry)
            return self._outstanding()

    async def raise_limits(self, limits: Limits) -> list[Action]:
        """Go on with other limits, and yield the actions that have no answer yet. A search that has ended goes on, too,
        if it ended by one of them."""
        async with self._lock:
            self._limits = limits
            while self.state.limits != limits and not await self._write([limits]):
                await self._start_again()
            return self._outstanding()

    async def step(
        self, events: Sequence[Event] = (), *, free: int, left: float | None = None
    ) -> list[Action]:
        """Take in what has happened and decide what is next; at most one new trial is suggested in a step.

        `free`: how many more trials may be trained at once, beside parallelTrials. `left`: dollars that are neither
        used nor reserved, None without a budget. Yields actions in the order in which they are to be carried out; none:
        nothing can be decided before the next event. Raises CorruptObject, StoreError.
        """
        async with self._lock:
            entries: list[Entry] = []
            actions: list[Action] = []
            for event in events:
                for entry in self._entries_of(event):
                    self._apply(entry)
                    entries.append(entry)
                    actions += self._action(entry)
                    free -= isinstance(entry, Train)
            while found := decide(self.state, free, left):
                suggested = isinstance(found[0], Asked)
                decided = await self._suggested(found)
                for entry in decided:
                    self._apply(entry)
                    entries.append(entry)
                    actions += self._action(entry)
                free -= sum(isinstance(entry, Train) for entry in decided)
                if suggested:
                    break
            if entries and not await self._append(entries):
                return await self._start_again()
            return actions

    async def end(self, reason: str, message: str) -> None:
        """Note that the search ends by its budget or its deadline."""
        async with self._lock:
            if self.state.over is None and not await self._write([End(reason, message)]):
                await self._start_again()

    async def grant(self, dollars: float) -> None:
        """Note that calls may cost so many dollars in all, before they do."""
        async with self._lock:
            while not await self._write([Granted(dollars)]):
                await self._start_again()

    async def note_usage(self) -> None:
        """Write what was measured since the last record, where calls were in flight. Where another driver has written
        the next record it is lost."""
        async with self._lock:
            if self._meter is not None and self._meter.busy:
                usage = self._meter.take(always=True)
                await self._log.append([] if usage is None else [usage])

    async def _append(self, entries: Sequence[Entry]) -> bool:
        """Write the next record, before it what was measured meanwhile; False if another driver has written one."""
        ends = any(isinstance(entry, End) for entry in entries)
        usage = None if self._meter is None else self._meter.take(always=ends)
        return await self._log.append(entries if usage is None else [usage, *entries])

    async def spend(self, dollars: float) -> None:
        """Note that calls which are no trial's have cost so many dollars."""
        async with self._lock:
            while not await self._write([Common(dollars)]):
                await self._start_again()

    async def resize(self, sizes: PoolSizes) -> None:
        """Note how far the search for the workers' memory size is, before they are given another."""
        async with self._lock:
            while not await self._write([Sized(sizes)]):
                await self._start_again()

    async def _write(self, entries: Sequence[Entry]) -> bool:
        if not await self._append(entries):
            return False
        for entry in entries:
            self._apply(entry)
        return True

    async def _start_again(self) -> list[Action]:
        """Another driver has written the next record: read everything anew, and go on from there. The events of this
        step are told again by whoever trains, because the actions are yielded again."""
        self._begin()
        await self._catch_up()
        return self._outstanding()

    async def _catch_up(self) -> None:
        for entry in await self._log.read():
            self._apply(entry)

    def _apply(self, entry: Entry) -> None:
        match entry:
            case Warm(results):
                self._sampler.warm(results)
                return
            case Asked():
                self._sampler.tell(self.state.take_news())
            case Begin(number, _, notes):
                self._sampler.tell(self.state.take_news())
                self.state.apply(entry)
                self._sampler.begin(self.state.trials[number], notes)
                return
        self.state.apply(entry)
        if isinstance(entry, Fork):
            self._sampler.begin(self.state.trials[entry.trial], {})

    def _entries_of(self, event: Event) -> list[Entry]:
        """What an event adds to the log; nothing if it has been told before."""
        if isinstance(event, Suggested):
            return self._begun(event) if event.trial == self.state.asked else []
        if not self.state.expects(event):
            return []
        if isinstance(event, Report | Finished) and (missing := self._settings.missing(event)):
            names = ", ".join(sorted(event.values)) or "none"
            message = f"the trial's evaluation has no {missing}, which spec.objective names; it has {names}"
            return [Failed(event.trial, METRIC_MISSING, message, event.seconds, event.dollars)]
        return [event]

    def _begun(self, suggested: Suggested) -> list[Entry]:
        number, values = suggested.trial, suggested.parameters
        to = self.state.pruner.first(number, self._settings.length_of(values))
        return [Begin(number, values, suggested.notes), Train(number, to)]

    async def _suggested(self, found: tuple[Entry, ...]) -> Sequence[Entry]:
        """The entries, with the suggestion itself in place of its request, where it is computed here."""
        first = found[0]
        if not isinstance(first, Asked) or self._sampler.remote:
            return found
        self._sampler.tell(self.state.take_news())
        suggestion = await asyncio.to_thread(self._sampler.ask, first.trial)
        return self._begun(Suggested(first.trial, suggestion.parameters, suggestion.notes))

    def _action(self, entry: Entry) -> list[Action]:
        match entry:
            case Train(number, to):
                return [Advance(number, to, self.state.trials[number].parameters)]
            case Asked(number):
                return [Ask(number, self._sampler.question(number))]
            case Fork() | Stop():
                return [entry]
            case _:
                return []

    def _outstanding(self) -> list[Action]:
        """The actions without an answer, as they were yielded first."""
        if self.state.over is not None:
            return []
        actions: list[Action] = []
        for trial in self.state.trials:
            if trial.phase == "Stopping":
                actions.append(Stop(trial.number, trial.reason))
            elif trial.phase == "Running":
                origin = trial.origin
                if origin is not None and trial.at == origin.at:
                    actions.append(
                        Fork(trial.number, origin.trial, origin.version, origin.at, trial.parameters)
                    )
                actions.append(Advance(trial.number, trial.to, trial.parameters))
        if self.state.asked is not None:
            actions.append(Ask(self.state.asked, self._sampler.question(self.state.asked)))
        return actions
