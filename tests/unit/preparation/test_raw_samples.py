"""Samples of the columns after the last step, and rows that give none."""

import numpy as np
import pytest

from sapflow.preparation.batch import Batch
from sapflow.preparation.samples import made, pieces, samples_of
from sapflow.preparation.step import ColumnType, StepProblem

NUMBER = ColumnType("Number")


def test_features_are_all_columns_but_the_target_in_their_order_under_their_names() -> None:
    schema = {
        "a": NUMBER,
        "late": ColumnType("Class", names=("no", "yes")),
        "c": ColumnType("Number", 2, ("u", "v")),
    }
    samples = samples_of(schema, "late")
    assert samples.names == ("a", "u", "v")
    assert samples.classes == ("no", "yes")
    columns = {"a": np.array([1.5, 2]), "late": np.array([0.0, 1]), "c": np.array([[0.0, 1], [1, 0]])}
    found = made(samples, Batch(columns, np.arange(2)))
    assert found.features.dtype == np.float32
    assert found.features.tolist() == [[1.5, 0, 1], [2, 1, 0]]
    assert found.targets.tolist() == [0, 1]


def test_a_row_without_a_finite_value_is_a_bad_one_with_its_number_column_and_remedy() -> None:
    columns = {"a": np.array([1.0, np.nan, 3, 1e300]), "y": np.array([1.0, 2, np.nan, 4])}
    found = made(samples_of({"a": NUMBER, "y": NUMBER}, "y"), Batch(columns, np.array([10, 11, 12, 13])))
    assert found.numbers.tolist() == [10]
    told = {
        (number, each.column): value
        for each in found.bad
        for number, value in zip(each.numbers, each.values, strict=True)
    }
    assert told == {(11, "a"): "missing", (13, "a"): "1e+300", (12, "y"): "missing"}
    assert all("dropRows" in each.reason for each in found.bad)


def test_a_number_is_bad_from_where_it_is_rounded_to_infinity() -> None:
    edge = 2.0**128 - 2.0**103
    numbers = np.array([np.nextafter(edge, 0), edge, -edge, -np.nextafter(edge, 0), np.inf, np.nan])
    with np.errstate(over="ignore"):
        finite = np.isfinite(numbers.astype(np.float32))
    samples = samples_of({"a": NUMBER, "y": NUMBER}, "y")
    for columns in ({"a": numbers, "y": np.zeros(6)}, {"a": np.zeros(6), "y": numbers}):
        assert made(samples, Batch(columns, np.arange(6))).numbers.tolist() == np.flatnonzero(finite).tolist()


def test_without_features_the_same_rows_are_found_good() -> None:
    columns = {"a": np.array([1.0, np.nan, 3]), "y": np.array([1.0, 2, 4])}
    samples = samples_of({"a": NUMBER, "y": NUMBER}, "y")
    found, short = (made(samples, Batch(columns, np.arange(3)), features=each) for each in (True, False))
    assert short.features.shape == (0, 1)
    assert short.bad == found.bad
    for name in ("targets", "numbers", "held"):
        assert getattr(short, name).tolist() == getattr(found, name).tolist()


def test_no_rows_give_no_samples() -> None:
    samples = samples_of({"a": NUMBER, "y": NUMBER}, "y")
    found = made(samples, Batch({"a": np.zeros(0), "y": np.zeros(0)}, np.arange(0)))
    assert found.features.shape == (0, 1)


@pytest.mark.parametrize(
    ("kind", "remedy"),
    [("Text", "encode"), ("Time", "dates"), ("Image", "image")],
    ids=["text", "time", "image"],
)
def test_a_feature_that_is_no_number_is_named_with_a_step_that_helps(kind: str, remedy: str) -> None:
    with pytest.raises(StepProblem, match=f"'c' is {kind} after the last step.*{remedy}"):
        samples_of({"a": NUMBER, "c": ColumnType(kind), "y": NUMBER}, "y")


def test_a_target_of_words_is_told_how_to_become_classes() -> None:
    with pytest.raises(StepProblem, match="encode it with method: Classes"):
        samples_of({"a": NUMBER, "y": ColumnType("Text")}, "y")


def test_images_are_samples_with_their_channels_first() -> None:
    samples = samples_of({"image": ColumnType("Image", shape=(2, 3, 1)), "y": NUMBER}, "y")
    images = np.arange(12, dtype=np.uint8).reshape(2, 2, 3, 1)
    found = made(samples, Batch({"image": images, "y": np.zeros(2)}, np.arange(2)))
    assert samples.shape == (1, 2, 3)
    assert found.features.dtype == np.uint8
    assert found.features.reshape(2, -1).tolist() == images.reshape(2, -1).tolist()


def test_images_beside_other_features_are_refused() -> None:
    schema = {"image": ColumnType("Image", shape=(2, 3, 1)), "a": NUMBER, "y": NUMBER}
    with pytest.raises(StepProblem, match="a sample by itself"):
        samples_of(schema, "y")


def test_pieces_of_a_batch_have_all_of_its_rows_in_order() -> None:
    batch = Batch({"a": np.arange(10.0)}, np.arange(10))
    found = pieces(batch, 4)
    assert [len(each) for each in found] == [4, 4, 2]
    assert np.concatenate([each.numbers for each in found]).tolist() == list(range(10))
