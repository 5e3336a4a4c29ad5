"""The bill of a month of jobs, and from where on machines that are kept for them are cheaper."""

from pathlib import Path

import pytest

from bench.paper import month
from sapflow.quantities.prices import AWS_LAMBDA, Price

PAGE = (Path(__file__).parents[3] / "docs" / "planner.md").read_text(encoding="utf-8")


def price(dollars: float) -> Price:
    """So many dollars for a GiB and second, and nothing else."""
    return Price("of a test", None, "", usd_per_mb_second=dollars / 1024)


def test_a_machine_holds_as_many_workers_as_it_has_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    assert month.vms() == 8
    monkeypatch.setattr(month, "WORKERS", 17)
    assert month.vms() == 9


def test_functions_of_twice_the_price_pay_for_half_the_share_of_the_month() -> None:
    cheap, dear = month.break_even(price(1e-5)), month.break_even(price(2e-5))
    assert cheap == pytest.approx(2 * dear)


def test_at_break_even_the_two_bills_are_the_same() -> None:
    # No job of this month is at work at its end, so that all that is billed is counted as busy.
    found = month.simulate(AWS_LAMBDA, 1_500)
    assert 0.5 < found.utilisation < 0.7
    assert found.functions / found.machines == pytest.approx(found.utilisation / month.break_even(AWS_LAMBDA))


def test_functions_are_billed_by_the_job_and_machines_by_the_month() -> None:
    few, many = month.simulate(AWS_LAMBDA, 30), month.simulate(AWS_LAMBDA, 300)
    assert few.jobs < many.jobs
    assert many.functions / many.jobs == pytest.approx(few.functions / few.jobs)
    assert few.machines == many.machines == pytest.approx(8 * 0.096 * 730)


def test_jobs_wait_in_line_and_machines_work_no_longer_than_the_month() -> None:
    one, some, too_many = (month.simulate(AWS_LAMBDA, jobs) for jobs in (1, 1_500, 20_000))
    assert one.waited < some.waited < too_many.waited
    assert 0.99 < too_many.utilisation <= 1.0


def test_a_month_is_the_same_each_time_and_another_with_another_seed() -> None:
    assert month.simulate(AWS_LAMBDA, 300) == month.simulate(AWS_LAMBDA, 300)
    assert month.simulate(AWS_LAMBDA, 300, seed=1) != month.simulate(AWS_LAMBDA, 300)


def test_the_page_has_the_table_that_the_bench_prints() -> None:
    for name, *figures in month.rows():
        found = [line for line in PAGE.splitlines() if line.startswith((f"| {name} |", f"| {name} ("))]
        assert [line.split(" | ")[1:] for line in found] == [[*figures[:-1], f"{figures[-1]} |"]], name
