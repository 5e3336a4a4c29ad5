"""What is said of batches beyond the data, and of groups that hold out another part than was asked for."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from helpers.commands import Shell, write_job
from helpers.jobs import tiny_job

from sapflow.data.advice import batch_warning, split_warning
from sapflow.data.manifest import Manifest


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


@pytest.mark.parametrize(
    ("changes", "samples", "said"),
    [
        ({}, 32, None),
        (
            {},
            31,
            "4 workers × 8 (spec.data.batchSize) are 32 samples at a time, and there are 31 to train on",
        ),
        ({"algorithm_localSteps": 3}, 95, "× 3 (spec.algorithm.localSteps) are 96 samples"),
        ({"algorithm_localSteps": 3}, 96, None),
        ({}, 3, "with nothing to do for 1 worker."),
        ({"algorithm_mode": "Async", "merge": None}, 31, "are 32 samples at a time"),
        ({"data_dropLast": True}, 31, None),
    ],
)
def test_a_batch_beyond_the_data_is_told(changes: dict[str, Any], samples: int, said: str | None) -> None:
    found = batch_warning(tiny_job(**changes), samples)
    assert found is None if said is None else found is not None and said in found


@pytest.mark.parametrize(
    ("validation", "grouped", "told"),
    [(20, True, False), (25, True, False), (40, True, True), (0, True, True), (0, False, False)],
)
def test_groups_far_from_the_fraction_are_told(validation: int, grouped: bool, told: bool) -> None:
    held = (validation,) if validation else ()
    manifest = Manifest("s", "classification", (2,), "float32", (), 2, (100 - validation,), held)
    found = split_warning(tiny_job(), manifest, grouped=grouped)
    assert (found is not None) == told
    if found is not None:
        assert f"{validation}.0% of the samples are held out where" in found
        assert "asks for 20.0%" in found


def test_validate_tells_both_and_the_part_that_groups_hold_out(tmp_path: Path, shell: Shell) -> None:
    rows = np.arange(60)
    frame = pandas.DataFrame({"x": rows + 0.5, "who": rows // 20, "label": rows % 2})
    frame.to_csv(tmp_path / "s.csv", index=False)
    fields = {"data_source": str(tmp_path / "s.csv"), "data_options": {"group": "who"}, "data_batchSize": 100}
    told = {}
    for seed in range(20):
        job = write_job(tmp_path / "job.yaml", **fields, algorithm_seed=seed)
        done = shell("validate", job, "--json")
        if done.code == 0:
            told[done.json["data"]["validationSamples"]] = seed
        else:
            # Of three groups a hash may well hold out all.
            assert "no sample to train on" in done.json["error"]["message"]
    assert set(told) >= {0, 20}
    job = write_job(tmp_path / "job.yaml", **fields, algorithm_seed=told[20])
    done = shell("validate", job)
    assert "40 samples, 20 held out (33.3%, whole groups), of 1" in done.out
    assert "split   WARNING: 33.3% of the samples are held out where" in done.out
    assert "batch   WARNING: 4 workers × 100 (spec.data.batchSize) are 400 samples" in done.out
    body = shell("validate", job, "--json").json
    assert body["data"]["validationShare"] == pytest.approx(1 / 3, abs=1e-5)
    assert len(body["warnings"]) == 2
