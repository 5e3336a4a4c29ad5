"""What a look at raw rows finds: distributions as numpy and pandas have them, and warnings where there is reason."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sapflow.data.shared_data import finder
from sapflow.errors import DataError
from sapflow.preparation.inspection.findings import findings
from sapflow.preparation.inspection.inspection import Inspection, inspect
from sapflow.preparation.inspection.source_rows import open_rows

ROWS = 400
RANDOM = np.random.default_rng(5)
LATE = RANDOM.choice(["no", "yes"], ROWS, p=[0.6, 0.4])


def inspected(path: Path, table: Mapping[str, Any], target: str | None = None, **asked: Any) -> Inspection:
    """A look at a table that is written as CSV."""
    file = path / "rows.csv"
    pd.DataFrame(table).to_csv(file, index=False, na_rep="NA")
    return inspect(open_rows(str(file), None, {}, None, finder("")), target, **asked)


def warned(found: Inspection) -> set[tuple[str, str]]:
    return {(each.code, each.column) for each in findings(found)}


@settings(max_examples=25, deadline=None)
@given(
    values=st.lists(
        st.none() | st.floats(-1e6, 1e6).map(lambda value: round(value, 3)), min_size=1, max_size=60
    )
)
def test_numbers_are_as_pandas_describes_them(
    tmp_path_factory: pytest.TempPathFactory, values: list[float | None]
) -> None:
    column = pd.Series(values, dtype="float64")
    found = inspected(
        tmp_path_factory.mktemp("numbers"), {"x": column, "row": np.arange(len(column)) * 0.5}
    ).column("x")
    assert (found.rows, found.missing) == (len(column), int(column.isna().sum()))
    if not found.present:
        assert found.numbers is None
        return
    assert found.numbers is not None
    wanted = column.describe()
    quartiles = tuple(wanted[["25%", "50%", "75%"]])
    assert found.numbers.quartiles == pytest.approx(quartiles, rel=1e-12, abs=1e-9)
    assert (found.numbers.least, found.numbers.largest) == (wanted["min"], wanted["max"])
    assert found.numbers.mean == pytest.approx(wanted["mean"], rel=1e-12, abs=1e-9)
    assert found.numbers.deviation == pytest.approx(column.std(ddof=0), rel=1e-9, abs=1e-9)
    assert found.distinct == column.nunique()
    assert sum(found.numbers.histogram) == found.present


@settings(max_examples=25, deadline=None)
@given(
    words=st.lists(
        st.none() | st.text("abc xé", min_size=2, max_size=6).map("w{}w".format), min_size=1, max_size=60
    )
)
def test_text_is_counted_as_pandas_counts_it(
    tmp_path_factory: pytest.TempPathFactory, words: list[str | None]
) -> None:
    column = pd.Series(words, dtype=object)
    found = inspected(tmp_path_factory.mktemp("text"), {"x": column, "row": np.arange(len(words))}).column(
        "x"
    )
    assert found.missing == int(column.isna().sum())
    assert dict(found.top(100)) == column.value_counts().to_dict()
    if found.present:
        assert found.lengths is not None
        lengths = column.dropna().str.len()
        assert (found.lengths.least, found.lengths.largest) == (lengths.min(), lengths.max())
        assert found.lengths.mean == pytest.approx(lengths.mean())
        assert found.lengths.words == pytest.approx(column.dropna().str.split().str.len().mean())


def test_times_have_a_range_and_say_whether_they_are_days(tmp_path: Path) -> None:
    days = pd.date_range("2013-01-05", periods=ROWS)
    found = inspected(
        tmp_path, {"day": days.strftime("%Y-%m-%d"), "hour": (days + pd.Timedelta(hours=3)).astype(str)}
    )
    day, hour = found.column("day").times, found.column("hour").times
    assert day is not None
    assert hour is not None
    assert (day.first, day.days_only) == ("2013-01-05T00:00:00", True)
    assert (hour.first, hour.days_only) == ("2013-01-05T03:00:00", False)


def test_few_whole_numbers_have_a_bar_each(tmp_path: Path) -> None:
    days = RANDOM.integers(3, 32, ROWS)
    numbers = inspected(tmp_path, {"day": days, "late": LATE}).column("day").numbers
    assert numbers is not None
    np.testing.assert_array_equal(numbers.histogram, np.bincount(days - days.min()))


def test_columns_of_chance_warn_of_nothing(tmp_path: Path) -> None:
    table = {
        "x": RANDOM.normal(size=ROWS),
        "count": RANDOM.integers(0, 9, ROWS),
        "carrier": RANDOM.choice(list("ABCDE"), ROWS),
        "late": LATE,
    }
    assert warned(inspected(tmp_path, table, "late")) == set()


@pytest.mark.parametrize(
    ("leak", "warns"),
    [
        (np.where(LATE == "yes", "delayed", "fine"), True),
        (np.where(LATE == "yes", 20.0, 0.0) + RANDOM.random(ROWS), True),
        (np.where(LATE == "yes", RANDOM.random(ROWS), np.nan), True),
        (np.where(RANDOM.random(ROWS) < 0.2, "fine", np.where(LATE == "yes", "delayed", "fine")), False),
        (np.where(LATE == "yes", 1.0, 0.0) + RANDOM.normal(size=ROWS), False),
    ],
    ids=["words", "numbers", "missing", "noisy-words", "noisy-numbers"],
)
def test_a_column_that_gives_the_target_away_is_told(tmp_path: Path, leak: np.ndarray, warns: bool) -> None:
    found = inspected(tmp_path, {"leak": leak, "x": RANDOM.normal(size=ROWS), "late": LATE}, "late")
    assert (("TargetLeak", "leak") in warned(found)) is warns
    assert ("TargetLeak", "x") not in warned(found)


def test_a_target_of_numbers_has_leaks_and_no_classes(tmp_path: Path) -> None:
    delay = RANDOM.normal(size=ROWS) * 30
    table = {"minutes": delay / 60, "other": RANDOM.normal(size=ROWS), "delay": delay}
    found = inspected(tmp_path, table, "delay")
    assert not found.classes
    assert warned(found) == {("TargetLeak", "minutes")}


def test_ids_are_told_as_ids_and_never_as_leaks(tmp_path: Path) -> None:
    table = {
        "row": np.arange(ROWS) + 17,
        "shuffled": RANDOM.permutation(ROWS),
        "tail": [f"N{number}" for number in RANDOM.permutation(ROWS)],
        "name": [f"Name {number}" for number in [3, 3, *range(ROWS - 2)]],
        "many": [f"P{number}" for number in RANDOM.integers(0, 200, ROWS)],
        "late": LATE,
    }
    found = warned(inspected(tmp_path, table, "late"))
    assert found == {
        ("Identifier", "row"), ("Identifier", "shuffled"), ("Identifier", "tail"), ("Identifier", "name"),
        ("HighCardinality", "many")
    }  # fmt: skip


def test_each_kind_of_column_has_its_warning(tmp_path: Path) -> None:
    table = {
        "empty": [np.nan] * ROWS,
        "one": ["same"] * ROWS,
        "stamp": 1.7e9 + RANDOM.random(ROWS) * 10,
        "place": RANDOM.choice([10115, 20095, 80331, 60311], ROWS),
        "year": RANDOM.choice([2012, 2013, 2014], ROWS),
        "age": RANDOM.choice(["1", "2", "3", "4", "unknown"], ROWS),
        "note": [f"a text of more words than five {number}" for number in range(ROWS)],
        "late": LATE,
    }
    found = warned(inspected(tmp_path, table, "late"))
    assert found == {
        ("AllMissing", "empty"), ("Constant", "one"), ("LargeOffset", "stamp"), ("LooksLikeCodes", "place"),
        ("MostlyNumbers", "age"), ("FreeText", "note"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("target", "code"),
    [
        (["a"] * (ROWS - 9) + ["b"] * 9, "UnbalancedClasses"),
        (["a"] * ROWS, "TargetConstant"),
        ([None, *LATE[1:]], "TargetMissing"),
    ],
)
def test_a_target_with_a_catch_is_told(tmp_path: Path, target: list[str | None], code: str) -> None:
    found = inspected(tmp_path, {"x": RANDOM.normal(size=ROWS), "y": target}, "y")
    assert warned(found) == {(code, "y")}


def test_every_warning_has_a_remedy(tmp_path: Path) -> None:
    found = inspected(tmp_path, {"id": np.arange(ROWS), "one": [1] * ROWS, "late": LATE}, "late")
    assert all(each.remedy and each.message for each in findings(found))


def test_only_the_first_rows_are_read_where_that_is_asked_for(tmp_path: Path) -> None:
    found = inspected(tmp_path, {"x": np.arange(ROWS), "y": LATE}, rows=30)
    numbers = found.column("x").numbers
    assert (found.rows, found.complete) == (30, False)
    assert numbers is not None
    assert (numbers.least, numbers.largest) == (0, 29)
    assert inspected(tmp_path, {"x": np.arange(ROWS), "y": LATE}, rows=ROWS).complete


def test_bad_rows_are_counted_with_file_line_and_reason(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("x,y\n1,a\n2\n3,b\n4,c,d\n")
    found = inspect(open_rows(str(file), None, {}, None, finder("")))
    assert (found.rows, found.bad) == (4, 2)
    assert [(each.file, each.line) for each in found.rejected] == [(str(file), 3), (str(file), 5)]
    assert sum(rows for _, rows in found.reasons) == 2
    assert ("BadRows", "") in warned(found)


def test_a_target_that_is_not_there_names_the_columns(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no column 'z'; it has x, y"):
        inspected(tmp_path, {"x": [1, 2], "y": [3, 4]}, "z")


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no file at .*none\.csv"):
        open_rows(str(tmp_path / "none.csv"), None, {}, None, finder(""))
