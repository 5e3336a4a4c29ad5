"""The paper's eqs. 1 to 4, and its Table III."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.paper import table3
from sapflow.planning import closed_form
from sapflow.planning.least_squares import non_negative, r_squared
from sapflow.quantities import structure


def test_equation_1_is_the_sum_of_the_quotients() -> None:
    assert closed_form.latency((1, 2, 6)) == 5
    assert closed_form.latency((1, 5, 22, 100), 0.15) == pytest.approx(0.15 * (100 / 22 + 22 / 5 + 5))


@given(st.integers(2, 10_000), st.integers(1, 4))
def test_equation_2_is_zero_at_equation_3_and_equation_1_is_equation_4_there(workers: int, k: int) -> None:
    widths = closed_form.optimum(workers, k)
    assert closed_form.gradient(widths) == pytest.approx([0.0] * k, abs=1e-9)
    assert closed_form.latency(widths) == pytest.approx(closed_form.least_latency(workers, k))


def test_equation_2_is_the_slope_of_equation_1() -> None:
    widths, nudge = (1.0, 4.0, 30.0, 100.0), 1e-6
    for index, slope in enumerate(closed_form.gradient(widths, 0.2), 1):
        moved = [*widths[:index], widths[index] + nudge, *widths[index + 1 :]]
        rise = (closed_form.latency(moved, 0.2) - closed_form.latency(widths, 0.2)) / nudge
        assert slope == pytest.approx(rise, rel=1e-4)


def test_rounding_gives_the_structure_that_the_paper_ran() -> None:
    assert closed_form.rounded(100) == (1, 5, 22, 100)
    assert closed_form.rounded(100, 1) == (1, 10, 100)


@given(st.integers(1, 10_000), st.integers(0, 6))
def test_the_number_of_levels_is_the_best_within_its_bound(workers: int, most: int) -> None:
    least = min(closed_form.least_latency(workers, k) for k in range(most + 1))
    found = closed_form.best_k(workers, most)
    assert found <= most
    assert closed_form.least_latency(workers, found) == pytest.approx(least)
    assert structure.validate(closed_form.rounded(workers, found), workers) == []


def test_without_a_bound_k_is_about_ln_n_minus_1() -> None:
    assert abs(closed_form.best_k(10_000, most=20) - (math.log(10_000) - 1)) < 1


@pytest.mark.parametrize(("case", "least"), [("A", 0.984), ("B", 0.994)])
def test_the_cost_model_with_a_term_per_level_explains_the_paper_s_table_3(case: str, least: float) -> None:
    found = table3.fit(case)
    assert round(found.r_squared, 3) >= least
    assert found.r_squared > table3.fit(case, levels=False).r_squared
    assert min(found.fixed, found.merge, found.level) > 0


def test_the_paper_s_own_structure_is_near_the_best_of_its_table_by_the_fitted_cost_model() -> None:
    for case in table3.ITERATIONS:
        assert table3.fit(case).predicted[0] <= 1.02 * min(table3.fit(case).predicted)


def test_least_squares_never_go_below_zero_and_meet_what_can_be_met() -> None:
    rows = [[1.0, x, x * x] for x in range(8)]
    assert non_negative(rows, [2 + 3 * x for x in range(8)]) == pytest.approx([2, 3, 0], abs=1e-8)
    held = non_negative(rows, [10 - x for x in range(8)])
    assert held.min() >= 0
    assert r_squared([1, 2, 3], [1, 2, 3]) == 1


@given(st.integers(0, 2**32))
def test_no_other_choice_of_active_columns_fits_better(seed: int) -> None:
    import numpy as np

    rng = np.random.default_rng(seed)
    matrix, values = rng.normal(size=(7, 4)), rng.normal(size=7)
    found = non_negative(matrix, values)
    best = ((matrix @ found - values) ** 2).sum()
    for columns in itertools.chain.from_iterable(itertools.combinations(range(4), size) for size in range(5)):
        other = np.zeros(4)
        if columns:
            other[list(columns)] = np.linalg.lstsq(matrix[:, columns], values, rcond=None)[0]
        if other.min() >= 0:
            assert best <= ((matrix @ other - values) ** 2).sum() + 1e-9
