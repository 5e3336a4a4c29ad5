"""What is known of a job before it starts: its data's shape, its model's size, the memory it needs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.jobs import tiny_job

from sapflow.data import survey
from sapflow.data.blocks import Manifest
from sapflow.errors import DataError, SpecError
from sapflow.planning.extent import Extent
from sapflow.quantities import memory
from sapflow.spec.learning import DataSpec
from sapflow.training import estimate

STORE = "file:///nowhere"


def manifest(samples: int = 120, shape: tuple[int, ...] = (4,), classes: int = 3) -> Manifest:
    return Manifest("test", "classification", shape, "float32", (), classes, (samples,), (30,))


def test_a_survey_counts_as_the_cut_does() -> None:
    found = survey.survey(DataSpec(source="sklearn:digits", validation_fraction=0.2), STORE)
    assert found.complete
    assert (found.manifest.train_samples, found.manifest.validation_samples) == (1438, 359)
    assert (found.manifest.shape, found.manifest.classes) == ((64,), 10)


def test_a_survey_tells_values_from_classes(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((10, 4)), y=np.linspace(0, 1, 20).reshape(10, 2))
    found = survey.survey(DataSpec(source=str(tmp_path / "x.npz")), STORE)
    assert (found.manifest.task, found.manifest.outputs) == ("regression", 2)


def test_a_survey_of_a_large_source_stops_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "MAX_BYTES", 1000)
    found = survey.survey(DataSpec(source="synthetic:binary"), STORE)
    assert not found.complete
    assert found.manifest.train_samples < 10_000


def test_a_source_whose_samples_would_all_be_held_out_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((1, 4)), y=np.zeros(1, int))
    with pytest.raises(DataError, match=r"leaves no sample to train on; lower data\.validationFraction"):
        survey.survey(DataSpec(source=str(tmp_path / "x.npz"), validation_fraction=0.9), STORE)


@pytest.mark.parametrize(("workers", "held", "mapped"), [(1, 32, 8), (2, 16, 4), (4, 8, 2), (16, 4, 2)])
def test_a_worker_needs_memory_for_its_window_of_data(workers: int, held: int, mapped: int) -> None:
    """Blocks of 8 MiB from a store over the network: 4 of a single worker, half of one where ranks own no more."""
    blocks = Manifest("test", "classification", (2048,), "float32", (), 2, (1024,) * 8, ())
    storage = {"endpoint": "http://minio:9000", "bucket": "bucket"}
    fields: dict[str, Any] = {"workers": workers, "merge_structure": None, "data_batchSize": 1}
    needs = estimate.examine(tiny_job(storage=storage, **fields), blocks)
    assert needs.worker.parts["for blocks of data"] == held * memory.MIB + 4 * 2048
    from_a_folder = estimate.examine(tiny_job(**fields), blocks)
    assert from_a_folder.worker.parts["for blocks of data"] == mapped * memory.MIB + 4 * 2048


def test_parameters_are_counted_without_training() -> None:
    needs = estimate.examine(tiny_job(), manifest())
    assert needs.parameters == 4 * 8 + 8 + 8 * 3 + 3
    assert needs.worker.total >= memory.WORKER_BASE
    assert needs.merger.total >= memory.MERGER_BASE


def test_a_large_model_needs_the_memory_of_its_vectors() -> None:
    with pytest.raises(SpecError) as caught:
        estimate.examine(tiny_job(model_args={"hidden": [30_000, 30_000]}), manifest())
    fields = [field for field, _ in caught.value.problems]
    assert fields == ["spec.memory.worker", "spec.memory.merger"]
    assert "GiB needed at least" in caught.value.problems[0][1]


def test_averaged_state_counts_for_shards_and_mergers() -> None:
    staying: dict[str, Any] = {"algorithm_localSteps": 2, "model_args": {"hidden": [1000]}}
    travelling = {**staying, "algorithm_localState": "Average"}
    more = estimate.examine(tiny_job(**travelling), manifest()).merger.total
    less = estimate.examine(tiny_job(**staying), manifest()).merger.total
    assert more - less == 4 * 8003
    estimate.examine(tiny_job(**travelling, merge_shards=16), manifest())
    with pytest.raises(SpecError, match=r"spec\.merge\.shards: 8,003 elements"):
        estimate.examine(tiny_job(**staying, merge_shards=16), manifest())


@pytest.mark.parametrize(
    ("changes", "samples", "fits"),
    [
        ({"data_batchSize": 8}, 120, True),
        ({"data_batchSize": 8, "data_microBatchSize": 7}, 128, False),
        ({"data_batchSize": 1}, 120, False),
        ({"data_batchSize": 8}, 128 + 4, False),
        ({"data_batchSize": 8}, 128 + 8, True),
        ({"data_batchSize": 8, "algorithm_localSteps": 2}, 64 + 36, False),
    ],
)
def test_batches_of_one_are_refused_where_the_model_has_batch_statistics(
    changes: dict[str, Any], samples: int, fits: bool
) -> None:
    plain, with_statistics = tiny_job(**changes), tiny_job(**changes, model_args={"batchNorm": True})
    estimate.examine(plain, manifest(samples))
    if fits:
        estimate.examine(with_statistics, manifest(samples))
    else:
        with pytest.raises(
            SpecError, match=r"spec\.data\.batchSize: leaves a worker with a micro-batch of 1"
        ):
            estimate.examine(with_statistics, manifest(samples))


def test_an_extent_counts_steps_of_all_workers() -> None:
    extent = Extent.of(tiny_job(algorithm_steps=None, algorithm_epochs=3), 120)
    assert (extent.round_samples, extent.steps_per_epoch, extent.steps) == (32, 4, 12)
