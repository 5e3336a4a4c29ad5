"""Raw data that is not what its job says: `validate` tells what is wrong, where, and what to do."""

import gzip
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.jobs import document

from sapflow.client import inspection, survey
from sapflow.errors import DataError, SapflowError
from sapflow.spec.document import parse

HEAD = "x,c,y\n"
ROWS = "".join(f"{row / 7:.3f},{'abc'[row % 3]},{('yes', 'no')[row % 2]}\n" for row in range(60))
GOOD = HEAD + ROWS
ENCODE_C: Mapping[str, Any] = {"encode": {"columns": ["c"], "method": "OneHot"}}
CLASSES: Mapping[str, Any] = {"encode": {"columns": ["y"], "method": "Classes"}}
STEPS: Sequence[Mapping[str, Any]] = (ENCODE_C, CLASSES)


def survey_of(
    source: Path | str,
    steps: Sequence[Mapping[str, Any]] = STEPS,
    *,
    format: str = "csv",
    target: str = "y",
    options: Mapping[str, Any] | None = None,
    **prepare: Any,
) -> survey.Survey:
    data = {
        "source": str(source),
        "format": format,
        "batchSize": 4,
        "prepare": {"target": target, "steps": list(steps), **prepare},
    }
    if options is not None:
        data["options"] = dict(options)
    return survey.survey(parse(document(data=data)).spec.data, "file:///nowhere", 0)


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def excel(path: Path) -> bytes:
    with zipfile.ZipFile(path / "book", "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    return (path / "book").read_bytes()


def said_of(path: Path, **asked: Any) -> str:
    with pytest.raises(SapflowError) as caught:
        survey_of(path, **asked)
    return str(caught.value)


Content = Callable[[Path], str | bytes]
OTHER_CONTENT: Mapping[str, tuple[str, Content, str]] = {
    "gzip": ("a.csv", lambda folder: gzip.compress(GOOD.encode()), "is packed: give it a name that ends in .gz"),
    "excel": ("a.csv", excel, r"is a zip archive, as Excel's .xlsx is, too: save the table as CSV"),
    "parquet": ("a.csv", lambda folder: b"PAR1" + bytes(20), "is a Parquet file: say format: parquet"),
    "utf-16": ("a.csv", lambda folder: GOOD.encode("utf-16"), "text in utf-16: say options: encoding: utf-16"),
    "no gzip": ("a.csv.gz", lambda folder: GOOD, "give it another name if it is not packed"),
    "gzip cut off": (
        "a.csv.gz",
        lambda folder: gzip.compress(np.random.default_rng(1).bytes(9_000).hex().encode())[:5_000],
        "copy it anew, pack it anew",
    ),
    "semicolons": ("a.csv", lambda folder: GOOD.replace(",", ";"), "say options: delimiter: ';'"),
    "tabs": ("a.csv", lambda folder: GOOD.replace(",", "\t"), r"if a tab separates columns, say options: delim"),
    "no rows": ("a.csv", lambda folder: HEAD, "the source holds no rows"),
    "bad rows": ("a.csv", lambda folder: HEAD + "1,a\n" * 9, "all 9 rows of the source are bad, the first one: "),
}  # fmt: skip


@pytest.mark.parametrize("case", OTHER_CONTENT)
def test_a_file_that_is_something_else_is_told_with_the_remedy(tmp_path: Path, case: str) -> None:
    name, content, said = OTHER_CONTENT[case]
    path = written(tmp_path, name, content(tmp_path))
    with pytest.raises(SapflowError, match=said) as caught:
        survey_of(path, maxBadRows=1000)
    assert name in str(caught.value) or case == "no rows"


def test_a_json_array_is_told_from_json_lines(tmp_path: Path) -> None:
    path = written(tmp_path, "a.jsonl", '[{"x": 1, "y": "no"}]')
    with pytest.raises(DataError, match="write each row as an object in a line of its own, without brackets"):
        survey_of(path, [CLASSES], format="jsonl")


def test_a_target_that_is_no_column_is_told_and_a_name_like_it(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", GOOD.replace("x,c,y", "x,carrier,late"))
    steps = [{"encode": {"columns": ["carrier"], "method": "OneHot"}}]
    classes = {"encode": {"columns": ["lat"], "method": "Classes"}}
    for some in ([*steps, classes], [classes, *steps]):
        said = said_of(path, steps=some, target="lat")
        assert "no column is called lat (late may be meant); there are " in said
    said = said_of(path, steps=[*steps, {"encode": {"columns": ["late"], "method": "Classes"}}], target="lat")
    assert "no column is called lat (late may be meant)" in said


def test_a_stray_first_file_of_a_folder_is_named(tmp_path: Path) -> None:
    for name in ("flights/a.csv", "flights/b.csv"):
        written(tmp_path, name, GOOD)
    written(tmp_path, "flights/README.txt", "hello\n")
    said = said_of(tmp_path / "flights")
    assert "README.txt, the first of the source's files, of which 2 end in .csv" in said
    assert "folder/*.csv" in said
    assert survey_of(tmp_path / "flights" / "*.csv").complete
    with pytest.raises(DataError, match=r"it has hello; these are of .*README.txt"):
        inspection.inspect(str(tmp_path / "flights"), target="y", format="csv")


def test_a_source_without_a_header_says_why_its_columns_are_numbered(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", ROWS)
    said = "there are 0, 1, 2; columns are numbered, because .*a.csv is read without a header"
    assert re.search(said, said_of(path))
    with pytest.raises(DataError, match="it has 0, 1, 2; columns are numbered"):
        inspection.inspect(str(path), target="y")


def test_rows_that_steps_cannot_take_count_as_they_will_in_the_run(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", GOOD + ",a,yes\n")
    with pytest.raises(DataError, match=r"1 row is bad, .*a\.csv, line 62: column x: is missing"):
        survey_of(path)
    assert survey_of(path, maxBadRows=1).complete


@pytest.mark.parametrize("split", [{"values": ["z"]}, {"values": ["z", "w"]}])
def test_a_split_by_values_that_no_row_has_is_refused(tmp_path: Path, split: dict[str, Any]) -> None:
    path = written(tmp_path, "a.csv", GOOD)
    with pytest.raises(
        DataError, match=r"prepare\.split: no row has z.* in the column c, so none is held out"
    ):
        survey_of(path, split={"column": "c", **split})


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (r"C:\Users\me\a.csv", "which is a path of Windows"),
        (r"\\server\share\a.csv", "which is a path of Windows"),
        ("{folder}/empty", "the folder .*/empty holds no files that are read"),
        ("{folder}/none.csv", "there is no file at .*none.csv; a source is"),
    ],
)
def test_a_path_that_leads_nowhere_is_told(tmp_path: Path, source: str, said: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=said):
        survey_of(source.format(folder=tmp_path) if "{" in source else source)


def test_a_message_names_some_of_ten_thousand_columns(tmp_path: Path) -> None:
    names = [f"c{number}" for number in range(10_000)]
    path = written(
        tmp_path, "a.csv", ",".join([*names, "y"]) + "\n" + ",".join(["1"] * 10_000 + ["no"]) + "\n"
    )
    said = said_of(path, steps=[{"scale": {"columns": ["z"], "method": "Standard"}}, CLASSES])
    assert "there are c0, c1, " in said
    assert "and 9,981 more" in said
    assert len(said) < 1_000


def test_inspect_tells_the_same_of_files_that_are_something_else(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", GOOD.replace(",", ";"))
    with pytest.raises(DataError, match="say options: delimiter: ';'"):
        inspection.inspect(str(path), target="y")
