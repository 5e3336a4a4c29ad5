"""What serving processes have counted is read from their metrics, and added up over pods that come and go."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sapflow.serving.metrics import BUCKETS, ServerMetrics
from sapflow_operator.serving.counts import Counts, Tally, parse


def text_of(metrics: ServerMetrics) -> str:
    return metrics.text(0, {}, {})


def answered(*answers: tuple[str, int, float]) -> ServerMetrics:
    metrics = ServerMetrics()
    for route, status, seconds in answers:
        metrics.answered(route, status, seconds)
    return metrics


def test_requests_for_decisions_count_and_no_others() -> None:
    metrics = answered(
        ("predict", 200, 0.001), ("infer", 200, 0.2), ("ready", 503, 0.001), ("metrics", 200, 0.001)
    )
    assert parse(text_of(metrics)).requests == 2


def test_only_what_is_the_servers_fault_is_an_error() -> None:
    metrics = answered(*(("predict", status, 0.001) for status in (200, 400, 401, 413, 429, 500, 503)))
    found = parse(text_of(metrics))
    assert (found.requests, found.errors) == (7, 2)


def test_rows_that_were_compared_are_counted_by_whether_versions_agree() -> None:
    metrics = ServerMetrics()
    metrics.compared[True], metrics.compared[False] = 7, 2
    found = parse(text_of(metrics))
    assert (found.alike, found.different, found.compared) == (7, 2, 9)


def test_text_that_is_no_metrics_counts_nothing() -> None:
    assert parse("<html>\nnot here\n</html>") == Counts()


@given(st.lists(st.floats(0, 100), max_size=50))
def test_slow_requests_are_exact_at_the_bounds_of_the_histogram(seconds: list[float]) -> None:
    found = parse(text_of(answered(*(("predict", 200, each) for each in seconds))))
    for bound in BUCKETS:
        assert found.slower(bound) == pytest.approx(sum(each > bound for each in seconds))


def test_between_two_bounds_slow_requests_are_spread_evenly() -> None:
    found = parse(text_of(answered(*[("predict", 200, 0.3)] * 10)))
    assert found.slower(0.375) == pytest.approx(5)


def one(requests: int, errors: int = 0) -> Counts:
    return Counts(requests, errors)


def test_counts_stay_when_their_pod_goes() -> None:
    tally = Tally()
    tally.take("a", "v1", one(10), new=True)
    tally.keep(set())
    tally.take("b", "v1", one(5), new=True)
    assert (tally.of("v1").requests, tally.total.requests) == (15, 15)


def test_a_process_that_starts_anew_counts_from_zero() -> None:
    tally = Tally()
    for requests in (10, 12, 3):
        tally.take("a", "v1", one(requests), new=True)
    assert tally.of("v1").requests == 15


def test_what_a_pod_had_counted_before_the_tally_began_is_in_the_status_already() -> None:
    tally = Tally()
    tally.take("a", "v1", one(1000), new=False)
    tally.take("a", "v1", one(1004), new=False)
    assert tally.of("v1").requests == 4


def test_a_step_begins_at_zero_also_if_its_part_of_the_requests_is_the_same_as_before() -> None:
    tally = Tally()
    tally.take("a", "v2", one(10), new=True)
    assert tally.in_step("v2", "12:00").requests == 0
    tally.take("a", "v2", one(17, 2), new=True)
    assert tally.in_step("v2", "12:00") == one(7, 2)
    assert tally.in_step("v2", "12:05") == Counts()


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["v1", "v2"]), st.integers(1, 9)), max_size=40)
)
def test_no_request_is_counted_twice(asked: list[tuple[str, str, int]]) -> None:
    tally, served = Tally(), dict[str, int]()
    for pod, revision, more in asked:
        served[pod + revision] = served.get(pod + revision, 0) + more
        tally.take(pod + revision, revision, one(served[pod + revision]), new=True)
    assert tally.total.requests == sum(served.values())
