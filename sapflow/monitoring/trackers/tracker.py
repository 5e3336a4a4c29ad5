"""What writes jobs and searches into the format of one experiment tracker."""

import importlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from types import ModuleType
from typing import ClassVar

from sapflow.errors import SapflowError
from sapflow.monitoring.trackers.tracked_job import TrackedJob
from sapflow.monitoring.trackers.tracked_search import TrackedSearch


class TrackerMissing(SapflowError):
    """The library of a tracker is not installed."""

    reason = "TrackerMissing"


class TrackerFailed(SapflowError):
    """A tracker's place cannot be written, or its server has refused."""

    reason = "TrackerFailed"


@dataclass(frozen=True, slots=True)
class Written:
    """What an export has written."""

    versions: int
    """Versions that were not there before, those of trials among them."""
    trials: int | None
    """Trials of a search that are there now; None of a job."""


class Tracker(ABC):
    """One place in the format of one tracker.

    A job or a search may be written any number of times, also while it is at work: what is there is not written again,
    and what is new is added. One that was begun again in the store takes the place of what was written of it. Memory
    does not grow with the number of versions, apart from what the format needs.
    """

    extra: ClassVar[str]
    """The extra of Sapflow's package that brings the tracker's library."""

    def __init__(self, place: str) -> None:
        """`place`: a folder; for some trackers also a URL. Raises TrackerMissing, TrackerFailed."""
        self.place = place

    @property
    @abstractmethod
    def opened_by(self) -> list[str]:
        """The command, by its arguments, that shows what was written."""

    @abstractmethod
    async def write_job(self, job: TrackedJob) -> Written:
        """Write a job. Raises TrackerFailed, StoreError, DataError."""

    @abstractmethod
    async def write_search(self, search: TrackedSearch) -> Written:
        """Write a search with all its trials. Raises TrackerFailed, StoreError, DataError."""


def library(name: str, extra: str) -> ModuleType:
    """A module of a tracker's library. Raises TrackerMissing, which says how to install it."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = name.partition(".")[0]
        raise TrackerMissing(
            f"this needs {error.name or package}, which is not installed: pip install 'sapflow[{extra}]'"
        ) from error
