"""A list of steps as one value: which of them learn in the coming pass, what they count, and what follows.

    steps ── begin ──► State ── a pass: collect, merge ── next ──► State … ──► State, all fitted ── apply

A State is data (`record`, `of_record`), so it goes from function to function. As few passes are made as the steps
allow: all those learn in one pass whose columns no step before them has yet to change.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

from sapflow.errors import CorruptObject
from sapflow.preparation.batch import Batch
from sapflow.preparation.record import Record, joined, parts
from sapflow.preparation.step import Applied, BadRows, Fit, Fitted, Schema, Step, StepProblem

Classes: TypeAlias = Mapping[str, type[Fit] | type[Fitted]]
"""The classes of fits and fitted steps by their names."""
Collected: TypeAlias = dict[int, Record]
"""What is counted, by the number of the step."""
_STAGES = "stages"


@dataclass(frozen=True, slots=True)
class State:
    """How far each step is: None where it has not begun, because what it will read is not known yet."""

    stages: tuple[Fit | Fitted | None, ...]

    @property
    def fitted(self) -> bool:
        """Whether nothing is left to be learnt."""
        return all(isinstance(each, Fitted) for each in self.stages)

    def record(self) -> Record:
        """The state as data."""
        begun = {str(number): each.record() for number, each in enumerate(self.stages) if each is not None}
        told = [None if each is None else type(each).__name__ for each in self.stages]
        return joined({_STAGES: Record({_STAGES: told}), **begun})

    @classmethod
    def of_record(cls, record: Record, classes: Classes) -> "State":
        """The state of `record`. Raises CorruptObject if it is none, or of another release."""
        try:
            found = parts(record)
            told = found[_STAGES].notes[_STAGES]
            return cls(
                tuple(
                    None if name is None else classes[name].of_record(found[str(number)])
                    for number, name in enumerate(told)
                )
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptObject(f"this is no state of a preparation of this release: {error!r}") from error


@dataclass(frozen=True, slots=True)
class _Walk:
    """What becomes of each step in a pass."""

    applied: frozenset[int]
    learning: frozenset[int]
    stages: tuple[Fit | Fitted | None, ...]
    """With those that can begin now."""


class Pipeline:
    """Steps in their order over the columns of a source."""

    def __init__(self, steps: Sequence[Step], given: Schema, *, deals: bool = False) -> None:
        """`deals`: the first step deals rows to training and validation, so nothing else is learnt before it is
        fitted."""
        self.steps, self.given, self.deals = tuple(steps), given, deals

    def begin(self) -> State:
        """The state before any row was read. Raises StepProblem for a step that fits no such columns; its `field`
        begins with the step's number."""
        return State(self._walk(State((None,) * len(self.steps))).stages)

    def collect(self, state: State, batch: Batch, before: Collected) -> Collected:
        """What is counted of the batches of a partition so far, this one included."""
        walk, found = self._walk(state), dict(before)
        used, needed = self._used(state, walk)
        batch = batch.without(name for name in batch.columns if name not in needed)
        for number, stage in enumerate(state.stages):
            if not len(batch):
                break
            if number in used:
                assert isinstance(stage, Fitted), "only fitted steps are applied"
                batch = _trained(stage.apply(batch).batch)
            elif number in walk.learning:
                assert isinstance(stage, Fit), "only fits learn"
                found[number] = stage.collect(batch, found.get(number))
        return found

    def merge(self, state: State, found: Sequence[Collected]) -> Collected:
        """What is counted of several ranges of partitions, in their order."""
        merged: Collected = {}
        for number, stage in enumerate(state.stages):
            records = [each[number] for each in found if number in each]
            if records and isinstance(stage, Fit):
                merged[number] = stage.merge(records)
        return merged

    def next(self, state: State, total: Collected) -> State:
        """The state after a pass over all partitions. Raises StepProblem."""
        learning = self._walk(state).learning
        stages = list(state.stages)
        for number in sorted(learning):
            stage = stages[number]
            assert isinstance(stage, Fit), "only fits learn"
            with _naming(number):
                stages[number] = stage.next(total.get(number))
        return State(self._walk(State(tuple(stages))).stages)

    def learning(self, state: State) -> list[int]:
        """The numbers of the steps that learn in the coming pass; at least one, unless all are fitted."""
        return sorted(self._walk(state).learning)

    def least_passes(self, state: State) -> int:
        """The passes until all is fitted, if each step learns in one, and none is kept waiting by one that is not known
        yet: those have a pass together."""
        learnt: set[int] = set()
        passes = 0
        while len(learnt) < sum(isinstance(stage, Fit) for stage in state.stages):
            found = self._free(state, learnt)
            if not found:
                break
            learnt |= found
            passes += 1
        return passes + (None in state.stages)

    def _free(self, state: State, learnt: set[int]) -> set[int]:
        """The steps that can learn once those of `learnt` have."""
        pending, found, blocked = set[str](), set[int](), False
        for number, stage in enumerate(state.stages):
            if stage is None or blocked:
                break
            if isinstance(stage, Fit) and number not in learnt:
                if not pending.intersection(stage.reads()):
                    found.add(number)
                pending.update(stage.writes())
                blocked = stage.drops_rows or (self.deals and number == 0)
            elif pending.intersection(stage.reads()):
                pending.update(stage.writes())
                blocked = stage.drops_rows
        return found

    def schema(self, state: State) -> Schema:
        """The columns after the last step, where all are fitted. Raises StepProblem."""
        given = self.given
        for number, stage in enumerate(state.stages):
            assert isinstance(stage, Fitted), "the caller asks when all is fitted"
            with _naming(number):
                given = stage.schema(given)
        return given

    @staticmethod
    def apply(state: State, batch: Batch) -> Applied:
        """The rows after all steps, where all are fitted."""
        bad: list[BadRows] = []
        for stage in state.stages:
            assert isinstance(stage, Fitted), "the caller asks when all is fitted"
            applied = stage.apply(batch)
            batch = applied.batch
            bad += applied.bad
        return Applied(batch, tuple(bad))

    def _used(self, state: State, walk: _Walk) -> tuple[set[int], set[str]]:
        """Of the steps that are applied those whose rows or columns the ones that learn will see, and the columns that
        all these read."""
        used: set[int] = set()
        needed: set[str] = set()
        for number, stage in reversed(list(enumerate(state.stages))):
            if number in walk.learning:
                assert isinstance(stage, Fit), "only fits learn"
                needed.update(stage.reads())
            elif number in walk.applied:
                assert isinstance(stage, Fitted), "only fitted steps are applied"
                deals = self.deals and number == 0
                if deals or stage.drops_rows or needed.intersection(stage.writes()):
                    used.add(number)
                    needed.update(stage.reads())
        return used, needed

    def _walk(self, state: State) -> _Walk:
        """What becomes of each step in the pass after `state`.

        `pending` are the columns that a step writes which is not applied in this pass. Nothing that stands behind it
        may read them, and nothing may be learnt once rows may still be left out, or are not dealt.
        """
        given: Schema | None = self.given
        pending: set[str] = set()
        blocked = False
        applied, learning, stages = set(), set(), list(state.stages)
        for number, (step, stage) in enumerate(zip(self.steps, state.stages, strict=True)):
            if stage is None:
                if given is None:
                    break
                with _naming(number):
                    stage = step.begin(given)
                if not pending.intersection(_touched(stage)):
                    stages[number] = stage
            if isinstance(stage, Fitted):
                if stages[number] is not None and not blocked and not pending.intersection(_touched(stage)):
                    applied.add(number)
                else:
                    pending.update(stage.writes())
                    blocked = blocked or stage.drops_rows
            else:
                if stages[number] is not None and not blocked and not pending.intersection(stage.reads()):
                    learning.add(number)
                pending.update(stage.writes())
                blocked = blocked or stage.drops_rows or (self.deals and number == 0)
            if given is not None:
                with _naming(number):
                    given = stage.schema(given)
        # What begins only now was not there for those who count with `state`: they have it from the next state.
        there = {number for number, stage in enumerate(state.stages) if stage is not None}
        return _Walk(frozenset(applied & there), frozenset(learning & there), tuple(stages))


def _touched(stage: Fit | Fitted) -> set[str]:
    return {*stage.reads(), *stage.writes()} if isinstance(stage, Fitted) else set(stage.reads())


def _trained(batch: Batch) -> Batch:
    """The training rows of a batch, where they are dealt."""
    if batch.held is None or not batch.held.any():
        return batch
    return batch.take(~batch.held)


@contextmanager
def _naming(number: int) -> Iterator[None]:
    """Make the field of every StepProblem within begin with the number of the step."""
    try:
        yield
    except StepProblem as error:
        error.field = f"{number}.{error.field}" if error.field else str(number)
        raise
