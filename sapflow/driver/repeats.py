"""Repetitions of steps that failed because an object was lost, which is not the job's fault."""

import logging

from sapflow.errors import CellLost, CorruptObject, ObjectMissing, SapflowError

log = logging.getLogger(__name__)

REPETITIONS = {CellLost.reason: 8, ObjectMissing.reason: 2, CorruptObject.reason: 2}
"""How often one step is repeated, by reason: because a cell was lost; because the store lost a contribution (these are
not written durably, and one was seen to disappear when MinIO was killed); because a machine that lost its power left
one torn, under whose key nothing would ever be written again."""


class StepRepeats:
    """Counts the repetitions of the current step by reason; each reason allows a few."""

    def __init__(self) -> None:
        self._version, self._times = -1, dict.fromkeys(REPETITIONS, 0)

    def may_repeat(self, failure: SapflowError, version: int) -> bool:
        """Whether the step after `version`, which has failed, may be repeated."""
        most = REPETITIONS.get(failure.reason)
        if most is None:
            return False
        if version != self._version:
            self._version, self._times = version, dict.fromkeys(REPETITIONS, 0)
        self._times[failure.reason] += 1
        times = self._times[failure.reason]
        log.warning("step %d is made anew (%d of %d): %s", version + 1, times, most, failure)
        return times <= most
