import pytest
from helpers.jobs import document
from hypothesis import given
from hypothesis import strategies as st

from sapflow.errors import SpecError
from sapflow.quantities.prices import (
    AWS_LAMBDA,
    AWS_LAMBDA_ARM,
    AZURE_FUNCTIONS,
    GOOGLE_CLOUD_RUN,
    MIB,
    PAPER_2018,
    PRICES,
    billed_mb,
    cost,
    node_price,
    vcpus_of,
)
from sapflow.spec.document import parse
from sapflow.spec.training_job import TrainingJob

GIB = 1024 * MIB

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
    assert vcpus_of(AWS_LAMBDA, 1769 * MIB) == 1
    assert vcpus_of(AWS_LAMBDA, 3538 * MIB) == 2


def test_every_table_has_a_date_and_a_source_and_is_found_by_its_platform() -> None:
    for platform, price in PRICES.items():
        assert platform == price.platform
        assert price.dated is not None
        assert price.dated.year >= 2018
        assert str(price.dated) in price.name
        assert price.source


@given(st.sampled_from(sorted(PRICES)), st.integers(1, 10 << 30), st.floats(0, 900), st.floats(0, 900))
def test_longer_invocations_never_cost_less(platform: str, size: int, one: float, other: float) -> None:
    price = PRICES[platform]
    assert cost(price, size, min(one, other)) <= cost(price, size, max(one, other))


def test_cloud_run_bills_cpu_and_memory_apart_by_100_ms() -> None:
    expected = 0.4e-6 + 0.2 * (2 * 0.0000025 + 1.5 * 0.000024)
    assert cost(GOOGLE_CLOUD_RUN, 2 * GIB, 0.15, vcpus=1.5) == pytest.approx(expected)


def test_azure_bills_at_least_100_ms_by_the_millisecond_and_128_mb() -> None:
    assert cost(AZURE_FUNCTIONS, 200 * MIB, 0.01) == pytest.approx(0.2e-6 + 0.1 * 0.25 * 0.000016)
    assert cost(AZURE_FUNCTIONS, 200 * MIB, 0.2504) == pytest.approx(0.2e-6 + 0.251 * 0.25 * 0.000016)


def test_a_node_s_function_bears_the_larger_of_its_shares() -> None:
    node = node_price(usd_per_hour=0.36, vcpus=4, memory_bytes=16 * GIB)
    assert cost(node, 8 * GIB, 10.0, vcpus=1) == pytest.approx(0.5 * 10 * 0.0001)
    assert cost(node, 1 * GIB, 10.0, vcpus=3) == pytest.approx(0.75 * 10 * 0.0001)
    assert node.name == "$0.36 an hour for a node of 4 CPUs and 16 GiB"


@given(st.floats(0.01, 64), st.integers(64, 65_536), st.integers(1, 64))
def test_functions_that_fill_a_node_together_cost_what_it_costs(
    vcpus: float, mebibytes: int, number: int
) -> None:
    node = node_price(usd_per_hour=1.0, vcpus=vcpus * number, memory_bytes=mebibytes * MIB * number)
    assert number * cost(node, mebibytes * MIB, 3600.0, vcpus=vcpus) == pytest.approx(1.0, rel=1e-6)


def job_with(**prices: object) -> TrainingJob:
    body = document()
    body["spec"]["prices"] = prices
    return parse(body)


def test_a_job_s_own_prices_are_those_it_names() -> None:
    job = job_with(
        platform="Custom",
        custom={
            "usdPerGiBSecond": 0.5,
            "usdPerCPUSecond": 2,
            "usdPerMillionRequests": 1e6,
            "granularitySeconds": 1,
        },
    )
    assert cost(job.price, GIB, 1.5, vcpus=0.25) == pytest.approx(1 + 2 * (0.5 + 0.5))


def test_a_job_on_nodes_of_one_s_own_names_the_node() -> None:
    job = job_with(platform="Node", node={"usdPerHour": 0.192, "cpu": "4000m", "memory": "16Gi"})
    assert job.price == node_price(0.192, 4, 16 * GIB)


@pytest.mark.parametrize(
    ("prices", "field"),
    [
        ({"platform": "Node"}, "spec.prices.node"),
        ({"node": {"usdPerHour": 1, "cpu": "4", "memory": "16Gi"}}, "spec.prices.node"),
        ({"platform": "Custom"}, "spec.prices.custom"),
        ({"platform": "AWSLambda", "custom": {"usdPerGiBSecond": 1}}, "spec.prices.custom"),
        (
            {"platform": "Node", "node": {"usdPerHour": 0, "cpu": "4", "memory": "16Gi"}},
            "spec.prices.node.usdPerHour",
        ),
        ({"platform": "Custom", "custom": {"usdPerGBSecond": 1}}, "spec.prices.custom.usdPerGBSecond"),
        ({"platform": "Cloud9"}, "spec.prices.platform"),
    ],
)
def test_prices_that_do_not_go_together_are_refused_by_their_field(
    prices: dict[str, object], field: str
) -> None:
    with pytest.raises(SpecError) as refused:
        job_with(**prices)
    assert [name for name, _ in refused.value.problems] == [field]
