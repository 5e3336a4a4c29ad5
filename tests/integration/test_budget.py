"""A budget counts what fails, and ends a step that is repeated and repeated."""

from pathlib import Path

import pytest
from helpers.functions import Fault
from helpers.jobs import Simulation, make_place, tiny_job

from sapflow.errors import JobFailed
from sapflow.objects import keys
from sapflow.quantities.prices import cost


def test_calls_that_never_answer_spend_the_budget_and_end_the_job_with_a_checkpoint(tmp_path: Path) -> None:
    job = tiny_job(limits_budgetUSD=0.02, limits_invocationSeconds=300, evaluation_everySteps=100)
    place = make_place(tmp_path / "store", job)
    # The initialisation, and seven calls for each of two steps; from then on nothing answers.
    silent = dict.fromkeys(range(15, 2000), Fault("silent"))
    simulation = Simulation(place, faults=silent)
    with pytest.raises(JobFailed, match="budgetUSD") as caught:
        simulation.run()
    assert (caught.value.reason, caught.value.version) == ("BudgetExceeded", 2)
    assert "which is kept as a checkpoint" in str(caught.value)
    assert place.store.exists(keys.checkpoint(place.resolved.prefix, 2))
    one = cost(job.price, job.memory_bytes["worker"], 300.0, job.cpus["worker"])
    wasted = len(simulation.functions.log) - 15
    # Each of the 4 workers, and a hedge for each, may be under way when the budget is spent.
    assert 0.02 / one <= wasted <= 0.02 / one + 8
