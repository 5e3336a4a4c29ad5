"""Golden rows of models that were trained on samples as they are: kept by a job, answered by what serves its model."""

import logging
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.jobs import Place, Places, Simulation, document, tiny_job
from helpers.served import AskedApp

from sapflow.data.blocks import cut_blocks
from sapflow.data.chunks import Chunk, Source
from sapflow.data.order import Piece
from sapflow.data.piece_reader import PieceReader
from sapflow.data.read_counter import ReadCounter
from sapflow.objects import keys
from sapflow.objects.stores.protocol import Store
from sapflow.preparation.profile import Profile
from sapflow.serving import golden, golden_samples
from sapflow.serving.description import Description
from sapflow.serving.golden import GoldenRows, GoldenRowsFailed
from sapflow.serving.served_model import ServedModel, decode
from sapflow.spec.document import parse
from sapflow.spec.learning import ModelSpec


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    return Places(tmp_path_factory.mktemp("places"))


def kept(place: Place) -> GoldenRows:
    key = keys.result(keys.job(place.uid), keys.GOLDEN_ROWS)
    return GoldenRows.decode(bytes(place.store.read(key)), key)


def served(place: Place, **consent: Any) -> ServedModel:
    return decode(memoryview(place.result()), "the model", None, None, **consent)


def test_a_job_on_samples_as_they_are_keeps_rows_that_its_model_must_answer(places: Places) -> None:
    place = places.place(tiny_job())
    Simulation(place).run()
    rows, model = kept(place), served(place)
    assert len(rows.outputs) == 16
    golden.replay(rows, model, sha256(place.result()).hexdigest())
    other = places.place(tiny_job(algorithm_seed=4))
    Simulation(other).run()
    with pytest.raises(GoldenRowsFailed, match="golden row 0 gives the outputs"):
        golden.replay(rows, served(other), rows.model)


def test_no_value_of_training_counts_as_drift(places: Places) -> None:
    place = places.place(tiny_job())
    Simulation(place).run()
    model = served(place)
    golden.with_profile(model, kept(place).profile)
    app = AskedApp(model)
    reader = PieceReader(place.store, place.resolved.data_prefix, place.manifest, ReadCounter())
    rows = reader.read("train", Piece(0, 0, place.manifest.train[0])).features.tolist()
    assert app.post("/predict", {"rows": rows}).status == 200
    assert app.server.drift.outside == {"features": 0}
    assert app.post("/predict", {"rows": [[99.0, 1.0, -1.0, 1.0]]}).status == 200
    assert app.server.drift.outside == {"features": 2}


def test_a_model_that_answers_otherwise_each_time_has_none_and_the_log_says_so(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "restless.py").write_text(
        "import torch\n\n\nclass Restless(torch.nn.Linear):\n    def forward(self, x):\n"
        "        return super().forward(x) + torch.rand(1)\n\n\n"
        "def make(inputs, outputs):\n    return Restless(inputs[0], outputs)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    body = document()
    body["spec"]["model"] = {"entrypoint": "restless:make"}
    place = places.place(parse(body))
    with caplog.at_level(logging.WARNING, "sapflow.driver"):
        Simulation(place).run()
    assert "no golden rows" in caplog.messages
    assert keys.result("", keys.GOLDEN_ROWS) not in place.listing()


def profile_of(store: Store, features: np.ndarray, columns: tuple[str, ...] = ()) -> Profile:
    targets = np.arange(len(features), dtype=np.int32) % 2
    source = Source("it", lambda: iter([Chunk(features, targets, "it", columns=columns)]))
    manifest = cut_blocks(source, store, "d/", validation_fraction=0.0, seed=0)
    about = Description(
        model=ModelSpec(name="mlp"),
        inputs=manifest.shape,
        outputs=1,
        task=manifest.task,
        classes=2,
        scale=manifest.scale,
        shift=manifest.shift,
        origin=manifest.origin,
        columns=manifest.columns,
    )
    return golden_samples.profile_of(PieceReader(store, "d/", manifest, ReadCounter()), manifest, about)


def test_of_large_samples_few_are_kept(directory_store: Store) -> None:
    large = np.random.default_rng(0).integers(0, 256, (6, 300, 300, 3)).astype(np.uint8)
    found = profile_of(directory_store, large)
    assert len(found.rows) == 1
    assert found.features.dtype == np.uint8
    pixels = Profile.of_record(found.record(), "it").rows.columns["features"]
    assert isinstance(pixels, np.ndarray)
    assert pixels.shape == (1, 270_000)
    low, high = found.ranges["features"]
    assert -0.001 < low <= 0
    assert 255 <= high < 255.1


def test_columns_have_the_numbers_of_their_source(directory_store: Store) -> None:
    seconds = 1.7e9 + np.arange(40.0)
    found = profile_of(directory_store, np.stack([seconds, np.arange(40) / 7], 1), ("at", "delay"))
    at, delay = (np.asarray(found.rows.columns[name]) for name in ("at", "delay"))
    assert set(at.tolist()) <= set(seconds.tolist())
    assert np.allclose(delay, (at - 1.7e9) / 7, atol=1e-6)
    low, high = found.ranges["at"]
    assert 1.7e9 - 0.01 < low <= 1.7e9
    assert 1.7e9 + 39 <= high < 1.7e9 + 39.01
