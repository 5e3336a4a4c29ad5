"""Whether a canary goes on: a pure function of its spec, of how long its step has lasted, and of what was counted.

A bound is broken as soon as it cannot be kept any more: by more errors than there may be in all the requests of the
step, of which there are at least `minRequests`. So one error of the first two requests is no reason yet, and the
hundredth of thousands need not be waited for.
"""

from dataclasses import dataclass

from sapflow.spec.serving.serve import CanarySpec
from sapflow_operator.serving.counts import Counts

ALL = 100
MAX_ERROR_RATE = 0.01
"""Where the spec says none."""
SLOW_SHARE = 0.01
"""The part of the requests that may take longer than `maxP99Seconds`."""
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Hold:
    """The step goes on."""

    message: str


@dataclass(frozen=True, slots=True)
class Advance:
    """The step is over, and the canary gets this part of the requests."""

    percent: int


@dataclass(frozen=True, slots=True)
class RollBack:
    """The canary gets no more requests."""

    reason: str
    message: str


Decision = Hold | Advance | RollBack


def decide(spec: CanarySpec, percent: int, seconds: float, counts: Counts) -> Decision:
    """What is next for a canary that has had `percent` of the requests for these seconds, and these counts in them."""
    least = spec.min_requests
    most_errors = MAX_ERROR_RATE if spec.max_error_rate is None else spec.max_error_rate
    if _above(counts.errors, most_errors, max(counts.requests, least)):
        return RollBack(
            "TooManyErrors",
            f"{counts.errors} of {counts.requests} requests failed at {percent} % of them, and maxErrorRate is "
            f"{most_errors:g}",
        )
    bound = spec.max_p99_seconds
    if bound is not None and _above(slow := counts.slower(bound), SLOW_SHARE, max(sum(counts.times), least)):
        return RollBack(
            "TooSlow",
            f"{slow:.0f} of {sum(counts.times)} requests took longer than maxP99Seconds ({bound:g}) at {percent} % of "
            "them",
        )
    agreement = spec.min_agreement
    if agreement is not None and _above(counts.different, 1 - agreement, max(counts.compared, least)):
        return RollBack(
            "Disagrees",
            f"{counts.different} of {counts.compared} compared rows were decided otherwise than before, and "
            f"minAgreement is {agreement:g}",
        )
    if counts.requests < least:
        return Hold(f"waits for requests: {counts.requests} of {least} (minRequests)")
    if agreement is not None and counts.compared < least:
        return Hold(f"waits for comparisons, of POST /predict alone: {counts.compared} of {least} rows")
    if seconds < spec.step_seconds:
        return Hold(f"{percent} % for {seconds:.0f} of {spec.step_seconds} s")
    return Advance(min(ALL, 2 * percent))


def _above(count: float, share: float, total: int) -> bool:
    """Whether a count is a larger part of a total than `share`."""
    return count > share * total + _ROUNDING
