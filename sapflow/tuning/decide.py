"""What a search does next. It follows from the state alone: no clock, no chance, no store."""

from sapflow.tuning.actions import Fork, Stop
from sapflow.tuning.entries import Asked, End, Entry, Known, Train
from sapflow.tuning.pruners.pruner import Move
from sapflow.tuning.state import State


def decide(state: State, free: int, left: float | None = None) -> tuple[Entry, ...]:
    """The next entries for the log, which belong together; none: there is nothing to do until something arrives.

    `free`: how many more trials may be trained at once, beside parallelTrials. `left`: dollars that are neither used
    nor reserved; None where there is no budget. After the entries have been applied, there may be more to decide.
    """
    if state.over is not None:
        return ()
    if state.deleted:
        return (Stop(state.deleted[0], "Deleted"),)
    if state.settings.in_order:
        return _in_order(state, free, left)
    return _next(state, free, left) or _end(state, free, left)


def _in_order(state: State, free: int, left: float | None) -> tuple[Entry, ...]:
    """Decision d is made where exactly so many answers are known that it can be made, at least d + 1 −
    parallelTrials."""
    if state.asked is not None:
        return ()
    least = state.decided + 1 - state.limits.parallel_trials
    if state.known < least:
        return (Known(state.known + 1),) if state.has_arrived(state.known) else ()
    if found := _next(state, free, left):
        return found
    if free > 0 and state.known < state.decided and state.has_arrived(state.known):
        return (Known(state.known + 1),)
    return _end(state, free, left)


def _next(state: State, free: int, left: float | None) -> tuple[Entry, ...]:
    if (end := _verdict(state)) is not None:
        return (end,)
    move = state.pruner.next(len(state.trials), state.sampled < state.limits.max_trials)
    if move and (isinstance(move[0], Stop) and len(move) == 1):
        return move
    if min(free, state.limits.parallel_trials - state.running) <= 0:
        return ()
    if move and _affordable(state, move, left):
        return move
    if state.asked is None and _wants_more(state, left):
        return (Asked(len(state.trials)),)
    if state.unsettled == 0 and state.asked is None:
        rest = state.pruner.leftover()
        if rest and _affordable(state, rest, left):
            return rest
    return ()


def _wants_more(state: State, left: float | None) -> bool:
    """Whether another trial is to begin, and the budget is enough for its first judgement."""
    if state.sampled >= state.limits.max_trials:
        return False
    length = state.settings.length
    return _enough(state, state.pruner.first(len(state.trials), length), left)


def _affordable(state: State, move: Move, left: float | None) -> bool:
    """Whether the budget is enough for what is to be trained. What is left goes to the trials that are furthest, so
    these are asked about first."""
    units = 0
    for entry in move:
        if isinstance(entry, Train) and entry.trial < len(state.trials):
            units += entry.to - state.trials[entry.trial].at
        elif isinstance(entry, Fork):
            units -= entry.at
        elif isinstance(entry, Train):
            units += entry.to
    return _enough(state, units, left)


def _enough(state: State, units: int, left: float | None) -> bool:
    if left is None:
        return True
    return state.units == 0 or units * state.dollars / state.units <= left


def _verdict(state: State) -> End | None:
    if state.reached is not None:
        return End("GoalReached", f"trial {state.reached.number} has {_value(state)}")
    if state.failed > state.limits.max_failed:
        return End(
            "TooManyFailed",
            f"{state.failed} trials have failed, spec.maxFailedTrials is {state.limits.max_failed}",
        )
    return None


def _value(state: State) -> str:
    objective = state.settings.objectives[0]
    assert state.reached is not None
    return f"{objective.metric} {state.reached.best[0]:g}, spec.objective.goal is {objective.goal:g}"


def _end(state: State, free: int, left: float | None) -> tuple[Entry, ...]:
    """The end, if nothing runs, nothing is to come and nothing waits for room."""
    if state.running or state.stopping or state.asked is not None or state.unsettled:
        return ()
    more = state.sampled < state.limits.max_trials
    if not more and not state.pruner.next(len(state.trials), more) and not state.pruner.leftover():
        return (End("Completed", f"{state.sampled} of {state.limits.max_trials} trials"),)
    if free <= 0 or left is None:
        return ()
    return (End("BudgetExceeded", f"the {left:.3g} dollars that are left are not enough for anything more"),)
