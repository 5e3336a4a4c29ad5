"""What a worker reads of the data in a step, and what that moves: the forecast, never the tree."""

from dataclasses import replace

import pytest
from helpers.jobs import tiny_job

from sapflow.data.block_size import MAX_BLOCK_BYTES
from sapflow.data.manifest import Manifest
from sapflow.planning import choice, data_load, search, simulation, workload
from sapflow.planning.calibration import LevelTime
from sapflow.planning.constants import KNATIVE, LOCAL_DIRECTORY, LOCAL_MINIO, Constants
from sapflow.planning.cost_model import CostModel, Work
from sapflow.planning.workload import Size
from sapflow.quantities.prices import AWS_LAMBDA
from sapflow.spec.training_job import TrainingJob

FEATURES, SAMPLES = 21_300, 2_000
ROW = 4 * FEATURES + 4
WIDE = Manifest(
    "wide", "classification", (FEATURES,), "float32", (), 2, tuple([100] * (SAMPLES // 100)), (100,)
)
SIZE = Size(parameters=FEATURES + 1, averaged=0, slots=1, forward_flops=2 * FEATURES)


def job(workers: int = 4, **changes: object) -> TrainingJob:
    fields = {
        "workers": workers,
        "data_batchSize": 200 // workers,
        "algorithm_steps": 30,
        "merge_structure": None,
        "memory_worker": "256Mi",
    }
    return tiny_job(**(fields | changes))


@pytest.mark.parametrize("workers", [1, 2, 4, 8])
def test_an_epoch_moves_the_data_set_once_whatever_the_number_of_workers(workers: int) -> None:
    load = data_load.of(job(workers), WIDE)
    steps_per_epoch = SAMPLES // 200
    assert load.bytes * workers * steps_per_epoch == pytest.approx(ROW * SAMPLES)
    assert load.requests * steps_per_epoch == pytest.approx(ROW * SAMPLES / MAX_BLOCK_BYTES / workers + 1)


def test_data_that_instances_keep_is_read_once_by_each() -> None:
    # 170 MB fit half of a gibibyte: of 30 epochs the 4 workers read at most one each.
    kept = data_load.of(job(memory_worker="1Gi", algorithm_steps=300), WIDE)
    read = data_load.of(job(memory_worker="256Mi", algorithm_steps=300), WIDE)
    assert kept.bytes == pytest.approx(read.bytes * 4 / 30)
    # A job that ends before that reads no more than its epochs.
    short = data_load.of(job(memory_worker="1Gi", algorithm_steps=20), WIDE)
    assert short.bytes == pytest.approx(read.bytes)


def test_a_fixed_partition_that_an_instance_keeps_is_read_once() -> None:
    # A fourth of 170 MB fits half of 256 MiB, all of it does not.
    fixed = data_load.of(job(data_partition="Fixed", algorithm_steps=300), WIDE)
    shuffled = data_load.of(job(algorithm_steps=300), WIDE)
    assert fixed.bytes == pytest.approx(shuffled.bytes / 30)


def test_bytes_of_a_sample_are_those_of_its_features_and_its_target() -> None:
    pictures = replace(
        WIDE, shape=(3, 8, 8), dtype="uint8", task="regression", target_shape=(2,), classes=None
    )
    assert data_load.sample_bytes(pictures) == 3 * 64 + 8


@pytest.mark.parametrize("constants", [LOCAL_DIRECTORY, LOCAL_MINIO, KNATIVE])
@pytest.mark.parametrize("workers", [4, 20, 100])
def test_data_moves_the_forecast_and_not_the_tree(constants: Constants, workers: int) -> None:
    one = job(workers, data_batchSize=50)
    chosen = []
    for load in (None, data_load.of(one, WIDE)):
        work = workload.work_of(one, SIZE, constants, "local", None, load=load)
        chosen.append(choice.choose(one, work, constants, SIZE, choice.within_limits(one, 30)))
    without, with_data = chosen
    assert (with_data.structure, with_data.shards) == (without.structure, without.shards)
    more = with_data.prediction.parts["data"]
    assert more > 0
    assert with_data.prediction.seconds == pytest.approx(without.prediction.seconds + more, rel=1e-3)
    assert with_data.prediction.dollars >= without.prediction.dollars


def test_a_limit_counts_the_reading_of_data() -> None:
    one = job(limits_deadlineSeconds=2, limits_goal="LeastCost")
    slow = LOCAL_DIRECTORY.changed("slow", {"read": 2e-8})
    remaining = choice.within_limits(one, 30)
    allowed = []
    for load in (None, data_load.of(one, WIDE)):
        work = workload.work_of(one, SIZE, slow, "local", None, load=load)
        allowed.append(remaining.allows(search.candidate(work, LOCAL_DIRECTORY, AWS_LAMBDA, (1, 4), 1)))
    assert allowed == [True, False]


def test_the_simulation_reads_as_the_model_does() -> None:
    work = Work(workers=8, parameters=42_601, compute_seconds=0.01, data_seconds=0.2, instances=4)
    predicted = CostModel(work, LOCAL_MINIO).predict((1, 2, 8), 1, AWS_LAMBDA)
    simulated = simulation.simulate(work, LOCAL_MINIO, (1, 2, 8), 1, AWS_LAMBDA)
    assert simulated.seconds == pytest.approx(predicted.seconds, rel=0.05)
    assert predicted.parts["data"] == 0.2
    assert predicted.bottleneck in ("data", "waiting for instances")


def test_a_measured_level_tells_how_long_one_worker_waited_for_data() -> None:
    level = LevelTime(calls=4, seconds=4.0, slowest=1.2, phases={"compute": 2.0, "data": 0.8})
    assert level.data_seconds == pytest.approx(0.2)
