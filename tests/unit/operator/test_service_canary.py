"""A canary advances, waits or is rolled back by what was counted of it alone."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sapflow.serving.metrics import BUCKETS
from sapflow.spec.serving.serve import CanarySpec
from sapflow_operator.serving.canary import ALL, Advance, Hold, RollBack, decide
from sapflow_operator.serving.counts import Counts

SPEC = CanarySpec(percent=10, step_seconds=60, min_requests=100)
NUMBER = st.integers(0, 10_000)


def counts(requests: int = 0, errors: int = 0, slow: int = 0, alike: int = 0, different: int = 0) -> Counts:
    """Requests that took at most a millisecond, `slow` of them more than half a minute."""
    times = (requests - slow, *(0,) * (len(BUCKETS) - 1), slow)
    return Counts(requests, errors, times, alike, different)


def test_a_step_that_has_stood_gives_twice_as_many_requests_until_they_are_all() -> None:
    percent, steps = SPEC.percent, []
    while percent < ALL:
        decision = decide(SPEC, percent, 60, counts(100))
        assert isinstance(decision, Advance)
        percent = decision.percent
        steps.append(percent)
    assert steps == [20, 40, 80, 100]


@pytest.mark.parametrize(("seconds", "requests"), [(59, 1000), (3600, 99)])
def test_a_step_waits_for_its_time_and_for_its_requests(seconds: float, requests: int) -> None:
    assert isinstance(decide(SPEC, 10, seconds, counts(requests)), Hold)


def test_a_step_without_requests_says_what_it_waits_for() -> None:
    decision = decide(SPEC, 10, 1e6, counts())
    assert decision == Hold("waits for requests: 0 of 100 (minRequests)")


def test_one_error_of_the_first_requests_is_no_reason_to_roll_back() -> None:
    assert isinstance(decide(SPEC, 10, 60, counts(2, errors=1)), Hold)


def test_errors_that_cannot_be_made_up_for_roll_back_at_once() -> None:
    decision = decide(SPEC, 10, 1, counts(3, errors=2))
    assert isinstance(decision, RollBack)
    assert decision.reason == "TooManyErrors"
    assert "2 of 3 requests failed" in decision.message


def test_slow_requests_roll_back_where_a_bound_is_given() -> None:
    slow = counts(200, slow=3)
    assert isinstance(decide(SPEC, 10, 60, slow), Advance)
    decision = decide(SPEC.model_copy(update={"max_p99_seconds": 1.0}), 10, 1, slow)
    assert isinstance(decision, RollBack)
    assert decision.reason == "TooSlow"


def test_other_decisions_roll_back_where_a_bound_is_given_and_comparisons_are_waited_for() -> None:
    spec = SPEC.model_copy(update={"min_agreement": 0.95})
    assert isinstance(decide(SPEC, 10, 60, counts(200, alike=10, different=90)), Advance)
    assert isinstance(decide(spec, 10, 60, counts(200, alike=99)), Hold)
    assert isinstance(decide(spec, 10, 60, counts(200, alike=95, different=5)), Advance)
    decision = decide(spec, 10, 1, counts(200, alike=94, different=6))
    assert isinstance(decision, RollBack)
    assert decision.reason == "Disagrees"


SPECS = st.builds(
    CanarySpec,
    percent=st.integers(1, 99),
    step_seconds=st.integers(1, 1000),
    min_requests=st.integers(1, 1000),
    max_error_rate=st.none() | st.floats(0, 1),
    max_p99_seconds=st.none() | st.floats(0.001, 60),
    min_agreement=st.none() | st.floats(0, 1),
)


@st.composite
def counted(draw: st.DrawFn) -> Counts:
    times = tuple(draw(st.lists(st.integers(0, 500), min_size=len(BUCKETS) + 1, max_size=len(BUCKETS) + 1)))
    requests = sum(times)
    return Counts(requests, draw(st.integers(0, requests)), times, draw(NUMBER), draw(NUMBER))


@given(SPECS, st.integers(1, 99), st.floats(0, 1e6), counted())
def test_no_canary_advances_that_breaks_a_bound_or_has_not_been_asked_enough(
    spec: CanarySpec, percent: int, seconds: float, found: Counts
) -> None:
    decision = decide(spec, percent, seconds, found)
    if isinstance(decision, Advance):
        assert percent < decision.percent <= ALL
        assert found.requests >= spec.min_requests
        assert seconds >= spec.step_seconds
        rate = 0.01 if spec.max_error_rate is None else spec.max_error_rate
        assert found.errors <= rate * found.requests + 1e-6


@given(SPECS, st.integers(1, 99), st.floats(0, 1e6), counted(), st.integers(1, 10_000))
def test_more_errors_never_help(
    spec: CanarySpec, percent: int, seconds: float, found: Counts, more: int
) -> None:
    worse = replace(found, errors=min(found.requests, found.errors + more))
    if isinstance(decide(spec, percent, seconds, found), RollBack):
        assert isinstance(decide(spec, percent, seconds, worse), RollBack)
    if isinstance(decide(spec, percent, seconds, worse), Advance):
        assert isinstance(decide(spec, percent, seconds, found), Advance)


@given(SPECS, st.integers(1, 99), st.floats(0, 1e6))
def test_a_canary_without_requests_stays_where_it_is(spec: CanarySpec, percent: int, seconds: float) -> None:
    assert isinstance(decide(spec, percent, seconds, Counts()), Hold)
