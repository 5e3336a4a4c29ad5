"""Steps that are made anew because something they stood on was lost, and not by the job's own fault."""

import logging

from sapflow.errors import CellLost, ObjectMissing, SapflowError

log = logging.getLogger(__name__)

REPETITIONS = {CellLost.reason: 8, ObjectMissing.reason: 2}
"""Times that one step is made anew because a cell was lost under it; or because the store has lost a contribution that
it had taken: nothing makes those durable, and one was seen to go with a MinIO that was killed."""


class StepRepeats:
    """Counts how often the step at hand was made anew, by the reason: each may be so a few times."""

    def __init__(self) -> None:
        self._version, self._times = -1, dict.fromkeys(REPETITIONS, 0)

    def may_repeat(self, failure: SapflowError, version: int) -> bool:
        """Whether the step after `version`, which has failed, is to be made anew."""
        most = REPETITIONS.get(failure.reason)
        if most is None:
            return False
        if version != self._version:
            self._version, self._times = version, dict.fromkeys(REPETITIONS, 0)
        self._times[failure.reason] += 1
        times = self._times[failure.reason]
        log.warning("step %d is made anew (%d of %d): %s", version + 1, times, most, failure)
        return times <= most
