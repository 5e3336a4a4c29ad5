"""Golden rows: what a model must answer as in training, and what is told where it does not; drift against training."""

from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.served import AskedApp, Files, flights, late_files, profile_of

from sapflow.errors import CorruptObject
from sapflow.preparation.batch import Batch, Text
from sapflow.preparation.profile import Profile, profile
from sapflow.preparation.record import Record
from sapflow.serving import golden
from sapflow.serving.golden import GoldenRows, GoldenRowsFailed
from sapflow.serving.served_model import ServedModel


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return late_files(tmp_path_factory.mktemp("late"))


def kept(files: Files, model: ServedModel) -> GoldenRows:
    found = profile_of(model, flights(12))
    outputs = model.compute(golden.rows_of(model, found)).outputs
    return GoldenRows(found, outputs, sha256(files.model).hexdigest())


def test_rows_are_read_back_as_they_were_kept_and_answered(files: Files) -> None:
    model = files.served({"answer": "Probabilities"})
    rows = kept(files, model)
    again = GoldenRows.decode(rows.encode(), "it")
    assert again.encode() == rows.encode()
    golden.replay(again, model, rows.model)
    slightly = replace(rows, outputs=rows.outputs * np.float32(1 + 1e-6))
    golden.replay(slightly, model, rows.model)


def changed(rows: GoldenRows, column: str, value: Any) -> GoldenRows:
    columns: dict[str, Any] = dict(rows.profile.rows.columns)
    columns[column] = value
    return replace(rows, profile=replace(rows.profile, rows=replace(rows.profile.rows, columns=columns)))


def test_each_way_in_which_a_model_is_not_the_trained_one_is_told(files: Files, tmp_path: Path) -> None:
    model = files.served()
    rows = kept(files, model)
    sha = rows.model
    with pytest.raises(GoldenRowsFailed, match="are of the model"):
        golden.replay(rows, model, "0" * 64)
    with pytest.raises(GoldenRowsFailed, match="golden row 0 gives the outputs"):
        golden.replay(replace(rows, outputs=rows.outputs + np.float32(1e-3)), model, sha)
    with pytest.raises(GoldenRowsFailed, match="prepared to other features"):
        golden.replay(changed(rows, "distance", np.full(12, 7.0)), model, sha)
    with pytest.raises(GoldenRowsFailed, match="golden row 0, column carrier"):
        golden.replay(changed(rows, "carrier", Text.of(["XX"] * 12)), model, sha)
    other = late_files(tmp_path, seed=2).served()
    with pytest.raises(GoldenRowsFailed, match="gives the outputs"):
        golden.replay(rows, other, sha)


def test_an_object_that_holds_none_is_refused() -> None:
    with pytest.raises(CorruptObject, match="holds no golden rows"):
        GoldenRows.decode(Record({"a": {}}).encode(), "it")
    with pytest.raises(CorruptObject):
        GoldenRows.decode(b"nonsense", "it")


def test_values_that_training_never_had_are_counted_by_column(files: Files) -> None:
    model = files.served()
    few = [row for row in flights(40) if row["carrier"] != "WN"]
    golden.with_profile(model, profile_of(model, few))
    app = AskedApp(model)
    (row,) = [{name: each for name, each in one.items() if name != "late"} for one in flights(1)]
    given: list[Mapping[str, Any]] = [
        {**row, "carrier": "WN"},
        {**row, "carrier": "WN", "distance": 99_999, "delay": None},
        {**row, "carrier": "AA", "delay": -900.0},
    ]
    assert app.post("/predict", given).status == 200
    assert app.server.drift.unseen == {"carrier": 2}
    assert app.server.drift.outside == {"delay": 1, "distance": 1}
    text = app.ask("GET", "/metrics").body.decode()
    assert 'sapflow_server_unseen_categories_total{column="carrier"} 2' in text
    assert 'sapflow_server_values_out_of_range_total{column="distance"} 1' in text


def test_a_profile_tells_ranges_and_texts_of_columns(files: Files) -> None:
    assert files.preparation is not None
    from sapflow.serving.served_model import opened_preparation

    model = files.served()
    fitted = opened_preparation(files.preparation, str(model.about.preparation), "it")
    numbers = np.arange(300)
    columns: dict[str, Any] = {
        "delay": np.where(numbers % 2, np.nan, numbers / 10),
        "distance": numbers + 100.0,
        "carrier": Text.of(["AA", "UA", None] * 100),
        "hour": np.full(300, "2013-01-05T10:30", "M8[us]"),
        "tail": Text.of([f"N{number}" for number in numbers] * 1),
        "late": Text.of(["yes", "no"] * 150),
    }
    batch = Batch(columns, numbers)
    found = profile(
        [batch, Batch({**columns, "distance": -numbers.astype(float)}, numbers)], fitted.state, fitted.samples
    )
    assert found is not None
    assert found.ranges == {"delay": (0.0, 29.8), "distance": (-299.0, 399.0)}
    assert found.seen["carrier"] == ("AA", "UA")
    assert len(found.rows) == 16
    assert "late" not in found.rows.columns
    again = Profile.of_record(Record.decode(found.record().encode(), "it"), "it")
    assert again.record().encode() == found.record().encode()
    assert profile([batch.take(np.arange(0))], fitted.state, fitted.samples) is None
