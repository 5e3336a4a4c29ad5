"""How long a job waits for a store that does not give what its next commit needs."""

import time
from collections.abc import Callable, Mapping

from sapflow.errors import CorruptObject, ObjectMissing, SapflowError
from sapflow.steps.observer import Observer

LOST_OBJECTS = {ObjectMissing.reason: 30.0, CorruptObject.reason: 30.0}
"""Patience with a store that seems to have lost objects, as may happen while it starts."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 5.0


class Outage(Observer):
    """Measures how long the store has prevented the next commit."""

    def __init__(self, patience: Mapping[str, float], clock: Callable[[], float] = time.monotonic) -> None:
        """`patience` has seconds without a commit, by the reasons that are worth waiting."""
        self._patience, self._clock = patience, clock
        self._since: float | None = None
        self._pause = FIRST_PAUSE

    def committed(self, commit: object) -> None:
        self._since, self._pause = None, FIRST_PAUSE

    def pause_after(self, error: SapflowError) -> float | None:
        """Seconds to wait before the next try, or None if waiting is useless or has been long enough."""
        now = self._clock()
        if self._since is None:
            self._since = now
        if now - self._since >= self._patience.get(error.reason, 0.0):
            return None
        pause, self._pause = self._pause, min(LONGEST_PAUSE, 2 * self._pause)
        return pause
