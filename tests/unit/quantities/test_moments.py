"""Mean and deviation of what is seen piece by piece."""

import numpy as np
import pytest

from sapflow.quantities.moments import Moments


@pytest.mark.parametrize("offset", [0.0, 1e5])
def test_pieces_give_the_mean_and_deviation_of_the_whole(offset: float) -> None:
    values = np.random.default_rng(0).normal(size=(1000, 3)) * [1, 5, 0.1] + offset
    moments = Moments(3)
    for piece in np.split(values, [1, 7, 500]):
        moments.add(piece.copy())
    np.testing.assert_allclose(moments.mean, values.mean(0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(moments.deviation, values.std(0), rtol=1e-6)
    assert not moments.steady.any()


def test_a_column_that_never_changes_is_steady_in_spite_of_rounding() -> None:
    moments = Moments(2)
    for _ in range(50):
        moments.add(np.array([[0.1, 1.0], [0.1, 2.0], [0.1, 4.0]]))
    assert moments.steady.tolist() == [True, False]
