"""Bundled, synthetic and generated sets, the finding of files, and the checks that all samples pass."""

import sys
from pathlib import Path

import numpy as np
import pytest

from sapflow.data import bundled
from sapflow.data.chunks import Chunk, Reading, Source
from sapflow.data.source import open_source
from sapflow.errors import DataError


def whole(source: Source, part: str = "train") -> tuple[np.ndarray, np.ndarray]:
    chunks = [chunk for chunk in source.read() if chunk.part == part]
    return np.concatenate([c.features for c in chunks]), np.concatenate([c.targets for c in chunks])


def refused(source: str, format: str | None = None, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        list(open_source(source, format, options=options).read())
    return str(caught.value)


def checked(
    *chunks: tuple[object, object], task: str | None = None, classes: int | None = None
) -> list[Chunk]:
    made = [Chunk(np.asarray(x), np.asarray(y), f"file {i}", 100) for i, (x, y) in enumerate(chunks)]
    return list(Source("set", lambda: iter(made), task, classes).read())


@pytest.mark.parametrize(
    ("name", "shape", "task", "kinds"),
    [
        ("digits", (1797, 64), "classification", 10),
        ("iris", (150, 4), "classification", 3),
        ("wine", (178, 13), "classification", 3),
        ("breast_cancer", (569, 30), "classification", 2),
    ],
)
def test_bundled_sets_of_classes(name: str, shape: tuple[int, int], task: str, kinds: int) -> None:
    source = open_source(f"sklearn:{name}")
    features, targets = whole(source)
    assert features.shape == shape
    assert source.task == task
    assert targets.dtype == np.int32
    assert len(np.unique(targets)) == kinds


def test_bundled_sets_of_values() -> None:
    assert whole(open_source("sklearn:diabetes"))[1].shape == (442,)
    features, targets = whole(open_source("sklearn:linnerud"))
    assert features.shape == targets.shape == (20, 3)
    assert targets.dtype == np.float32


def test_unknown_bundled_set_lists_the_allowed() -> None:
    message = refused("sklearn:cifar")
    assert "digits, iris, wine, breast_cancer, diabetes, linnerud" in message


def test_bundled_sets_take_no_options() -> None:
    assert "Allowed options: none" in refused("sklearn:iris", noise=1)


def test_missing_scikit_learn_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(DataError, match=r"sapflow\[data\]"):
        bundled.load("iris")


def test_synthetic_samples_are_binary_balanced_and_of_any_number() -> None:
    features, labels = whole(open_source("synthetic:binary", options={"samples": 20_001}))
    assert features.shape == (20_001, 20)
    assert features.dtype == np.uint8
    assert set(np.unique(features)) == {0, 1}
    assert abs(features.mean() - 0.5) < 0.01
    assert abs(labels.mean() - 0.5) < 0.05


def test_synthetic_chunks_do_not_depend_on_how_many_follow() -> None:
    few, many = (whole(open_source(f"synthetic:binary?samples={n}&seed=3")) for n in (8192, 30_000))
    np.testing.assert_array_equal(few[0], many[0][:8192])
    np.testing.assert_array_equal(few[1], many[1][:8192])


def test_synthetic_seeds_differ() -> None:
    one, two = (
        whole(open_source("synthetic:binary", options={"samples": 999, "seed": s}))[0] for s in (1, 2)
    )
    assert (one != two).any()


def test_the_teacher_can_be_learnt_and_noise_flips_that_part_of_labels() -> None:
    options = {"samples": 50_000, "features": 12}
    clean = whole(open_source("synthetic:binary", options={**options, "noise": 0}))
    noisy = whole(open_source("synthetic:binary", options={**options, "noise": 0.1}))
    np.testing.assert_array_equal(clean[0], noisy[0])
    assert abs((clean[1] != noisy[1]).mean() - 0.1) < 0.01
    # 4,096 different samples: without noise the same features always have the same label.
    codes = clean[0] @ (1 << np.arange(12))
    labels = np.full(4096, -1)
    labels[codes] = clean[1]
    np.testing.assert_array_equal(labels[codes], clean[1])


def test_random_labels_have_nothing_to_do_with_features() -> None:
    options = {"samples": 50_000, "features": 2, "labels": "Random"}
    features, labels = whole(open_source("synthetic:binary", options=options))
    for code in range(4):
        assert abs(labels[features @ [1, 2] == code].mean() - 0.5) < 0.05


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"samples": 0}, "samples"),
        ({"noise": 0.7}, "noise"),
        ({"labels": "Teachers"}, "labels"),
        ({"sample": 5}, "sample: .*samples, features, noise, labels, seed"),
    ],
)
def test_wrong_synthetic_options_are_named(options: dict[str, object], named: str) -> None:
    with pytest.raises(DataError, match=named):
        open_source("synthetic:binary", options=options)


def test_unknown_synthetic_and_generated_sets_are_refused() -> None:
    assert "synthetic:binary" in refused("synthetic:ternary")
    assert "generated:mnist" in refused("generated:imagenet")


@pytest.mark.parametrize(("name", "shape"), [("mnist", (1, 28, 28)), ("cifar", (3, 32, 32))])
def test_generated_sets_come_through_the_real_readers(name: str, shape: tuple[int, ...]) -> None:
    source = open_source(f"generated:{name}?samples=60&seed=1")
    assert source.brings_validation
    features, labels = whole(source)
    assert features.shape == (60, *shape)
    assert features.dtype == np.uint8
    assert labels.max() < 10
    assert len(whole(source, "validation")[0]) == 10


def test_missing_file_says_what_a_source_is(tmp_path: Path) -> None:
    assert "s3://bucket/prefix" in refused(str(tmp_path / "none.csv"))
    assert "no file at" in refused(f"{tmp_path}/*.csv")


def test_empty_folder_and_empty_file_are_refused(tmp_path: Path) -> None:
    assert "holds no files that are read" in refused(str(tmp_path))
    (tmp_path / "a.csv").touch()
    assert "a.csv is empty" in refused(str(tmp_path))


def test_empty_parts_of_tables_are_left_out_and_other_empty_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "part-0.csv").touch()
    (tmp_path / "part-1.csv").write_text("1.5,1\n")
    assert whole(open_source(str(tmp_path)))[0].tolist() == [[1.5]]
    (folder := tmp_path / "arrays").mkdir()
    np.savez(folder / "a.npz", x=[[1.0]], y=[0])
    (folder / "b.npz").touch()
    assert "b.npz is empty" in refused(str(folder))


def test_a_folder_of_folders_and_of_partitions_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert "holds no files but folders (a): name one of them" in refused(str(tmp_path))
    (tmp_path / "year=2020").mkdir()
    (tmp_path / "_SUCCESS").touch()
    assert "holds partitions (a, year=2020)" in refused(str(tmp_path))


def test_hidden_files_are_read_where_a_pattern_asks_for_them(tmp_path: Path) -> None:
    (tmp_path / "_a.csv").write_text("1.5,1\n")
    (tmp_path / "b.csv").write_text("2.5,1\n")
    assert whole(open_source(f"{tmp_path}/*.csv"))[0].tolist() == [[2.5]]
    assert whole(open_source(f"{tmp_path}/_*.csv"))[0].tolist() == [[1.5]]
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / ".ipynb_checkpoints" / "b.csv").write_text("9.5,1\n")
    assert whole(open_source(f"{tmp_path}/**/*.csv"))[0].tolist() == [[2.5]]


def test_unknown_format_lists_the_allowed(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1,2\n")
    assert "npz, idx, cifar, csv, parquet" in refused(str(tmp_path), "hdf5")
    (tmp_path / "a.csv").rename(tmp_path / "a.txt")
    assert "data.format" in refused(str(tmp_path))
    features, _ = whole(open_source(str(tmp_path / "a.txt"), "csv"))
    assert features.tolist() == [[1]]


def test_a_folder_of_two_formats_needs_the_format(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1,2\n")
    np.savez(tmp_path / "b.npz", x=[[1.0]], y=[0])
    assert "csv and npz" in refused(str(tmp_path))


def test_files_are_found_by_file_url_folder_and_glob_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv"):
        (tmp_path / name).write_text(f"{ord(name[0])},1\n")
    (tmp_path / "README.md").write_text("about")
    (tmp_path / ".hidden.csv").write_text("broken")
    for source in (str(tmp_path), f"file://{tmp_path}", f"{tmp_path}/*.csv"):
        assert whole(open_source(source))[0].ravel().tolist() == [97, 98]


def test_features_become_bytes_where_exact_and_single_floats_else() -> None:
    kinds = [
        (np.array([[True]]), np.uint8),
        (np.array([[16.0]]), np.uint8),
        (np.array([[255]]), np.uint8),
        (np.array([[256]]), np.float32),
        (np.array([[-1]]), np.float32),
        (np.array([[0.5]]), np.float32),
        (np.array([[3]], dtype=">i2"), np.uint8),
    ]
    for features, kind in kinds:
        (chunk,) = checked((features, [0]))
        assert chunk.features.dtype == kind
        assert chunk.features.tolist() == features.tolist()


def test_targets_decide_the_task_unless_it_is_given() -> None:
    assert checked(([[1]], [3]))[0].targets.dtype == np.int32
    assert checked(([[1]], [3.0]))[0].targets.dtype == np.float32
    assert checked(([[1]], [3.0]), task="classification")[0].targets.dtype == np.int32
    assert checked(([[1]], [3]), task="regression")[0].targets.dtype == np.float32
    assert checked(([[1]], [[3]]))[0].targets.shape == (1,)


@pytest.mark.parametrize(
    ("features", "targets", "message"),
    [
        ([[1, 2]], [0, 1], "1 samples but 2 targets"),
        ([1, 2], [0, 1], "must be"),
        ([[1.0], [np.nan]], [0, 1], r"row 101 .*nan"),
        ([[1.0], [2.0], [np.inf]], [0, 1, 0], r"row 102 .*inf"),
        ([[1e300]], [0], "float32"),
        ([["a"]], [0], "must be numbers"),
        ([[1], [1]], [0, -1], r"row 101 .*label -1"),
        ([[1]], [70_000], "Regression"),
        ([[1]], [[1, 2]], "one number each|class number each"),
        ([[1]], [[[1]]], "targets must be"),
        ([[1.0]], [np.nan], r"row 100 .*target nan"),
        (np.empty((1, 0)), [0], "0 values"),
    ],
)
def test_bad_samples_are_refused_with_their_row(features: object, targets: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        checked((features, targets))


def test_labels_must_be_whole_and_below_the_number_of_classes() -> None:
    with pytest.raises(DataError, match=r"row 101 .*1\.5"):
        checked(([[1], [1]], [1.0, 1.5]), task="classification")
    with pytest.raises(DataError, match=r"row 101 .*label 3; labels go from 0 to 2"):
        checked(([[1], [1]], [2, 3]), classes=3)


def test_mixed_shapes_between_files_are_refused() -> None:
    with pytest.raises(DataError, match=r"file 1: .*\[3\].*file 0 has \[2\]"):
        checked(([[1, 2]], [0]), ([[1, 2, 3]], [0]))
    with pytest.raises(DataError, match="file 1"):
        checked(([[1]], [[0.0, 1.0]]), ([[1]], [1.0]))


def test_a_source_without_samples_is_refused() -> None:
    with pytest.raises(DataError, match="holds no samples"):
        checked((np.empty((0, 2)), np.empty(0)))


def test_a_sample_too_large_for_a_block_is_refused() -> None:
    with pytest.raises(DataError, match="fit a block"):
        checked((np.zeros((1, 2_000_001), np.uint8), [0]))


def task_of(*chunks: tuple[object, object], task: str | None = None) -> tuple[str, np.ndarray]:
    """The task that a source's samples are for, and their targets."""
    made = [Chunk(np.asarray(x), np.asarray(y), f"file {i}", 100) for i, (x, y) in enumerate(chunks)]
    reading = Reading(Source("set", lambda: iter(made), task))
    read = list(reading)
    return reading.task.name, np.concatenate([chunk.targets for chunk in read])


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int64, np.float32, np.float64])
def test_several_targets_of_0_and_1_are_labels_whatever_their_type(kind: type) -> None:
    name, targets = task_of((X, np.array([[0, 1], [1, 1]], kind)))
    assert (name, targets.tolist()) == ("multilabel", [[0, 1], [1, 1]])
    assert targets.dtype == np.float32


@pytest.mark.parametrize(
    ("targets", "family", "name"),
    [
        ([0, 1], None, "classification"),
        ([0.0, 1.0], None, "regression"),
        ([[0], [1]], None, "classification"),
        ([[0.5, 1], [0, 1]], None, "regression"),
        ([[0, 1], [1, 1]], "regression", "regression"),
        ([[0.0, 1], [1, 1]], "classification", "multilabel"),
        ([0.0, 1.0], "classification", "classification"),
    ],
)
def test_the_task_follows_from_the_targets_unless_it_is_said(
    targets: list[object], family: str | None, name: str
) -> None:
    assert task_of((X, targets), task=family)[0] == name


@pytest.mark.parametrize(
    ("targets", "name"),
    [
        (np.arange(60) % 3 + 0.0, "classification"),
        (np.arange(60) % 2 * 1.0 + 1, "classification"),
        (np.arange(60) % 3 + 0.5, "regression"),
        (np.arange(60) * 1.0, "regression"),
        (np.arange(60) % 3 * 1000.0, "regression"),
        (np.arange(60) % 21 * 1.0, "regression"),
        (np.array([1.0, 2.0, 3.0]), "regression"),
    ],
)
def test_whole_floats_are_classes_if_they_are_few_and_come_again(targets: np.ndarray, name: str) -> None:
    features = np.ones((len(targets), 1))
    assert task_of((features, targets))[0] == name
    assert task_of((features, targets), task="regression")[0] == "regression"


@pytest.mark.parametrize("second", [[[0.5, 1], [0, 1]], [[0, 2], [0, 1]]])
def test_labels_that_go_on_with_other_values_are_refused_with_the_row(second: list[list[float]]) -> None:
    with pytest.raises(DataError, match=r"file 1: row 100 .* each 0 or 1; .*task: Regression learns"):
        task_of((X, [[0.0, 1], [1, 1]]), (X, second))
    assert task_of((X, [[0.0, 1], [1, 1]]), (X, second), task="regression")[0] == "regression"


def test_a_number_of_classes_does_not_go_with_several_labels() -> None:
    with pytest.raises(DataError, match="leave it out to learn 2 labels"):
        checked((X, [[0, 1], [1, 1]]), classes=3)


X = [[1.0], [2.0]]
