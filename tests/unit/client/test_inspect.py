"""`sapflow.inspect`: what the command tells, as an object."""

import html
from pathlib import Path

import pytest

import sapflow
from sapflow.cli import main
from sapflow.errors import DataError

TABLE = "id,size,late\n" + "".join(
    f"{number},{number % 7}.5,{'no' if number % 3 else 'yes'}\n" for number in range(120)
)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text(TABLE + "1,2\n")
    return path


def test_it_has_what_was_found_by_name(rows: Path) -> None:
    found = sapflow.inspect(rows, target="late")
    assert (found.source, found.rows, found.bad_rows, found.complete) == (str(rows), 121, 1, True)
    assert list(found.columns) == ["id", "size", "late"]
    assert found.columns["size"].numbers is not None
    assert found.columns["size"].numbers.largest == 6.5
    assert found.target == "late"
    assert {each.code for each in found.warnings} == {"Identifier", "BadRows"}
    assert repr(found) == f"<Inspected {rows}: 121 rows, 3 columns>"


def test_its_block_is_the_data_of_a_job(rows: Path) -> None:
    found = sapflow.inspect(str(rows), target="late")
    assert found.prepare["target"] == "late"
    assert found.data["prepare"] is found.prepare
    assert found.to_yaml().startswith("# id is dropped")
    job = sapflow.TrainingJob(
        "late",
        model="mlp",
        data={**found.data, "batch_size": 8},
        workers=2,
        algorithm={"steps": 2},
        optimizer="Adam",
    )
    assert job.spec.data.prepare is not None
    assert job.spec.data.prepare.target == "late"


def test_its_text_is_that_of_the_command_and_its_page_can_be_kept_and_shown(
    rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = sapflow.inspect(rows, target="late")
    assert main(["inspect", str(rows), "--target", "late"]) == 0
    assert capsys.readouterr().out == str(found)
    page = found.to_html(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text() == page
    shown = found._repr_html_()
    assert shown.startswith('<iframe srcdoc="')
    assert html.unescape(shown.partition('srcdoc="')[2].partition('" style=')[0]) == page
    assert found.to_json()["rows"] == 121


def test_the_first_rows_alone_may_be_read_and_what_is_wrong_is_said(rows: Path, tmp_path: Path) -> None:
    found = sapflow.inspect(rows, rows=10, options={"header": "Present"})
    assert (found.rows, found.complete, found.target) == (10, False, None)
    assert repr(found) == f"<Inspected {rows}: the first 10 rows, 3 columns>"
    with pytest.raises(DataError, match="has no column 'lat'"):
        sapflow.inspect(rows, target="lat")
    with pytest.raises(DataError, match="no file at"):
        sapflow.inspect(tmp_path / "none.csv")
    with pytest.raises(ValueError, match="at least 1"):
        sapflow.inspect(rows, rows=0)
