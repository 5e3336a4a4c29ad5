"""Where a job stands that was asked to stop at a version, and may go on from there at any time.

A pause leaves the job as a driver does that was killed between two steps: all of it is in the store. So it costs
nothing, and the versions that follow have the bits of a job that never paused.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sapflow.records.commits import Account

PAUSED = "Paused"
"""Why the driver before has stopped, as the next one's first commit tells it."""


@dataclass(frozen=True, slots=True)
class Pause:
    """The version that a job has paused at."""

    version: int
    metrics: Mapping[str, float]
    """On the held-out samples, by name; none where there are no such samples."""
    account: Account
    """What the job has consumed so far, the pauses left out."""
