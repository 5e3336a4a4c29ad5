"""Which revisions of a service get which part of its requests: a pure function of where it stands and what was seen.

A candidate is what the spec, its model and the images make of it now. It gets requests once a pod of it has answered
the golden rows: all of them at once or, with `canary`, more with each step. One that fails gets none, and is not tried
again until the spec or the model is another; one that fails its golden rows, until it is another revision.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Self

from sapflow.spec.serving.serve import CanarySpec
from sapflow_operator import times
from sapflow_operator.actions import Event
from sapflow_operator.serving.canary import ALL, Advance, RollBack, decide
from sapflow_operator.serving.counts import Counts

GOLDEN_ROWS_FAILED = "GoldenRowsFailed"


@dataclass(frozen=True, slots=True)
class Version:
    """A revision and the model that it serves."""

    revision: str
    uri: str
    sha256: str
    percent: int = 0
    since: str = ""
    """When it got this part of the requests."""

    def at(self, percent: int, now: datetime) -> "Version":
        """The version with this part of the requests from now on."""
        return replace(self, percent=percent, since=times.write(now))

    def to_status(self) -> dict[str, Any]:
        return {
            "revision": self.revision,
            "uri": self.uri,
            "sha256": self.sha256,
            "percent": self.percent,
            "since": self.since,
        }

    @classmethod
    def of_status(cls, status: Mapping[str, Any] | None) -> Self | None:
        if status is None:
            return None
        return cls(
            status["revision"], status["uri"], status["sha256"], status.get("percent", 0), status["since"]
        )


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a revision does not serve."""

    reason: str
    message: str
    final: bool = True
    """Whether waiting does not help."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A revision that gets no requests any more while the spec stays as it is."""

    revision: str
    reason: str
    message: str
    generation: int

    def holds(self, candidate: Version, generation: int) -> bool:
        """Whether the candidate is still rejected. A changed spec gives it another try, but for its golden rows, which
        it would fail again."""
        same = self.generation == generation or self.reason == GOLDEN_ROWS_FAILED
        return same and self.revision == candidate.revision

    def to_status(self) -> dict[str, Any]:
        return {
            "revision": self.revision,
            "reason": self.reason,
            "message": self.message,
            "generation": self.generation,
        }

    @classmethod
    def of_status(cls, status: Mapping[str, Any] | None) -> Self | None:
        if status is None:
            return None
        return cls(status["revision"], status["reason"], status["message"], status["generation"])


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a service stands; it is what its status says."""

    version: Version | None = None
    """The one that serves."""
    canary: Version | None = None
    """The one that is to take over; 0 percent: it has not answered its golden rows yet."""
    previous: Version | None = None
    """The one that served before, to which requests go back where `version` fails its golden rows."""
    rejected: Rejected | None = None

    @classmethod
    def of_status(cls, status: Mapping[str, Any]) -> "Standing":
        return cls(
            Version.of_status(status.get("version")),
            Version.of_status(status.get("canary")),
            Version.of_status(status.get("previous")),
            Rejected.of_status(status.get("rejected")),
        )

    def to_status(self) -> dict[str, Any]:
        found = {
            "version": self.version,
            "canary": self.canary,
            "previous": self.previous,
            "rejected": self.rejected,
        }
        return {name: each.to_status() for name, each in found.items() if each is not None}

    @property
    def shares(self) -> list[tuple[str, int]]:
        """The revisions that get requests, with their parts in percent, which are 100 together."""
        if self.version is None:
            return []
        if self.canary is None or not self.canary.percent:
            return [(self.version.revision, ALL)]
        return [
            (self.version.revision, ALL - self.canary.percent),
            (self.canary.revision, self.canary.percent),
        ]

    @property
    def revisions(self) -> list[str]:
        """All that may be started, each once."""
        found = [each.revision for each in (self.version, self.canary, self.previous) if each is not None]
        return list(dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of revisions."""

    ready: str = ""
    """The last one that Knative found ready: a pod of it has answered the golden rows."""
    failures: Mapping[str, Failure] = field(default_factory=dict)
    """By revision: why a pod of it does not serve now."""
    crashes: Mapping[str, Failure] = field(default_factory=dict)
    """By revision: why a pod of it has ended, even if it serves again."""
    answering: frozenset[str] = frozenset()
    """Those of which a pod serves now."""
    counts: Counts = field(default_factory=Counts)
    """Of the canary, in this step."""


@dataclass(frozen=True, slots=True)
class Course:
    """What comes next."""

    standing: Standing
    failure: Failure | None = None
    """Why the candidate does not take over, or the version does not serve."""
    message: str = ""
    """What the roll-out waits for; '' if there is none."""
    events: tuple[Event, ...] = ()


def course(
    standing: Standing,
    candidate: Version,
    canary: CanarySpec | None,
    seen: Seen,
    now: datetime,
    generation: int,
) -> Course:
    """What comes next for a service whose spec asks for `candidate` in this generation."""
    version = standing.version
    if version is None:
        return _first(standing, candidate, seen, now)
    broken = seen.failures.get(version.revision)
    if broken is not None and broken.reason == GOLDEN_ROWS_FAILED:
        return _back(standing, version, broken, now, generation)
    if candidate.revision == version.revision:
        # One more pod that does not start, beside others that serve, is no reason to say that nothing serves.
        failure = None if version.revision in seen.answering else broken
        return Course(replace(standing, canary=None, rejected=None), failure)
    rejected = standing.rejected
    if rejected is not None and rejected.holds(candidate, generation):
        return Course(replace(standing, canary=None), Failure(rejected.reason, rejected.message))
    if standing.canary is None or standing.canary.revision != candidate.revision:
        standing = replace(standing, canary=candidate.at(0, now), rejected=None)
        event = Event("RollingOut", f"{candidate.revision} starts; {version.revision} serves meanwhile")
        return replace(_stepped(standing, canary, seen, now, generation), events=(event,))
    return _stepped(standing, canary, seen, now, generation)


def _first(standing: Standing, candidate: Version, seen: Seen, now: datetime) -> Course:
    """The course of a service that has never served."""
    if seen.ready == candidate.revision:
        event = Event("Serving", f"{candidate.revision} serves")
        return Course(Standing(candidate.at(ALL, now)), events=(event,))
    starting = replace(standing, canary=candidate.at(0, now), previous=None, rejected=None)
    if standing.canary is not None and standing.canary.revision == candidate.revision:
        starting = replace(starting, canary=standing.canary)
    return Course(starting, seen.failures.get(candidate.revision), f"{candidate.revision} starts")


def _back(standing: Standing, version: Version, failure: Failure, now: datetime, generation: int) -> Course:
    """The course of a service whose version fails its golden rows: requests go back to the one before, if any."""
    if standing.previous is None:
        return Course(replace(standing, canary=None), failure)
    message = f"{failure.message}; {standing.previous.revision} serves again"
    rejected = Rejected(version.revision, failure.reason, message, generation)
    event = Event(failure.reason, f"{version.revision}: {message}", "Warning")
    return Course(
        Standing(standing.previous.at(ALL, now), rejected=rejected),
        Failure(failure.reason, message),
        events=(event,),
    )


def _stepped(
    standing: Standing, spec: CanarySpec | None, seen: Seen, now: datetime, generation: int
) -> Course:
    """The course of a service with a canary."""
    version, canary = standing.version, standing.canary
    assert version is not None
    assert canary is not None
    failures = seen.crashes if canary.percent else seen.failures
    failure = failures.get(canary.revision)
    if failure is not None and failure.final:
        return _rejected(standing, canary, failure, generation)
    if not canary.percent:
        if seen.ready != canary.revision:
            why = f": {failure.reason}: {failure.message}" if failure is not None else ""
            return Course(
                standing, message=f"{canary.revision} starts{why}; {version.revision} serves meanwhile"
            )
        return _advanced(standing, canary, ALL if spec is None else spec.percent, now)
    if spec is None:
        return _advanced(standing, canary, ALL, now)
    seconds = (now - times.read(canary.since)).total_seconds()
    match decide(spec, canary.percent, seconds, seen.counts):
        case RollBack(reason, message):
            return _rejected(standing, canary, Failure(reason, message), generation)
        case Advance(percent):
            return _advanced(standing, canary, percent, now)
        case hold:
            return Course(standing, message=f"{canary.revision}: {hold.message}")


def _advanced(standing: Standing, canary: Version, percent: int, now: datetime) -> Course:
    """A canary with this part of the requests; with all of them it is the version."""
    if percent < ALL:
        event = Event("CanaryAdvanced", f"{canary.revision} gets {percent} % of the requests")
        found = replace(standing, canary=canary.at(percent, now))
        return Course(found, message=event.message, events=(event,))
    event = Event("Serving", f"{canary.revision} serves")
    return Course(Standing(canary.at(ALL, now), previous=standing.version), events=(event,))


def _rejected(standing: Standing, canary: Version, failure: Failure, generation: int) -> Course:
    """A canary that gets no requests any more."""
    assert standing.version is not None
    message = f"{failure.message}; {standing.version.revision} serves"
    rejected = Rejected(canary.revision, failure.reason, message, generation)
    event = Event(failure.reason, f"{canary.revision}: {message}", "Warning")
    return Course(
        replace(standing, canary=None, rejected=rejected),
        Failure(failure.reason, message),
        events=(event,),
    )
