"""The block to paste is a spec that parses, and says what was found."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from helpers.jobs import document

from sapflow.data.shared_data import finder
from sapflow.preparation.inspection.inspection import inspect
from sapflow.preparation.inspection.proposal import Proposal, propose
from sapflow.preparation.inspection.source_rows import open_rows
from sapflow.spec.document import parse
from sapflow.spec.yaml_text import Loader

ROWS = 3000
RANDOM = np.random.default_rng(8)
LATE = RANDOM.choice(["no", "yes"], ROWS)


def proposed(path: Path, table: dict[str, Any], target: str | None = None, **asked: Any) -> Proposal:
    file = path / "rows.csv"
    pd.DataFrame(table).to_csv(file, index=False, na_rep="NA")
    options, missing = asked.get("options", {}), asked.get("missing")
    return propose(inspect(open_rows(str(file), None, options, missing, finder("")), target))


def steps(proposal: Proposal) -> list[dict[str, Any]]:
    """The steps as they are read from the text, which must be a valid job's."""
    data = yaml.load(proposal.yaml(), Loader)["data"]
    assert data == proposal.data
    job = document(data=data)
    parse(job)
    found: list[dict[str, Any]] = data["prepare"].get("steps", [])
    return found


def test_each_kind_of_column_has_its_step(tmp_path: Path) -> None:
    table = {
        "id": np.arange(ROWS),
        "delay": np.where(RANDOM.random(ROWS) < 0.1, np.nan, RANDOM.normal(size=ROWS)),
        "distance": RANDOM.normal(size=ROWS),
        "when": pd.Timestamp("2013-01-01") + pd.to_timedelta(RANDOM.integers(0, 8000, ROWS), unit="h"),
        "carrier": RANDOM.choice(list("ABC"), ROWS),
        "tail": RANDOM.choice([f"N{number}" for number in range(200)], ROWS),
        "plane": RANDOM.choice([f"P{number}" for number in range(2000)], ROWS),
        "note": [f"a text of more words than five {number}" for number in range(ROWS)],
        "late": LATE,
    }
    made = ["when_Month", "when_Weekday", "when_Hour"]
    assert steps(proposed(tmp_path, table, "late")) == [
        {"drop": {"columns": ["id"]}},
        {"dates": {"columns": ["when"], "parts": ["Month", "Weekday", "Hour"]}},
        {"impute": {"columns": ["delay"], "strategy": "Median", "indicator": True}},
        {"impute": {"columns": ["distance"], "strategy": "Median"}},
        {"scale": {"columns": ["delay", "distance", *made], "method": "Standard"}},
        {"encode": {"columns": ["carrier"], "method": "OneHot", "unseen": "Ignore"}},
        {"encode": {"columns": ["tail"], "method": "OneHot", "top": 50, "rare": "Join", "unseen": "Other"}},
        {"encode": {"columns": ["plane"], "method": "Hash", "buckets": 256}},
        {"bagOfWords": {"columns": ["note"], "top": 1000, "weights": "TfIdf"}},
        {"encode": {"columns": ["late"], "method": "Classes"}},
    ]


def test_what_is_dropped_is_said_with_the_reason(tmp_path: Path) -> None:
    table = {"x": RANDOM.normal(size=ROWS), "one": 1, "why": np.where(LATE == "yes", "a", "b"), "late": LATE}
    found = proposed(tmp_path, table, "late")
    assert steps(found)[0] == {"drop": {"columns": ["one", "why"]}}
    assert "# one is dropped: it is constant.\n" in found.yaml()
    assert "# why is dropped: it determines late, or nearly" in found.yaml()


@pytest.mark.parametrize(
    ("target", "split"),
    [(LATE, {"by": "Stratified", "column": "y"}), (["only", *["no"] * (ROWS - 1)], None)],
)
def test_classes_are_held_out_evenly_where_each_has_rows_enough(
    tmp_path: Path, target: Any, split: dict[str, Any] | None
) -> None:
    found = proposed(tmp_path, {"x": RANDOM.normal(size=ROWS), "y": target}, "y")
    assert found.data["prepare"].get("split") == split
    assert steps(found)


def test_a_target_of_numbers_stays_as_it_is_and_rows_without_one_are_left_out(tmp_path: Path) -> None:
    price = np.where(np.arange(ROWS) == 7, np.nan, RANDOM.normal(size=ROWS))
    found = steps(proposed(tmp_path, {"x": RANDOM.normal(size=ROWS), "price": price}, "price"))
    assert [next(iter(each)) for each in found] == ["dropRows", "impute", "scale"]


def test_without_a_target_one_is_taken_and_said(tmp_path: Path) -> None:
    found = proposed(tmp_path, {"label": LATE, "x": RANDOM.normal(size=ROWS)})
    assert found.data["prepare"]["target"] == "label"
    assert "No target was named: label is taken." in found.notes
    assert steps(found)


def test_options_words_for_missing_and_names_that_yaml_would_misread_are_kept(tmp_path: Path) -> None:
    table = {"1e3": RANDOM.normal(size=ROWS), "off": RANDOM.choice(["a", "b"], ROWS), "no": LATE}
    options = {"encoding": "latin-1", "header": "Present"}
    found = proposed(tmp_path, table, "no", options=options, missing=["", "?"])
    assert steps(found)
    assert found.data["options"] == options
    assert found.data["prepare"]["missing"] == ["", "?"]


def test_bad_rows_that_were_seen_are_allowed(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("x,y\n" + "1.5,a\n2.5,b\n" * 50 + "3\n")
    found = propose(inspect(open_rows(str(file), None, {}, None, finder("")), "y"))
    assert found.data["prepare"]["maxBadShare"] == pytest.approx(0.02)
    assert steps(found)


def test_arrays_stay_as_they_are_and_their_test_set_is_held_out(tmp_path: Path) -> None:
    sets = {"train": 80, "test": 20}
    arrays = {f"x_{name}": RANDOM.normal(size=(rows, 4)) for name, rows in sets.items()}
    labels = {f"y_{name}": RANDOM.integers(0, 3, rows) for name, rows in sets.items()}
    np.savez(tmp_path / "rows.npz", **arrays, **labels)  # type: ignore[arg-type]
    rows = open_rows(str(tmp_path / "rows.npz"), None, {}, None, finder(""))
    found = propose(inspect(rows, "y"))
    assert steps(found) == [
        {"drop": {"columns": ["set"]}},
        {"encode": {"columns": ["y"], "method": "Classes"}},
    ]
    assert found.data["prepare"]["split"] == {"column": "set", "values": ["validation"]}
