"""Which revision gets which requests: one that has answered its golden rows, and breaks no bound."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sapflow.spec.serving.serve import CanarySpec
from sapflow_operator.serving.counts import Counts
from sapflow_operator.serving.rollout import Course, Failure, Rejected, Seen, Standing, Version, course

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
CANARY = CanarySpec(percent=10, step_seconds=60, min_requests=100)
GOLDEN = Failure("GoldenRowsFailed", "golden row 3 gives other outputs")


def version(name: str, percent: int = 0) -> Version:
    return Version(name, f"s3://sapflow/{name}/model.safetensors", name * 64, percent, "2026-05-01T12:00:00Z")


A, B = version("a"), version("b")


def after(
    standing: Standing,
    candidate: Version = B,
    canary: CanarySpec | None = None,
    seen: Seen | None = None,
    seconds: float = 0,
    generation: int = 1,
) -> Course:
    return course(standing, candidate, canary, seen or Seen(), NOW + timedelta(seconds=seconds), generation)


SERVES = Standing(version("a", 100))


def test_the_first_version_serves_once_it_has_answered_its_golden_rows() -> None:
    starts = after(Standing(), A)
    assert starts.standing.shares == []
    assert starts.standing.version is None
    assert after(starts.standing, A, seen=Seen(ready="a")).standing.shares == [("a", 100)]


def test_a_first_version_that_fails_its_golden_rows_never_serves() -> None:
    found = after(Standing(), A, seen=Seen(failures={"a": GOLDEN}))
    assert (found.failure, found.standing.shares) == (GOLDEN, [])


def test_another_version_gets_no_request_before_it_is_ready_and_then_all() -> None:
    starts = after(SERVES, seen=Seen(ready="a"))
    assert starts.standing.shares == [("a", 100)]
    assert [each.reason for each in starts.events] == ["RollingOut"]
    found = after(starts.standing, seen=Seen(ready="b")).standing
    assert found.shares == [("b", 100)]
    assert found.previous is not None
    assert found.previous.revision == "a"


def test_a_version_that_fails_its_golden_rows_is_rejected_and_not_tried_again() -> None:
    standing = after(SERVES).standing
    found = after(standing, seen=Seen(ready="a", failures={"b": GOLDEN}))
    assert found.failure is not None
    assert found.failure.reason == "GoldenRowsFailed"
    assert "a serves" in found.failure.message
    for generation in (1, 2):
        again = after(found.standing, seen=Seen(ready="b"), generation=generation)
        assert again.standing.shares == [("a", 100)]
        assert again.failure is not None
        assert again.events == ()


def test_a_store_that_is_away_when_a_version_starts_is_waited_for() -> None:
    standing = after(SERVES).standing
    away = Failure("StoreUnavailable", "no answer", final=False)
    found = after(standing, seen=Seen(ready="a", failures={"b": away}))
    assert found.failure is None
    assert "StoreUnavailable" in found.message
    assert after(found.standing, seen=Seen(ready="b")).standing.shares == [("b", 100)]


def stepping(percent: int = 10) -> Standing:
    return Standing(version("a", 100), version("b", percent))


def test_a_canary_goes_its_steps_and_takes_over() -> None:
    standing, shares = after(SERVES, canary=CANARY).standing, []
    for _ in range(5):
        found = after(standing, canary=CANARY, seen=Seen(ready="b", counts=Counts(100)), seconds=1000)
        shares.append(found.standing.shares)
        standing = Standing.of_status(
            {
                **found.standing.to_status(),
                **(
                    {"canary": {**found.standing.canary.to_status(), "since": "2026-05-01T12:00:00Z"}}
                    if found.standing.canary
                    else {}
                ),
            }
        )
    assert shares == [
        [("a", 90), ("b", 10)],
        [("a", 80), ("b", 20)],
        [("a", 60), ("b", 40)],
        [("a", 20), ("b", 80)],
        [("b", 100)],
    ]


def test_a_canary_that_breaks_a_bound_gets_no_more_requests_until_the_spec_is_another() -> None:
    found = after(stepping(), canary=CANARY, seen=Seen(ready="b", counts=Counts(50, errors=5)))
    assert found.failure is not None
    assert found.failure.reason == "TooManyErrors"
    assert found.standing.shares == [("a", 100)]
    again = after(found.standing, canary=CANARY, seen=Seen(ready="b"))
    assert again.standing.shares == [("a", 100)]
    changed = after(found.standing, canary=CANARY, seen=Seen(ready="b"), generation=2)
    assert changed.standing.shares == [("a", 90), ("b", 10)]


@pytest.mark.parametrize("reason", ["GoldenRowsFailed", "OOMKilled", "ProcessEnded"])
def test_a_canary_whose_process_ends_is_rolled_back_though_another_has_started(reason: str) -> None:
    crashed = Seen(ready="b", crashes={"b": Failure(reason, "it has ended")})
    found = after(stepping(), canary=CANARY, seen=crashed)
    assert found.failure is not None
    assert (found.failure.reason, found.standing.shares) == (reason, [("a", 100)])


def test_requests_go_back_where_the_version_fails_its_golden_rows_later() -> None:
    standing = Standing(version("b", 100), previous=A)
    found = after(standing, seen=Seen(ready="b", failures={"b": GOLDEN}))
    assert found.standing.shares == [("a", 100)]
    assert found.failure is not None
    assert found.failure.reason == "GoldenRowsFailed"
    assert after(found.standing, seen=Seen(ready="b")).standing.shares == [("a", 100)]


def test_where_nothing_served_before_a_version_that_fails_stays_and_says_so() -> None:
    found = after(SERVES, A, seen=Seen(ready="a", failures={"a": GOLDEN}))
    assert (found.failure, found.standing.shares) == (GOLDEN, [("a", 100)])


def test_one_more_pod_that_does_not_start_beside_one_that_serves_is_no_failure() -> None:
    away = {"a": Failure("StoreUnavailable", "no answer", final=False)}
    assert after(SERVES, A, seen=Seen("a", away, away, frozenset({"a"}))).failure is None
    assert after(SERVES, A, seen=Seen("a", away, away)).failure is not None


def test_a_third_version_takes_the_place_of_a_canary() -> None:
    found = after(stepping(), version("c"), CANARY, Seen(ready="b"))
    assert found.standing.shares == [("a", 100)]
    assert found.standing.canary is not None
    assert found.standing.canary.revision == "c"


def test_a_spec_that_goes_back_to_the_version_that_serves_ends_the_canary() -> None:
    found = after(stepping(), A, CANARY, Seen(ready="b"))
    assert found.standing == SERVES


def test_where_a_service_stands_is_read_back_from_its_status() -> None:
    standing = Standing(version("a", 100), B, version("c"), Rejected("d", "TooSlow", "…", 3))
    assert Standing.of_status(standing.to_status()) == standing


class RollOut(RuleBasedStateMachine):
    """Any specs, failures, crashes and counts, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.standing, self.candidate, self.generation = Standing(), version("a"), 1
        self.answered: set[str] = set()
        self.ready, self.now = "", NOW
        self.bad: set[str] = set()
        self.canary: CanarySpec | None = None

    @rule(name=st.sampled_from("abcd"), canary=st.none() | st.just(CANARY))
    def change(self, name: str, canary: CanarySpec | None) -> None:
        self.candidate, self.canary = version(name), canary
        self.generation += 1

    @precondition(lambda self: self.candidate.revision not in self.bad)
    @rule()
    def becomes_ready(self) -> None:
        self.ready = self.candidate.revision
        self.answered.add(self.ready)

    @rule(requests=st.integers(0, 300), errors=st.integers(0, 5), seconds=st.integers(0, 200))
    def looks(self, requests: int, errors: int, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)
        seen = Seen(self.ready, counts=Counts(requests, min(requests, errors)))
        self.standing = course(
            self.standing, self.candidate, self.canary, seen, self.now, self.generation
        ).standing

    @precondition(lambda self: self.candidate.revision not in self.answered)
    @rule()
    def fails_golden_rows(self) -> None:
        name = self.candidate.revision
        self.bad.add(name)
        seen = Seen(self.ready, {name: GOLDEN}, {name: GOLDEN})
        self.standing = course(
            self.standing, self.candidate, self.canary, seen, self.now, self.generation
        ).standing

    @invariant()
    def requests_are_shared_out(self) -> None:
        shares = self.standing.shares
        assert not shares or sum(percent for _, percent in shares) == 100
        assert all(percent > 0 for _, percent in shares)

    @invariant()
    def only_what_has_answered_its_golden_rows_is_asked(self) -> None:
        assert {revision for revision, _ in self.standing.shares} <= self.answered

    @invariant()
    def what_served_once_goes_on(self) -> None:
        if self.standing.version is not None:
            assert self.standing.shares

    @invariant()
    def a_status_says_it_all(self) -> None:
        assert Standing.of_status(self.standing.to_status()) == self.standing


RollOut.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestRollOut = RollOut.TestCase
