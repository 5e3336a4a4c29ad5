"""Features of raw rows that are no table in a file: of tables in memory, of images, of folders."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow
import pytest
from helpers.preparations import COLUMNS, STEPS, PreparationRun, flights, prepared_job
from PIL import Image

from sapflow.client import raw_source
from sapflow.client.predict import Predictor
from sapflow.data.chunks import PARTS
from sapflow.data.manifest import Manifest, block_key, decode_block
from sapflow.errors import DataError
from sapflow.objects import keys
from sapflow.preparation.own_parts import own_parts
from sapflow.serving.description import Description
from sapflow.spec.document import parse
from sapflow.spec.training_job import TrainingJob

ROWS = 400
NAMES = ["delay", "carrier", "distance", "note"]


def made(place: Path, job: TrainingJob) -> tuple[Predictor, list[bytes]]:
    """A model of prepared data, without a network, and the features that training has, sorted."""
    run = PreparationRun(place / "store", job, own_parts())
    manifest = run.run().manifest
    prefix = run.session.resolved.data_prefix
    content = bytes(run.store.read(keys.fitted_preparation(prefix)))
    return Predictor(described(manifest), None, content), features(run, prefix, manifest)


def described(manifest: Manifest) -> Description:
    found: dict[str, Any] = {
        "model": {"name": "mlp"},
        "inputs": manifest.shape,
        "outputs": 2,
        "task": "classification",
        "classes": 2,
        "scale": (1.0,),
        "shift": (0.0,),
        "columns": manifest.columns,
        "class_names": manifest.class_names,
        "preparation": manifest.preparation,
    }
    return Description.model_validate(found)


def features(run: PreparationRun, prefix: str, manifest: Manifest) -> list[bytes]:
    return sorted(
        bytes(sample)
        for part in PARTS
        for index, count in enumerate(manifest.blocks(part))
        for key in [block_key(prefix, part, index)]
        for sample in decode_block(run.store.read(key), key, manifest, count)[0]
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("raw")
    flights(path / "raw", rows=ROWS)
    return path


@pytest.fixture(scope="module")
def trained(place: Path) -> tuple[Predictor, list[bytes]]:
    return made(place, prepared_job(place / "raw", STEPS, columns=COLUMNS))


@pytest.fixture(scope="module")
def frame(place: Path) -> pandas.DataFrame:
    """The raw rows as pandas reads them; it would not parse all numbers exactly in every release."""
    parts = [
        pandas.read_csv(path, na_values=["NA", ""], keep_default_na=False, dtype=str)
        for path in sorted((place / "raw").iterdir())
    ]
    return pandas.concat(parts, ignore_index=True).astype({"delay": float, "distance": float})


def test_rows_of_a_data_frame_have_the_features_of_training_bit_for_bit(
    trained: tuple[Predictor, list[bytes]], frame: pandas.DataFrame
) -> None:
    model, expected = trained
    found = model.prepared(frame)
    assert (found.total, found.bad, found.files) == (ROWS, (), ())
    assert sorted(map(bytes, found.features)) == expected
    other = frame[[*reversed(NAMES)]].assign(more=[["no", "column"]] * ROWS).set_index("note", drop=False)
    again = model.prepared(other)
    assert bytes(again.features) == bytes(found.features)
    assert again.rows.tolist() == list(range(ROWS))


def test_an_arrow_table_and_a_folder_of_files_have_the_same_features(
    place: Path, trained: tuple[Predictor, list[bytes]], frame: pandas.DataFrame
) -> None:
    model, _ = trained
    expected = bytes(model.prepared(frame).features)
    table = pyarrow.Table.from_pandas(frame[NAMES].astype({"carrier": "category"}))
    assert bytes(model.prepared(table).features) == expected
    assert bytes(model.prepared(table.to_reader()).features) == expected
    assert bytes(model.prepared(place / "raw").features) == expected
    assert bytes(model.prepared(str(place / "raw" / "*.csv")).features) == expected


def test_what_a_model_is_given_decides_whether_it_is_prepared(
    place: Path, trained: tuple[Predictor, list[bytes]], frame: pandas.DataFrame
) -> None:
    model, _ = trained
    prepared = model.prepared(frame).features
    assert bytes(model.scaled(frame)) == bytes(model.scaled(prepared))
    assert bytes(model.scaled(place / "raw")) == bytes(model.scaled(prepared))
    with pytest.raises(DataError, match="no file at"):
        model.scaled("nowhere.csv")


def test_rows_of_a_csv_text_may_be_written_otherwise_than_in_training(
    trained: tuple[Predictor, list[bytes]],
) -> None:
    text = b"distance;delay;note;carrier\n10.5;3;x;AA\n10.5;;x;UA\n"
    found = trained[0].prepared(raw_source.of_text(text, "standard input"), {"delimiter": ";"})
    assert found.rows.tolist() == [0, 1]
    assert found.features[1].tolist() != found.features[0].tolist()


def test_a_row_without_a_sample_is_named_and_the_others_can_be_predicted(
    trained: tuple[Predictor, list[bytes]], frame: pandas.DataFrame
) -> None:
    rows = frame[NAMES].head(5).copy()
    rows.loc[3, "distance"] = None
    with pytest.raises(DataError, match=r"1 of 5 rows .* row 3 .*column distance: is missing"):
        trained[0].scaled(rows)
    assert trained[0].prepared(rows).rows.tolist() == [0, 1, 2, 4]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.drop(columns="delay"), "delay: give rows that have it"),
        (lambda rows: rows[["note"]].rename(columns={"note": "x"}), "has none of the columns"),
        (lambda rows: rows.head(0), "has no rows"),
        (lambda rows: rows.assign(delay=[1.5, "x"]), "several kinds"),
        (lambda rows: rows.set_axis(["delay", "delay", "distance", "note"], axis=1), "is there twice"),
    ],
)
def test_a_table_that_is_not_as_the_source_was_is_refused_in_words(
    trained: tuple[Predictor, list[bytes]],
    frame: pandas.DataFrame,
    change: Callable[[pandas.DataFrame], pandas.DataFrame],
    message: str,
) -> None:
    with pytest.raises(DataError, match=message):
        trained[0].scaled(change(frame[NAMES].head(2)))


def image_job(source: Path) -> TrainingJob:
    steps: list[dict[str, Any]] = [
        {"encode": {"columns": ["label"], "method": "Classes"}},
        {"image": {"column": "image", "resize": [6, 6], "channels": 1}},
    ]
    document = prepared_job(source).to_json()
    document["spec"]["data"] |= {"format": "images", "prepare": {"target": "label", "steps": steps}}
    return parse(document)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Predictor, list[bytes]]:
    """Images in the folders of their classes, and a model of them."""
    place = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(2)
    for number in range(24):
        folder = place / "raw" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (9 + number % 3, 11, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02d}.{'png' if number % 3 else 'bmp'}")
    return place / "raw", *made(place, image_job(place / "raw"))


def test_a_folder_of_images_has_the_features_of_training_and_each_sample_its_file(
    images: tuple[Path, Predictor, list[bytes]],
) -> None:
    source, model, expected = images
    found = model.prepared(source)
    assert sorted(map(bytes, found.features)) == expected
    assert list(found.files) == sorted(map(str, source.rglob("*.*")))
    assert model.scaled(source).shape == (24, *model.description.inputs)


def test_one_image_has_the_features_that_it_has_among_others(
    images: tuple[Path, Predictor, list[bytes]],
) -> None:
    source, model, _ = images
    path = source / "b" / "01.png"
    alone, every = model.prepared(path), model.prepared(source)
    assert (alone.total, alone.files) == (1, (str(path),))
    assert bytes(alone.features[0]) == bytes(every.features[every.files.index(str(path))])


def test_an_image_that_cannot_be_decoded_is_told_with_its_file(
    images: tuple[Path, Predictor, list[bytes]], tmp_path: Path
) -> None:
    (tmp_path / "odd.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"odd\.png has no row that can be used"):
        images[1].scaled(tmp_path / "odd.png")


def test_images_in_a_data_frame_are_bytes_of_files(images: tuple[Path, Predictor, list[bytes]]) -> None:
    source, model, _ = images
    path = source / "a" / "02.png"
    rows = pandas.DataFrame({"image": [path.read_bytes()]})
    assert bytes(model.prepared(rows).features) == bytes(model.prepared(path).features)
