"""Samples handed over in Python: one name for the same samples, whatever holds them, and errors that say where."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from sapflow.data import in_memory
from sapflow.data.blocks import cut_blocks
from sapflow.data.chunks import Reading, Source
from sapflow.data.formats import npz
from sapflow.data.source import open_source
from sapflow.errors import DataError
from sapflow.objects.stores.factory import open_store

X = np.random.default_rng(5).normal(size=(500, 3))
Y = np.arange(500) % 3


def columns() -> dict[str, np.ndarray]:
    return {"a": X[:, 0], "label": Y, "b": X[:, 1], "c": X[:, 2]}


class Map(Dataset[Any]):
    """A map-style Dataset that counts how often it was read."""

    def __init__(self) -> None:
        self.reads = 0

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        self.reads += 1
        return torch.from_numpy(X[index]), int(Y[index])


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return zip(X, Y, strict=True)


HOLDERS: dict[str, tuple[Any, dict[str, object]]] = {
    "arrays": ((X, Y), {}),
    "lists": ([X.tolist(), Y.tolist()], {}),
    "a dict": ({"features": X, "labels": Y}, {}),
    "tensors": ((torch.from_numpy(X), torch.from_numpy(Y)), {}),
    "a DataFrame": (pandas.DataFrame(columns()), {"target": "label"}),
    "an Arrow table": (pyarrow.table(columns()), {"target": 1}),
    "a Dataset": (Map(), {}),
    "an IterableDataset": (Stream(), {}),
    "tensors in a Dataset": (TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)), {}),
}


def name_of(given: object, options: dict[str, object] | None = None) -> str:
    with in_memory.named(in_memory.source(given, options or {}), None) as found:
        return found.name


def task_of(source: Source) -> str:
    reading = Reading(source)
    list(reading)
    return reading.task.name


def refused(given: object, options: dict[str, object] | None = None) -> str:
    with pytest.raises(DataError) as caught:
        name_of(given, options)
    return str(caught.value)


@pytest.mark.parametrize("kind", HOLDERS)
def test_the_same_samples_have_one_name_and_the_same_blocks_as_a_file(kind: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "samples.npz", x=X, y=Y)
    store = open_store(str(tmp_path / "store"))
    of_file = cut_blocks(
        open_source(str(tmp_path / "samples.npz")), store, "file/", validation_fraction=0.2, seed=1
    )
    given, options = HOLDERS[kind]
    with in_memory.named(in_memory.source(given, options), tmp_path / "spool") as found:
        assert found.name == name_of((X, Y))
        manifest = cut_blocks(found, store, "memory/", validation_fraction=0.2, seed=1)
    assert replace(manifest, source="", columns=()) == replace(of_file, source="")
    assert manifest.columns == (("a", "b", "c") if kind in ("a DataFrame", "an Arrow table") else ())
    for part in ("train/0", "validation/0"):
        assert bytes(store.read(f"memory/{part}")) == bytes(store.read(f"file/{part}"))


def test_other_samples_another_order_and_other_parts_have_other_names() -> None:
    changed = X.copy()
    changed[7, 1] += 1e-3
    split = {"x_train": X[:400], "y_train": Y[:400], "x_test": X[400:], "y_test": Y[400:]}
    found = [name_of(each) for each in ((X, Y), (changed, Y), (X[::-1], Y[::-1]), (X, Y + 0.5), split)]
    assert len(set(found)) == len(found)


def test_a_dataset_is_read_once_for_name_and_blocks(tmp_path: Path) -> None:
    dataset, store = Map(), open_store(str(tmp_path / "store"))
    with in_memory.named(in_memory.source(dataset, {}), tmp_path) as found:
        manifest = cut_blocks(found, store, "data/", validation_fraction=0.0, seed=0)
    assert manifest.train_samples == dataset.reads == len(X)
    assert [path.name for path in tmp_path.iterdir()] == ["store"], (
        "its copy has no name and goes with its use"
    )


def test_a_test_set_beside_the_training_set_validates(tmp_path: Path) -> None:
    split = {"x_train": X[:400], "y_train": Y[:400], "x_test": X[400:], "y_test": Y[400:]}
    with in_memory.named(in_memory.source(split, {}), None) as found:
        manifest = cut_blocks(
            found, open_store(str(tmp_path / "store")), "data/", validation_fraction=0.5, seed=0
        )
    assert (manifest.train_samples, manifest.validation_samples) == (400, 100)


def test_options_are_those_of_files() -> None:
    frame = pandas.DataFrame({"a": [1.0, 2.0], "species": ["rose", "oak"]})
    options = {"target": "species", "classes": ["oak", "rose"]}
    with in_memory.named(in_memory.source(frame, options), None) as found:
        (chunk,) = found.read()
    assert chunk.targets.tolist() == [1, 0]
    assert in_memory.source((X, Y), {"task": "Regression"}).task == "regression"


@pytest.mark.parametrize("kind", ["an array", "a Dataset", "a DataFrame"])
def test_several_labels_a_sample_keep_their_task_on_every_way(kind: str, tmp_path: Path) -> None:
    labels = np.stack([Y > 0, Y > 1], axis=1).astype(np.int64)
    frame = pandas.DataFrame(
        {**{name: X[:, i] for i, name in enumerate("abc")}, "p": labels[:, 0], "q": labels[:, 1]}
    )
    holders: dict[str, tuple[Any, dict[str, object]]] = {
        "an array": ((X, labels), {}),
        "a Dataset": (TensorDataset(torch.from_numpy(X), torch.from_numpy(labels)), {}),
        "a DataFrame": (frame, {"targets": ["p", "q"]}),
    }
    given, options = holders[kind]
    with in_memory.named(in_memory.source(given, options), tmp_path) as found:
        assert found.name == name_of((X, labels))
        task = task_of(found)
    assert task == task_of(in_memory.source((X, labels), {}))
    assert task != task_of(in_memory.source((X, labels * 1.5), {}))


def test_pandas_own_types_of_numbers_are_numbers() -> None:
    frame = pandas.DataFrame(columns()).astype({"a": "Float64", "label": "Int64"})
    assert name_of(frame, {"target": "label"}) == name_of((X, Y))


def test_samples_too_many_for_one_piece_are_all_there() -> None:
    wide = np.zeros((70, 10_000), np.float32)
    wide[:, 0] = np.arange(70)
    for given in ((wide, np.arange(70) % 2), TensorDataset(torch.from_numpy(wide), torch.arange(70) % 2)):
        with in_memory.named(in_memory.source(given, {}), None) as found:
            chunks = list(found.read())
        assert len(chunks) > 1
        assert np.concatenate([each.features[:, 0] for each in chunks]).tolist() == list(range(70))


class Odd(Dataset[Any]):
    """Gives one sample after the other, whatever they are."""

    def __init__(self, *samples: object) -> None:
        self._samples = samples

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> object:
        return self._samples[index]


@pytest.mark.parametrize(
    ("given", "options", "words"),
    [
        ((X, Y[:5]), {}, "array x: 500 samples but 5 targets"),
        ((X[:, 0], Y), {}, "array x: features must be [samples, …]"),
        ((np.array([["a"]]), [1]), {}, "array x: features are <U1; they must be numbers"),
        (([[1.0], [1.0, 2.0]], [0, 1]), {}, "a list is no array of numbers"),
        ((np.array([[np.nan]]), [1]), {}, "array x: row 0 (the first is 0) has the feature nan"),
        ({"x": X}, {}, "the mapping has the arrays x; a pair such as x, y"),
        (
            pandas.DataFrame(columns()),
            {"target": "none"},
            "the DataFrame has no column 'none' for the target",
        ),
        (
            pandas.DataFrame({"a": [1.0, None], "b": [0, 1]}),
            {},
            "the DataFrame, row 1 (the first is 0), column a",
        ),
        (pandas.DataFrame({"a": ["x"], "b": [0]}), {}, "features must be numbers"),
        (
            pyarrow.table({"a": [1.0, None], "b": [0, 1]}),
            {},
            "the Arrow table, row 1 (the first is 0), column a",
        ),
        (Odd({"x": 1}), {}, "sample 0 of the Odd is a dict; samples must be pairs"),
        (
            Odd((X[0], 1), (X[0, :2], 1)),
            {},
            "sample 1 of the Odd has shape [2], target [], where others have [3], []",
        ),
        (Odd((1.0, 1)), {}, "sample 0 of the Odd has features without a dimension"),
        (Odd(), {}, "the Odd holds no samples"),
        (DataLoader(Map()), {}, "a DataLoader gives batches, and Sapflow makes its own"),
        (X, {}, "ndarray is no kind of data"),
        (7, {}, "int is no kind of data"),
        ((X, Y), {"target": 1}, "options of arrays: target"),
        ((X, Y), {"features": "x"}, "features and targets name a pair"),
    ],
)
def test_what_does_not_fit_is_said_with_its_place(
    given: object, options: dict[str, object], words: str
) -> None:
    assert words in refused(given, options)


def test_a_name_of_samples_leads_nowhere_but_to_the_store_where_they_were_cut() -> None:
    with pytest.raises(DataError, match=r"memory:0123 was handed over in Python.*numpy\.savez"):
        open_source("memory:0123")


def test_arrays_are_named_as_in_an_archive() -> None:
    assert npz.pairs_among(["X", "y"], npz.NpzOptions(), "it") == [("train", "X", "y")]


def test_words_are_labels_whoever_holds_them(tmp_path: Path) -> None:
    words = np.array(["oak", "rose", "elm"])[Y]
    frame = pandas.DataFrame({**columns(), "label": words})
    holders: list[tuple[Any, dict[str, object]]] = [
        ((X, words), {}),
        ((X, words.tolist()), {}),
        ({"x": X, "y": words}, {"classes": ["elm", "oak", "rose"]}),
        (frame, {"target": "label"}),
        (frame.astype({"label": "category"}), {"target": "label"}),
        (pyarrow.Table.from_pandas(frame.astype({"label": "category"})), {"target": "label"}),
        (Pairs(words), {}),
    ]
    for given, options in holders:
        with in_memory.named(in_memory.source(given, options), tmp_path / "spool") as found:
            reading = Reading(found)
            targets = np.concatenate([chunk.targets for chunk in reading])
        assert reading.class_names == ("elm", "oak", "rose")
        assert [reading.class_names[each] for each in targets] == words.tolist()


class Pairs(Dataset[Any]):
    def __init__(self, words: np.ndarray) -> None:
        self._words = words

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, index: int) -> tuple[np.ndarray, str]:
        return X[index], str(self._words[index])


def test_a_column_that_does_not_fit_is_named() -> None:
    frame = pandas.DataFrame({**columns(), "city": ["Ulm"] * len(X), "day": pandas.Timestamp("2026-01-01")})
    assert "the DataFrame, column city: a column of str, such as 'Ulm'; features must be numbers" in refused(
        frame, {"target": "label"}
    )
    assert "the DataFrame, column day: a column of type datetime64" in refused(
        frame.drop(columns="city"), {"target": "label"}
    )
    assert "column day: a column of type datetime64" in refused(frame.drop(columns="city"), {"target": "day"})
    twice = pandas.DataFrame(np.ones((4, 3)), columns=["a", "label", "label"])
    assert "two columns of the name 'label'" in refused(twice, {"target": "label"})


def test_labels_of_another_kind_are_listed_as_words() -> None:
    signs = np.where(Y > 0, 1, -1)
    assert "labels of another kind are listed in options: classes: ['-1', '1']" in refused((X, signs))
    for given in (signs, signs.astype(float)):
        with in_memory.named(in_memory.source((X, given), {"classes": ["-1", "1"]}), None) as found:
            assert np.concatenate([chunk.targets for chunk in found.read()]).tolist() == (Y > 0).tolist()


def test_samples_that_differ_below_float32_have_other_names() -> None:
    seconds = 1.7e9 + np.arange(500.0)
    assert name_of((seconds[:, None], Y)) != name_of((seconds[:, None] + 16, Y))
