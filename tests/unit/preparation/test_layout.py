"""Which task prepared samples are for, and where they lie."""

import numpy as np
import pytest

from sapflow.data.manifest import Manifest
from sapflow.errors import DataError
from sapflow.preparation.census import Census, counted, merged
from sapflow.preparation.layout import Layout, layout_of
from sapflow.preparation.samples import Made, Samples


def samples(classes: tuple[str, ...] | None = None, width: int = 1) -> Samples:
    return Samples("numbers", ("a",), ("a",), (1,), "y", width, classes)


def census(*targets: list[float], held: int = 0) -> Census:
    found = []
    for number, each in enumerate(targets):
        nobody = np.arange(len(each)) < held
        made = Made(np.zeros((len(each), 1), np.float32), np.array(each), np.arange(len(each)), nobody, ())
        found.append(counted(made, number, None, []))
    return merged(found)


def layout(
    *targets: list[float], family: str | None = None, classes: tuple[str, ...] | None = None
) -> Layout:
    return layout_of(samples(classes), census(*targets), family)


def test_a_few_whole_numbers_that_come_again_are_classes_and_others_are_values() -> None:
    assert layout([0, 1, 1, 0, 2, 2]).manifest("s").task == "classification"
    assert layout([0.5, 1, 1, 0]).manifest("s").task == "regression"
    assert layout([0, 1, 1, 0], family="regression").manifest("s").task == "regression"


def test_encoded_classes_are_classes_with_their_names() -> None:
    manifest = layout([0, 1, 1], classes=("no", "yes")).manifest("s")
    assert (manifest.task, manifest.classes, manifest.class_names) == ("classification", 2, ("no", "yes"))
    assert manifest.target_statistics == {"counts": (1.0, 2.0)}


def test_the_manifest_is_one_that_training_reads() -> None:
    manifest = layout([0.5, 1.25], [3.5]).manifest("s")
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert manifest.train == (2, 1)
    assert manifest.target_statistics["mean"][0] == pytest.approx(1.75)


def test_each_partition_knows_its_first_block() -> None:
    found = layout([0.5, 1.25], [3.5], [1.5])
    assert [found.first_block("train", number) for number in range(4)] == [0, 1, 2, 3]
    assert [found.first_block("validation", number) for number in range(4)] == [0, 0, 0, 0]


def test_negative_labels_are_told_how_to_become_classes() -> None:
    with pytest.raises(DataError, match="method: Classes"):
        layout([-1, 1, 1, -1], family="classification")


def test_no_sample_to_train_on_is_told_with_why() -> None:
    with pytest.raises(DataError, match="no sample is left to train on: 2 are held out"):
        layout_of(samples(), census([0.5, 1.5], held=2), None)


def test_one_class_is_nothing_to_learn() -> None:
    with pytest.raises(DataError, match="one class only"):
        layout([0, 0], classes=("no",))
