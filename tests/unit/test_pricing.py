import pytest
from hypothesis import given
from hypothesis import strategies as st

from sapflow.pricing import AWS_LAMBDA, AWS_LAMBDA_ARM, MIB, PAPER_2018, PRICES, billed_mb, cost, vcpus

TABLE_I = {128: 2.08e-7, 192: 3.13e-7, 256: 4.17e-7, 1408: 2.292e-6, 1472: 2.396e-6, 1536: 2.501e-6}


@pytest.mark.parametrize(("megabytes", "usd"), TABLE_I.items())
def test_the_paper_s_table_of_prices_per_100_ms_is_met(megabytes: int, usd: float) -> None:
    assert cost(PAPER_2018, megabytes * MIB, 0.1) == pytest.approx(usd, rel=0.004)


def test_a_gigabyte_second_on_lambda_costs_the_listed_rate_and_a_request() -> None:
    assert cost(AWS_LAMBDA, 1024 * MIB, 1.0) == pytest.approx(0.0000166667 + 0.0000002, rel=1e-12)
    assert cost(AWS_LAMBDA_ARM, 2048 * MIB, 0.5) == pytest.approx(0.0000133334 + 0.0000002, rel=1e-12)


@pytest.mark.parametrize(
    ("seconds", "milliseconds"), [(0.0, 0), (0.0001, 1), (0.001, 1), (0.3, 300), (0.0011, 2), (1.2345, 1235)]
)
def test_durations_are_rounded_up_to_the_millisecond(seconds: float, milliseconds: int) -> None:
    spent = cost(AWS_LAMBDA, 1024 * MIB, seconds) - AWS_LAMBDA.usd_per_request
    assert spent == pytest.approx(milliseconds * 0.0000166667 / 1000, rel=1e-9)


def test_the_paper_s_platform_bills_by_100_ms_and_no_requests() -> None:
    assert cost(PAPER_2018, 128 * MIB, 0.101) == pytest.approx(2 * cost(PAPER_2018, 128 * MIB, 0.1))
    assert cost(PAPER_2018, 128 * MIB, 0) == 0


def test_sizes_are_rounded_up_to_those_on_offer() -> None:
    assert billed_mb(AWS_LAMBDA, 1) == 128
    assert billed_mb(AWS_LAMBDA, 200 * MIB + 1) == 201
    assert billed_mb(PAPER_2018, 200 * MIB) == 256


def test_one_vcpu_comes_with_1769_mb() -> None:
    assert vcpus(AWS_LAMBDA, 1769 * MIB) == 1
    assert vcpus(AWS_LAMBDA, 3538 * MIB) == 2


def test_every_table_has_a_date_and_a_source_and_is_found_by_its_platform() -> None:
    for platform, price in PRICES.items():
        assert platform == price.platform
        assert price.dated.year >= 2018
        assert price.source


@given(st.sampled_from(sorted(PRICES)), st.integers(1, 10 << 30), st.floats(0, 900), st.floats(0, 900))
def test_longer_invocations_never_cost_less(platform: str, size: int, one: float, other: float) -> None:
    price = PRICES[platform]
    assert cost(price, size, min(one, other)) <= cost(price, size, max(one, other))
