"""The way to the functions behind a Knative Service: past the gateway, as far as that leads to the right Revision."""

import pytest
from yarl import URL

from sapflow.runtimes.way import ASK_SECONDS, AWAY_SECONDS, FAILURES, Way

SERVICE = URL("http://digits-worker.team.svc.cluster.local/invoke")
FIRST = URL("http://digits-worker-00001.team.svc.cluster.local/invoke")
SECOND = URL("http://digits-worker-00002.team.svc.cluster.local/invoke")


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


def way_to(revision: str | None = "digits-worker-00001") -> tuple[Way, Clock]:
    clock = Clock()
    way = Way(SERVICE, clock)
    url = way.choose()
    assert url == SERVICE
    assert not way.is_straight(url)
    way.answered(url, revision)
    way.ended(url)
    return way, clock


def test_calls_go_to_the_revision_that_has_answered() -> None:
    way, _ = way_to()
    assert [way.choose() for _ in range(3)] == [FIRST] * 3
    assert way.is_straight(way.choose())


def test_the_calls_of_one_moment_in_a_second_ask_the_gateway_which_revision_it_is_now() -> None:
    way, clock = way_to()
    clock.now += ASK_SECONDS
    asked = [way.choose() for _ in range(4)]
    assert asked == [SERVICE] * 4
    for url in asked:
        way.answered(url, "digits-worker-00002")
        way.ended(url)
    assert way.choose() == SECOND


def test_calls_ask_the_gateway_once_none_is_under_way_past_it_so_that_one_step_has_one_revision() -> None:
    way, clock = way_to()
    step = [way.choose() for _ in range(3)]
    clock.now += ASK_SECONDS
    assert way.choose() == FIRST
    for url in (*step, FIRST):
        way.ended(url)
    assert way.choose() == SERVICE


def test_calls_that_always_overlap_ask_the_gateway_too() -> None:
    way, clock = way_to()
    way.choose()
    clock.now += 2 * ASK_SECONDS
    assert way.choose() == SERVICE


def test_what_a_call_past_the_gateway_tells_of_the_revision_is_no_news() -> None:
    way, _ = way_to()
    way.answered(way.choose(), "digits-worker-00002")
    assert way.choose() == FIRST


@pytest.mark.parametrize(
    "revision",
    [None, "other-worker-00001", "digits-worker", "digits-worker-1.evil.example", "digits-worker-x"],
)
def test_only_a_revision_of_the_service_is_followed(revision: str | None) -> None:
    way, _ = way_to(revision)
    assert way.choose() == SERVICE


def test_a_revision_without_an_instance_is_left_until_the_gateway_has_answered() -> None:
    way, _ = way_to()
    way.forget()
    asked = way.choose()
    assert asked == SERVICE
    way.answered(asked, "digits-worker-00002")
    assert way.choose() == SECOND


def fail(way: Way) -> bool:
    """Whether all calls take the gateway now that one past it has failed."""
    stopped = way.failed(way.choose())
    way.answered(way.choose(), "digits-worker-00001")
    return stopped


def test_a_call_that_breaks_now_and_then_changes_nothing() -> None:
    way, _ = way_to()
    for _ in range(3 * FAILURES):
        assert not fail(way)
        way.answered(way.choose(), "digits-worker-00001")
    assert way.choose() == FIRST


def test_after_calls_that_failed_in_a_row_all_take_the_gateway_for_a_while() -> None:
    way, clock = way_to()
    assert [fail(way) for _ in range(FAILURES)] == [False] * (FAILURES - 1) + [True]
    for _ in range(3):
        clock.now += AWAY_SECONDS / 4
        asked = way.choose()
        assert asked == SERVICE
        way.answered(asked, "digits-worker-00001")
    clock.now += AWAY_SECONDS / 4
    way.answered(way.choose(), "digits-worker-00001")
    assert way.choose() == FIRST


def test_a_failure_at_the_gateway_says_nothing_about_the_way_past_it() -> None:
    way, clock = way_to()
    clock.now += ASK_SECONDS
    asked = way.choose()
    way.failed(asked)
    way.ended(asked)
    assert way.choose() == FIRST


def test_an_address_without_a_domain_has_no_way_past_it() -> None:
    way = Way(URL("http://gateway/invoke"))
    way.answered(way.choose(), "gateway-00001")
    assert way.choose() == URL("http://gateway/invoke")
