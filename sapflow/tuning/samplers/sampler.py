"""The interface of sampling. A sampler is told what the log says, in its order, and suggests the next trial's
parameters.

A suggestion follows from the search's seed, the trial's number and what was told before; so does a restart's.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from sapflow.tuning.actions import Failed, Finished, Parameters, Report, Stopped
from sapflow.tuning.trial import Trial

News = Sequence[tuple[Trial, Report | Finished | Failed | Stopped]]


@dataclass(frozen=True, slots=True)
class Suggestion:
    """The parameters of a trial, and what the sampler must be told with them after a restart."""

    parameters: Parameters
    notes: Mapping[str, Any]


class Sampler(ABC):
    """Life: `warm` once, then for each trial `tell`, `ask` or `question`, and `begin`."""

    remote: ClassVar[bool] = False
    """Whether suggestions are computed by a worker: `question` instead of `ask`."""

    @abstractmethod
    def ask(self, number: int) -> Suggestion:
        """Suggest the parameters of the trial of this number, which is the next."""

    def question(self, number: int) -> dict[str, Any]:
        """What a worker needs to suggest them."""
        raise NotImplementedError

    def warm(self, results: Sequence[tuple[Parameters, Sequence[float]]]) -> None:  # noqa: B027
        """Learn the results of an earlier search: parameters and objectives."""

    def begin(self, trial: Trial, notes: Mapping[str, Any]) -> None:  # noqa: B027
        """A trial exists now, suggested or forked. One that `ask` has just suggested may be known already."""

    def tell(self, news: News) -> None:  # noqa: B027
        """Answers have become known, in this order."""


def seed_of(seed: int, number: int) -> int:
    """The seed of one suggestion, below 2³²."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:4], "big")
