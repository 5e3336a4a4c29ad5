"""`sapflow inspect`: text, JSON, a page, and errors in words."""

import json
import re
from pathlib import Path

import pytest

from sapflow.cli import main

TABLE = "id,size,name,when,late\n" + "".join(
    f"{number},{number % 7}.5,<b>{'ab'[number % 2]}</b>,2013-01-0{1 + number % 8},{'no' if number % 3 else 'yes'}\n"
    for number in range(120)
)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text(TABLE + "1,2\n")
    return path


def test_the_text_has_columns_target_bad_rows_warnings_and_a_block(
    rows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(rows), "--target", "late"]) == 0
    said = capsys.readouterr().out
    assert "all 121 rows, 5 columns, 1 bad row" in said
    assert re.search(r"^size +Number +0 % +7 +0\.5 · ", said, re.M)
    assert "'no': 66.7 % (80 rows)" in said
    assert f"{rows}, line 122: " in said
    assert "id: its values are all different" in said
    assert "\ndata:\n  source: " in said


def test_json_has_the_same_for_machines(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(rows), "--target", "late", "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert (body["rows"], body["badRows"], body["complete"]) == (121, 1, True)
    assert [each["name"] for each in body["columns"]] == ["id", "size", "name", "when", "late"]
    assert {"Identifier", "BadRows"} == {each["code"] for each in body["warnings"]}
    assert body["data"]["prepare"]["target"] == "late"


def test_the_page_needs_nothing_from_elsewhere_and_escapes_what_is_in_the_rows(
    rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    assert main(["inspect", str(rows), "--target", "late", "--html", str(page)]) == 0
    assert f"written to {page}" in capsys.readouterr().out
    text = page.read_text()
    assert "<b>a</b>" not in text
    assert "&lt;b&gt;a&lt;/b&gt;" in text
    assert "prefers-color-scheme: dark" in text
    assert not re.search(r"<script|https?://|@import|url\(", text)
    assert text.count("<figure>") == 4


def test_the_first_rows_are_said_to_be_the_first(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(rows), "--rows", "50"]) == 0
    assert "the first 50 rows of more" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.csv"], "there is no file at none.csv"),
        (["ROWS", "--target", "nothing"], "has no column 'nothing'; it has id, size, name, when, late"),
        (["ROWS", "--option", "delimiter"], "--option: must be NAME=VALUE"),
        (["ROWS", "--option", "colour=red"], "colour"),
    ],
)
def test_what_is_wrong_is_said(
    rows: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["inspect", *(str(rows) if each == "ROWS" else each for each in arguments)]) == 2
    assert message in capsys.readouterr().err
