"""Steps that are made anew."""

from sapflow.driver.repeats import REPETITIONS, StepRepeats
from sapflow.errors import CellLost, JobFailed


def test_a_step_is_made_anew_a_few_times_only_for_a_lost_cell_and_each_step_anew() -> None:
    repeats = StepRepeats()
    lost = JobFailed("gone", reason=CellLost.reason, version=3)
    assert not repeats.may_repeat(JobFailed("nan", reason="NotFinite", version=3), 3)
    most = REPETITIONS["CellLost"]
    assert [repeats.may_repeat(lost, 3) for _ in range(most + 1)] == [True] * most + [False]
    missing = JobFailed("gone", reason="ObjectMissing", version=3)
    assert [repeats.may_repeat(missing, 3) for _ in range(3)] == [True, True, False]
    assert repeats.may_repeat(lost, 4)
