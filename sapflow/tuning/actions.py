"""What a search asks of whoever trains its trials, and what it is told about them.

A search decides, a runner trains. The search yields actions: `Fork`, `Advance`, `Stop`, and `Ask` where a suggestion is
computed by a worker. The runner carries them out in their order, and answers with events: `Report`, `Finished`,
`Failed`, `Stopped`, `Deleted`, `Suggested`. Both are values; the search writes every action and every event into its
log before anything follows from it. After a restart the search yields the actions again that have no answer yet, and
a runner that is told an action twice does it once: it goes on from what the trial has in the store.

Trials are numbered from 0 in the order in which they begin. A trial has a set of parameters that never changes; its
objects lie below `keys.trial(prefix, number)`. Lengths (`to`, `at`) are in units of the template: epochs where it says
`algorithm.epochs`, else steps. Seconds and dollars of an event are those of the trial since it began, all its drivers
together; those of a fork do not contain what its source has used.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Parameters = Mapping[str, Any]
"""Values by path in the template, such as `spec.optimizer.learningRate`; a value is what JSON can say. A parameter
whose `when` does not hold is left out."""


@dataclass(frozen=True, slots=True)
class Advance:
    """Train a trial until it has done `to` units, from its beginning or from where it stands, and evaluate there.

    The runner answers with `Finished` if the job has ended, by its length or by what its template says (a target, early
    stopping), else with `Report`, or with `Failed`. The version at `to` is kept until another action names the trial
    or until the search ends. After `Report` the trial is paused and takes no function until it is advanced again.
    """

    trial: int
    to: int
    parameters: Parameters


@dataclass(frozen=True, slots=True)
class Fork:
    """Let a new trial begin at a version of another one, with parameters of its own.

    There is no answer: an `Advance` of the new trial follows. The source's version is kept as long as the search says.
    """

    trial: int
    source: int
    version: int
    at: int
    """Units that the source had done at that version."""
    parameters: Parameters


@dataclass(frozen=True, slots=True)
class Stop:
    """End a trial for good, running or paused. The runner answers with `Stopped`."""

    trial: int
    reason: str
    """Pruned, Replaced, Deleted, GoalReached, BudgetExceeded, DeadlineExceeded or Finished (nothing is left to try)."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Let a worker compute the parameters of a trial: a sampler needs torch, or is the user's own.

    `question` is a JSON value for `sapflow.tuning.samplers.remote.answer`; the answer is `Suggested`, or `Failed`
    where the sampler raises."""

    trial: int
    question: Mapping[str, Any]


Action = Advance | Fork | Stop | Ask


@dataclass(frozen=True, slots=True)
class Report:
    """A trial has done the `to` units of its last `Advance` and is paused."""

    trial: int
    at: int
    version: int
    values: Mapping[str, float]
    """Metrics of the version on the held-out samples, by name. One that is not finite counts as the worst value."""
    seconds: float = 0.0
    dollars: float = 0.0


@dataclass(frozen=True, slots=True)
class Finished:
    """A trial's job has ended with a result."""

    trial: int
    values: Mapping[str, float]
    """Metrics of the version that is the result."""
    at: int = 0
    """Units done."""
    version: int = 0
    """The version that is the result."""
    seconds: float = 0.0
    dollars: float = 0.0


@dataclass(frozen=True, slots=True)
class Failed:
    """A trial's job has failed for good."""

    trial: int
    reason: str
    message: str
    seconds: float = 0.0
    dollars: float = 0.0


@dataclass(frozen=True, slots=True)
class Stopped:
    """A trial that was to be stopped has no call in flight any more."""

    trial: int
    seconds: float = 0.0
    dollars: float = 0.0


@dataclass(frozen=True, slots=True)
class Deleted:
    """A user has deleted a trial: the search stops it."""

    trial: int


@dataclass(frozen=True, slots=True)
class Suggested:
    """A worker's answer to `Ask`."""

    trial: int
    parameters: Parameters
    notes: Mapping[str, Any] = field(default_factory=dict)
    """What the sampler wants to be told again with this trial in later questions; a JSON value."""


Event = Report | Finished | Failed | Stopped | Deleted | Suggested
