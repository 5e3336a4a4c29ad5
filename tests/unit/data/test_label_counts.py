"""Labels by block: counted while the data is cut, and told where blocks differ markedly."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import Shell, write_job
from helpers.jobs import tiny_job

from sapflow.data import advice, survey
from sapflow.data.blocks import cut_blocks
from sapflow.data.label_counts import GROUPS, LABELS, LabelCounts, spread
from sapflow.data.manifest import Manifest
from sapflow.data.source import open_source
from sapflow.errors import CorruptObject
from sapflow.objects.stores.factory import open_store
from sapflow.spec.learning import DataSpec
from sapflow.tasks.classification import Classification
from sapflow.tasks.multilabel import MultiLabel
from sapflow.tasks.regression import Regression

WIDE = 6000
"""Float32 features of a sample: 8 MiB hold 349 samples, and four blocks of them are shuffled together."""


def write_source(path: Path, targets: np.ndarray, features: int = WIDE) -> Path:
    values = np.zeros((len(targets), features), np.float32)
    values[:, 0] = np.arange(len(targets)) + 0.5
    np.savez(path, x=values, y=targets)
    return path


def cut_of(path: Path, source: Path) -> Manifest:
    return cut_blocks(
        open_source(str(source), "npz"), open_store(str(path / "store")), "p/", validation_fraction=0.0, seed=0,
        block_bytes=4096,
    )  # fmt: skip


@pytest.mark.parametrize("sorted_by_class", [True, False])
def test_the_cut_counts_labels_by_block_and_a_sorted_source_differs(
    tmp_path: Path, sorted_by_class: bool
) -> None:
    targets = np.repeat(np.arange(4), 250)
    if not sorted_by_class:
        targets = np.random.default_rng(3).permutation(targets)
    manifest = cut_of(tmp_path, write_source(tmp_path / "x.npz", targets, features=8))
    assert len(manifest.label_counts) == len(manifest.train)
    assert [sum(row) for row in manifest.label_counts] == list(manifest.train)
    assert np.sum(manifest.label_counts, axis=0).tolist() == [250] * 4
    apart = spread(manifest.label_counts)
    assert apart > 0.4 if sorted_by_class else apart < 0.02
    again = Manifest.from_json(json.loads(json.dumps(manifest.to_json())))
    assert again.label_counts == manifest.label_counts


def test_counts_are_bounded_whatever_the_data() -> None:
    counts = LabelCounts(Classification)
    for block in range(3 * GROUPS + 1):
        counts.add(np.full(5, block % 1000))
    found = counts.finish()
    assert len(found) <= GROUPS
    assert max(map(len, found)) <= LABELS
    assert sum(map(sum, found)) == 5 * (3 * GROUPS + 1)


def test_several_labels_a_sample_count_by_column_and_values_do_not_count() -> None:
    labels, values = LabelCounts(MultiLabel), LabelCounts(Regression)
    rows = np.array([[1, 0, 1], [0, 0, 1]], np.float32)
    for counts in (labels, values):
        counts.add(rows)
    assert labels.finish() == ((1, 2),)
    assert values.finish() == ()


def test_what_blocks_differ_by_at_random_is_not_counted() -> None:
    table = np.random.default_rng(0).multinomial(40, [0.1] * 10, size=200)
    assert spread(table.tolist()) < 0.02
    assert spread([[5, 5]]) == 0.0
    assert spread([]) == 0.0
    assert spread([[100, 0], [0, 100]]) == pytest.approx(0.46, abs=0.05)


@pytest.mark.parametrize("wrong", [[[1], [1, 2]], [[-1]], ["ab"], [[0.5]], 7, [[1] * (LABELS + 1)]])
def test_counts_that_are_none_are_refused(tmp_path: Path, wrong: object) -> None:
    manifest = cut_of(tmp_path, write_source(tmp_path / "x.npz", np.arange(40) % 2, features=8))
    with pytest.raises(CorruptObject, match="label_counts"):
        Manifest.from_json(manifest.to_json() | {"label_counts": wrong})


def test_validate_warns_where_labels_come_sorted_and_loudly_with_local_steps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shell = Shell(capsys)
    ordered, mixed = np.repeat(np.arange(2), 1500), np.arange(3000) % 2
    for name, targets in (("sorted", ordered), ("mixed", mixed)):
        write_source(tmp_path / f"{name}.npz", targets)
    memory = {"memory_worker": "2Gi", "memory_merger": "1Gi"}
    told: dict[tuple[str, int], str] = {}
    for name in ("sorted", "mixed"):
        for steps in (1, 4):
            changes = {"data_source": str(tmp_path / f"{name}.npz"), "data_format": "npz", **memory}
            job = write_job(tmp_path / "job.yaml", **changes, algorithm_localSteps=steps)
            done = shell("validate", job)
            assert done.code == 0, done.err
            told[name, steps] = done.out
    assert "labels are not mixed" in told["sorted", 1]
    assert "WARNING" not in told["sorted", 1]
    assert "WARNING: labels are not mixed" in told["sorted", 4]
    assert "With spec.algorithm.localSteps workers learn from other labels" in told["sorted", 4]
    assert all("not mixed" not in told["mixed", steps] for steps in (1, 4))
    body = shell("validate", job, "--json").json
    assert "warnings" not in body


def test_a_survey_counts_what_the_cut_mixes(tmp_path: Path) -> None:
    source = write_source(tmp_path / "x.npz", np.repeat(np.arange(2), 1500))
    found = survey.survey(DataSpec(source=str(source), format="npz", batch_size=8), str(tmp_path))
    assert [sum(row) for row in found.manifest.label_counts] == [4 * 349, 4 * 349, 3000 - 8 * 349]
    assert advice.label_warning(tiny_job(), found.manifest) is not None
    loud = advice.label_warning(tiny_job(data_partition="Fixed"), found.manifest)
    assert loud is not None
    assert loud.startswith("WARNING: labels are not mixed")
    assert "With spec.data.partition: Fixed workers learn" in loud
