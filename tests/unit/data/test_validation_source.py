"""A source of its own for validation: its columns, its classes, its scaling, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from helpers.jobs import tiny_job

from sapflow.client.session import Session
from sapflow.data import cut, fingerprint, survey
from sapflow.data.blocks import cut_blocks
from sapflow.data.generate import ensure_cifar, ensure_mnist
from sapflow.data.manifest import Manifest, block_key, decode_block, manifest_key
from sapflow.data.source import open_data
from sapflow.errors import DataError, InputsChanged
from sapflow.objects import keys
from sapflow.objects.stores.factory import open_store
from sapflow.objects.stores.protocol import Store
from sapflow.spec.learning import DataSpec

RNG = np.random.default_rng(5)
A, B = RNG.normal(size=60).round(3), (RNG.normal(size=60) * 10).round(3)
WORDS = np.array(["no", "yes", "maybe"])[np.arange(60) % 3]
TRAIN = pandas.DataFrame({"a": A[:40], "b": B[:40], "label": WORDS[:40]})
HELD = pandas.DataFrame({"label": WORDS[40:], "b": B[40:], "a": A[40:]})
"""Other rows, their columns in another order."""


def write(frame: pandas.DataFrame, path: Path, **how: Any) -> str:
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, **how)
    return str(path)


def cut_data(store: Store, **fields: Any) -> Manifest:
    data = DataSpec.model_validate(fields)
    return cut_blocks(
        open_data(data), store, "p/", validation_fraction=data.validation_fraction, seed=0, split=data.split
    )


def refused(store: Store, **fields: Any) -> str:
    """What both the cut and the survey say."""
    with pytest.raises(DataError) as caught:
        cut_data(store, **fields)
    with pytest.raises(DataError) as surveyed:
        survey.survey(DataSpec.model_validate(fields), "")
    assert str(surveyed.value) == f"spec.data: {caught.value}"
    return str(caught.value)


def samples(store: Store, manifest: Manifest, part: Any) -> tuple[np.ndarray, np.ndarray]:
    key = block_key("p/", part, 0)
    return decode_block(store.read(key), key, manifest, manifest.blocks(part)[0])


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize("other", ["csv", "parquet"])
def test_columns_are_matched_by_name_and_labels_by_word(
    ending: str, other: str, directory_store: Store, tmp_path: Path
) -> None:
    source, held = write(TRAIN, tmp_path / f"t.{ending}"), write(HELD, tmp_path / f"v.{other}")
    fields: dict[str, Any] = {
        "source": source,
        "validation": {"source": held},
        "options": {"target": "label"},
    }
    manifest = cut_data(directory_store, **fields)
    assert (manifest.train_samples, manifest.validation_samples) == (40, 20)
    assert (manifest.columns, manifest.class_names) == (("a", "b"), ("maybe", "no", "yes"))
    x, y = samples(directory_store, manifest, "validation")
    order, wanted = np.argsort(x[:, 0]), np.argsort(A[40:].astype(np.float32))
    np.testing.assert_array_equal(x[order], np.stack([A[40:], B[40:]], 1).astype(np.float32)[wanted])
    assert [manifest.class_names[each] for each in y[order]] == WORDS[40:][wanted].tolist()
    found = survey.survey(DataSpec.model_validate(fields), "").manifest
    assert (found.train_samples, found.validation_samples) == (40, 20)


def test_a_target_told_by_its_place_is_found_by_its_name(directory_store: Store, tmp_path: Path) -> None:
    numbers = TRAIN[["label", "a", "b"]]
    source, held = write(numbers, tmp_path / "t.csv"), write(HELD[["b", "label", "a"]], tmp_path / "v.csv")
    manifest = cut_data(directory_store, source=source, validation={"source": held}, options={"target": 0})
    assert manifest.columns == ("a", "b")
    assert sorted(np.bincount(samples(directory_store, manifest, "validation")[1])) == [6, 7, 7]


def test_the_training_samples_alone_are_what_they_are_without_validation(tmp_path: Path) -> None:
    """Scaling, origin, classes and blocks do not depend on what is evaluated on."""
    times = TRAIN.assign(b=1_700_000_000.0 + np.arange(40))
    far = HELD.assign(b=2_000_000_000.0, a=1e6)
    source, held = write(times, tmp_path / "t.csv"), write(far, tmp_path / "v.csv")
    alone, both = (open_store(str(tmp_path / name)) for name in ("alone", "both"))
    one = cut_data(alone, source=source, validation_fraction=0)
    two = cut_data(both, source=source, validation={"source": held})
    assert one.origin
    assert bytes(alone.read("p/train/0")) == bytes(both.read("p/train/0"))
    differing = {name for name, value in one.to_json().items() if two.to_json()[name] != value}
    assert differing == {"validation"}


def test_how_a_file_is_written_may_differ(directory_store: Store, tmp_path: Path) -> None:
    source = write(TRAIN, tmp_path / "t.csv")
    held = write(HELD[["a", "b", "label"]], tmp_path / "v.csv", sep=";", header=False)
    validation = {"source": held, "options": {"delimiter": ";", "header": "Absent"}}
    manifest = cut_data(directory_store, source=source, validation=validation)
    assert manifest.validation_samples == 20
    narrow = write(HELD[["a", "label"]], tmp_path / "n.csv", sep=";", header=False)
    directory_store.delete(["p/manifest.json"])
    said = refused(directory_store, source=source, validation=validation | {"source": narrow})
    assert "n.csv has 2 columns where" in said


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (HELD.drop(columns="b"), "v.csv lacks 'b', compared with"),
        (HELD.assign(c=1.0), "v.csv has 'c' in addition, compared with"),
        (HELD.rename(columns={"label": "y"}), "rename, add or take out what differs"),
        (HELD.assign(label="never"), "v.csv: row 0 (the first is 0): the label 'never' is that of no training sample"),
        (HELD.assign(label=np.arange(20) % 2), "the targets are numbers, and those of"),
        (HELD.assign(b="x"), "v.csv, line 2, column b: 'x' is not a finite number"),
        (HELD[:0], "v.csv holds no samples"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_file_and_column(
    held: pandas.DataFrame, said: str, directory_store: Store, tmp_path: Path
) -> None:
    source = write(TRAIN, tmp_path / "t.csv")
    validation = {"source": write(held, tmp_path / "v.csv")}
    assert said in refused(directory_store, source=source, validation=validation)


def test_a_class_that_no_training_sample_has_is_refused_unless_it_is_declared(
    directory_store: Store, tmp_path: Path
) -> None:
    source = write(TRAIN.assign(label=np.arange(40) % 2), tmp_path / "t.csv")
    held = write(HELD.assign(label=np.arange(20) % 3), tmp_path / "v.csv")
    said = refused(directory_store, source=source, validation={"source": held})
    assert "row 2 (the first is 0) has the label 2; no training sample has it (those have 0, 1)" in said
    assert "data.options: classes" in said
    manifest = cut_data(directory_store, source=source, validation={"source": held}, options={"classes": 3})
    assert (manifest.classes, manifest.validation_samples) == (3, 20)


def test_values_are_values_on_both_sides(directory_store: Store, tmp_path: Path) -> None:
    """Whole numbers are classes where they are alone, and values beside a training source of values."""
    source = write(TRAIN.assign(label=A[:40] + 0.25), tmp_path / "t.csv")
    held = write(HELD.assign(label=np.arange(20)), tmp_path / "v.csv")
    manifest = cut_data(directory_store, source=source, validation={"source": held})
    assert manifest.task == "regression"


def test_what_is_learnt_is_said_once(directory_store: Store, tmp_path: Path) -> None:
    source, held = write(TRAIN, tmp_path / "t.csv"), write(HELD, tmp_path / "v.csv")
    for name, value in (("target", "label"), ("classes", 3), ("task", "Classification"), ("group", "a")):
        said = refused(directory_store, source=source, validation={"source": held, "options": {name: value}})
        assert f"validation.options: {name} is that of data.options" in said
    said = refused(directory_store, source=source, validation={"source": held, "options": {"separator": ";"}})
    assert "validation: options of the format csv: separator" in said


def test_a_file_in_both_sources_is_refused(
    directory_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(TRAIN, tmp_path / "t.csv")
    write(HELD, tmp_path / "v.csv")
    monkeypatch.chdir(tmp_path)
    said = refused(directory_store, source=".", validation={"source": str(tmp_path / "v.csv")})
    assert "v.csv: in data.source and in data.validation" in said
    said = refused(directory_store, source="t.csv", validation={"source": "gone.csv"})
    assert "validation.source: there is no file at gone.csv" in said


def test_arrays_have_a_second_file(directory_store: Store, tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", x=np.zeros((9, 2)), y=np.arange(9) % 3)
    np.savez(tmp_path / "v.npz", x_test=np.ones((6, 2)), y_test=np.arange(6) % 3)
    np.savez(tmp_path / "named.npz", held=np.ones((4, 2)), labels=np.arange(4) % 3)
    np.savez(tmp_path / "wide.npz", x=np.ones((6, 3)), y=np.arange(6) % 3)
    fields: dict[str, Any] = {"source": str(tmp_path / "t.npz")}
    manifest = cut_data(directory_store, **fields, validation={"source": str(tmp_path / "v.npz")})
    assert (manifest.train_samples, manifest.validation_samples) == (9, 6)
    options = {"features": "held", "targets": "labels"}
    named = {"source": str(tmp_path / "named.npz"), "options": options}
    assert survey.survey(
        DataSpec.model_validate({**fields, "validation": named}), ""
    ).manifest.validation == (4,)
    directory_store.delete(["p/manifest.json"])
    said = refused(directory_store, **fields, validation={"source": str(tmp_path / "wide.npz")})
    assert "wide.npz: array x: samples of shape [3]" in said
    assert "t.npz: array x has [2]" in said


def test_a_test_set_alone_is_a_source_for_validation(directory_store: Store, tmp_path: Path) -> None:
    mnist, cifar = ensure_mnist(tmp_path / "m", 60), ensure_cifar(tmp_path / "c", 60)
    for folder, names in ((mnist, "t10k*"), (cifar, "test_batch.bin")):
        apart = tmp_path / f"{folder.name}-test"
        apart.mkdir()
        for file in folder.glob(names):
            file.rename(apart / file.name)
        data = DataSpec.model_validate({"source": str(folder), "validation": {"source": str(apart)}})
        found = survey.survey(data, "").manifest
        assert (found.train_samples, found.validation_samples) == (60, 10)
        with pytest.raises(DataError):
            survey.survey(DataSpec(source=str(apart)), "")


def test_a_set_with_both_parts_is_refused_on_either_side(directory_store: Store, tmp_path: Path) -> None:
    x, y = np.zeros((6, 2)), np.arange(6) % 2
    np.savez(tmp_path / "t.npz", x=x, y=y)
    np.savez(tmp_path / "both.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    one, both = str(tmp_path / "t.npz"), str(tmp_path / "both.npz")
    said = refused(directory_store, source=both, validation={"source": one})
    assert "brings a validation set of its own: leave data.validation out" in said
    assert "holds a training set and a validation set" in refused(
        directory_store, source=one, validation={"source": both}
    )


def test_bundled_samples_may_be_evaluated_on_files(directory_store: Store, tmp_path: Path) -> None:
    np.savez(tmp_path / "v.npz", x=np.ones((6, 4)), y=np.arange(6) % 3)
    manifest = cut_data(
        directory_store, source="sklearn:iris", validation={"source": str(tmp_path / "v.npz")}
    )
    assert (manifest.train_samples, manifest.validation_samples) == (150, 6)


def test_a_survey_of_large_sources_looks_at_the_beginning_of_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A class that the beginning of the training samples lacks may come later."""
    monkeypatch.setattr(survey, "MAX_BYTES", 1000)
    np.savez(tmp_path / "t.npz", x=np.zeros((300_000, 4)), y=(np.arange(300_000) > 200_000).astype(int))
    np.savez(tmp_path / "v.npz", x=np.ones((6, 4)), y=np.arange(6) % 2)
    np.savez(tmp_path / "wide.npz", x=np.ones((6, 5)), y=np.arange(6) % 2)
    fields = {"source": str(tmp_path / "t.npz"), "validation": {"source": str(tmp_path / "v.npz")}}
    found = survey.survey(DataSpec.model_validate(fields), "")
    assert not found.complete
    assert found.manifest.validation_samples == 6
    fields["validation"] = {"source": str(tmp_path / "wide.npz")}
    with pytest.raises(DataError, match=r"samples of shape \[5\]"):
        survey.survey(DataSpec.model_validate(fields), "")


def test_a_changed_file_for_validation_is_seen_and_cut_anew_before_there_is_a_version(tmp_path: Path) -> None:
    source, held = write(TRAIN, tmp_path / "t.csv"), write(HELD, tmp_path / "v.csv")
    fields: dict[str, Any] = {"data_validationFraction": None, "data_source": source}
    job = tiny_job(**fields, data_validation={"source": held})
    store = open_store(str(tmp_path / "store"))
    session = Session("u", job, store, "")
    session.cut_data()
    first = session.resolved.data_prefix
    record = json.loads(bytes(store.read(fingerprint.source_key(first))))
    assert [file["name"] for file in record["files"]] == [source, held]
    assert cut.changed_files(session.resolved, store) == []
    before = bytes(store.read(f"{first}validation/0"))
    write(HELD.assign(a=0.5), tmp_path / "v.csv")
    (changed,) = cut.changed_files(session.resolved, store)
    assert changed.startswith(held)
    session.cut_data()
    second = session.resolved.data_prefix
    assert bytes(store.read(f"{second}validation/0")) != before
    assert list(store.list(first)) == [], "nobody else uses what was cut of the earlier file"
    store.create(keys.commit(session.prefix, 0), b"{}")
    store.delete([manifest_key(second)])
    write(HELD.assign(a=0.25), tmp_path / "v.csv")
    with pytest.raises(InputsChanged, match=r"v\.csv"):
        session.cut_data()
