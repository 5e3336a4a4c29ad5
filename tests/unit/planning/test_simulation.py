"""The simulation of a step, and the cost model compared with it."""

import pytest

from sapflow.planning.constants import KNATIVE, LOCAL_DIRECTORY, LOCAL_MINIO, Constants
from sapflow.planning.cost_model import CostModel, Work
from sapflow.planning.simulation import Simulation, simulate
from sapflow.quantities.prices import AWS_LAMBDA
from sapflow.quantities.structure import Structure

SMALL, LARGE = 42_601, 10_750_000
FAR = LOCAL_MINIO.changed("far", {"request": 0.2, "fetch": 0.2, "write": 4e-8, "fetch_byte": 4e-8})


def both(
    work: Work, tree: Structure, shards: int, constants: Constants = KNATIVE
) -> tuple[float, Simulation]:
    model = CostModel(work, constants).predict(tree, shards, AWS_LAMBDA)
    return model.seconds, simulate(work, constants, tree, shards, AWS_LAMBDA)


@pytest.mark.parametrize("constants", [KNATIVE, LOCAL_DIRECTORY, FAR], ids=["knative", "local", "far"])
@pytest.mark.parametrize("computing", [0.001, 0.02, 0.5])
@pytest.mark.parametrize(
    ("tree", "shards", "parameters"),
    [
        ((1, 1), 1, SMALL),
        ((1, 8), 1, SMALL),
        ((1, 10, 100), 1, SMALL),
        ((1, 50, 100), 1, SMALL),
        ((1, 5, 22, 100), 1, SMALL),
        ((1, 10, 100), 4, LARGE),
        ((1, 50, 100), 8, LARGE),
        ((1, 7, 53, 1000), 8, LARGE),
        ((1, 6, 36, 179, 10_000), 1, SMALL),
    ],
)
def test_where_nothing_waits_for_an_instance_the_cost_model_is_within_two_percent(
    constants: Constants, tree: Structure, shards: int, parameters: int, computing: float
) -> None:
    work = Work(workers=tree[-1], parameters=parameters, compute_seconds=computing, slots=1)
    model, simulated = both(work, tree, shards, constants)
    assert simulated.waited == 0
    assert model == pytest.approx(simulated.seconds, rel=0.02)


@pytest.mark.parametrize(
    ("tree", "shards", "instances"),
    [((1, 10, 100), 1, 10), ((1, 10, 100), 4, 16), ((1, 10, 100, 1000), 1, 50), ((1, 100), 1, 7)],
)
def test_where_calls_wait_the_cost_model_is_within_five_percent(
    tree: Structure, shards: int, instances: int
) -> None:
    work = Work(workers=tree[-1], parameters=SMALL, compute_seconds=0.2, instances=instances)
    model, simulated = both(work, tree, shards)
    assert simulated.waited > 0
    assert simulated.most_instances == instances
    assert model == pytest.approx(simulated.seconds, rel=0.05)


def test_calls_and_dollars_are_those_of_the_cost_model() -> None:
    work = Work(workers=100, parameters=LARGE, compute_seconds=0.2)
    model = CostModel(work, KNATIVE).predict((1, 10, 100), 4, AWS_LAMBDA)
    simulated = simulate(work, KNATIVE, (1, 10, 100), 4, AWS_LAMBDA)
    assert simulated.calls == model.calls == 100 + 10 * 4 + 4 + 4
    assert simulated.dollars == pytest.approx(model.dollars)


def test_levels_end_one_after_the_other() -> None:
    work = Work(workers=100, parameters=SMALL, compute_seconds=0.2)
    simulated = simulate(work, KNATIVE, (1, 10, 100), 2, AWS_LAMBDA)
    assert list(simulated.ends) == [0, 1, 2, 3]
    assert sorted(simulated.ends.values()) == list(simulated.ends.values())
    assert simulated.ends[3] < simulated.seconds
    assert 0 < simulated.driver_busy < 1


def test_jitter_makes_a_step_slower_and_its_seed_decides_how_much() -> None:
    work = Work(workers=100, parameters=SMALL, compute_seconds=0.2)

    def run(seed: int, jitter: float = 0.3) -> float:
        return simulate(work, KNATIVE, (1, 10, 100), 1, AWS_LAMBDA, jitter=jitter, seed=seed).seconds

    assert run(1) == run(1) != run(2)
    # A step waits for the slowest of a hundred.
    assert min(run(seed) for seed in range(5)) > run(0, jitter=0.0)


def test_merge_calls_do_not_wait_behind_workers() -> None:
    # With one instance a group is merged as soon as it is in, so no merger's input lies about to the end.
    work = Work(workers=8, parameters=SMALL, compute_seconds=1.0, instances=1)
    simulated = simulate(work, KNATIVE, (1, 4, 8), 1, AWS_LAMBDA)
    assert simulated.ends[1] - simulated.ends[0] < 0.1
