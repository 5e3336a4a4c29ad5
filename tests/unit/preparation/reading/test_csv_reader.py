"""CSV files are read as Python's csv and pandas read them, however they are cut into partitions."""

import bz2
import csv
import gzip
import io
import lzma
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sapflow.data.data_file import DataFile
from sapflow.errors import DataError
from sapflow.preparation.batch import Blobs, Kind, Text
from sapflow.preparation.reading import csv_file, csv_records, pieces, quoting, text_cut, text_file
from sapflow.preparation.reading.csv_reader import CsvReader
from sapflow.preparation.reading.reader import Asked, Plan, Rejected

READER = CsvReader()


def data_file(name: str, data: bytes) -> DataFile:
    return DataFile(name, len(data), lambda: io.BytesIO(data))


def planned(files: Sequence[DataFile], asked: Asked) -> Plan:
    plan = READER.survey(files, asked)
    plan = READER.cut(plan, [READER.scan(files, plan, number) for number in plan.to_scan])
    return Plan.model_validate_json(plan.model_dump_json())


def read(files: Sequence[DataFile], asked: Asked) -> tuple[dict[str, list[object]], list[Rejected], Plan]:
    """All rows of a source column by column, and the rejected ones."""
    plan = planned(files, asked)
    columns: dict[str, list[object]] = {column.name: [] for column in plan.columns}
    rejected: list[Rejected] = []
    for number in range(len(plan.partitions)):
        seen = []
        for parsed in READER.batches(files, plan, number):
            assert list(parsed.batch.columns) == list(columns)
            for name, column in parsed.batch.columns.items():
                assert not isinstance(column, Blobs)
                columns[name] += column.values() if isinstance(column, Text) else column.tolist()
                assert len(column) == len(parsed.batch)
            rejected += parsed.rejected
            seen += parsed.batch.numbers.tolist() + [each.number for each in parsed.rejected]
        assert sorted(seen) == list(range(len(seen))), "each row is counted once"
    return columns, rejected, plan


def small_partitions(patch: pytest.MonkeyPatch, size: int, rows: int = 65_536) -> None:
    for module in (text_cut, pieces):
        patch.setattr(module, "PARTITION_BYTES", size)
    patch.setattr(csv_records, "BATCH_ROWS", rows)
    patch.setattr(text_file, "READ_BYTES", 50)
    patch.setattr(csv_file, "HEAD_BYTES", 7)
    patch.setattr(quoting, "AHEAD_BYTES", 3)


def expected(
    text: str, kinds: Mapping[str, Kind], missing: Sequence[str]
) -> tuple[list[list[object]], list[int]]:
    """(the good rows, the lines of the others) by Python's csv and float; text after a closing mark is refused."""
    lines = io.StringIO(text, newline="").readlines()
    taken = 0

    def feed() -> Iterator[str]:
        nonlocal taken
        for line in lines:
            taken += 1
            yield line

    rows: list[list[object]] = []
    bad: list[int] = []
    reader = csv.reader(feed())
    header = True
    while True:
        line = taken + 1
        row = next(reader, None)
        if row is None:
            return rows, bad
        if not row:
            continue
        if header:
            header = False
            continue
        raw = "".join(lines[line - 1 : taken])
        try:
            strict = next(csv.reader(io.StringIO(raw, newline=""), strict=True))
        except csv.Error:
            strict = []
        values: list[object] = []
        try:
            if strict != row or len(row) != len(kinds):
                raise ValueError(row)
            for cell, kind in zip(row, kinds.values(), strict=True):
                if cell in missing:
                    values.append(None)
                elif kind == "Number":
                    number = float(cell)
                    if not math.isfinite(number) or "_" in cell:
                        raise ValueError(cell)
                    values.append(number)
                else:
                    values.append(cell)
        except ValueError:
            bad.append(line)
        else:
            rows.append(values)


CELL = st.sampled_from(
    [
        "",
        "NA",
        "1",
        "-2.5",
        "1e3",
        "x",
        '"x, y"',
        '"a\nb"',
        '"1"',
        '""',
        '"q""q"',
        '5"',
        '"a"b',
        "é",
        " 7 ",
        "nan",
        '"\r\n"',
    ]
)
ROW = st.lists(CELL, min_size=1, max_size=3).map(",".join)
BODY = st.lists(st.tuples(ROW, st.sampled_from(["\n", "\r\n", "\n\n", "\r"])), max_size=12)


@given(BODY, st.integers(6, 80), st.integers(1, 5), st.booleans(), st.booleans())
@settings(max_examples=30, deadline=None)
@example([('"a\nb",1', "\n"), ("x,2", "\r\n"), ("y", "\n")], 6, 1, True, True)
def test_every_row_is_read_or_rejected_once_for_every_partitioning(
    body: list[tuple[str, str]], size: int, rows: int, bom: bool, final: bool
) -> None:
    text = "t,n\n" + "".join(row + end for row, end in body)
    text = text if final else text.rstrip("\r\n")
    kinds: dict[str, Kind] = {"t": "Text", "n": "Number"}
    asked = Asked({"header": "Present"}, kinds, ("", "NA"))
    file = data_file("a.csv", (b"\xef\xbb\xbf" if bom else b"") + text.encode())
    with pytest.MonkeyPatch.context() as patch:
        small_partitions(patch, size, rows)
        columns, rejected, _ = read([file], asked)
    wanted, bad = expected(text, kinds, ("", "NA"))
    got = [
        [word, None if isinstance(number, float) and math.isnan(number) else number]
        for word, number in zip(columns["t"], columns["n"], strict=True)
    ]
    assert got == wanted
    assert [each.line for each in rejected] == bad
    assert all(each.reason and each.file == "a.csv" for each in rejected)


def test_a_batch_can_be_read_without_those_before(monkeypatch: pytest.MonkeyPatch) -> None:
    small_partitions(monkeypatch, 40, 3)
    files = [data_file("a.csv", b"n,t\n" + b"1,a\nx,b\n3,c\n4,d\n" * 6)]
    plan = planned(files, Asked(columns={"n": "Number"}))
    assert len(plan.partitions) > 1
    for number in range(len(plan.partitions)):
        every = list(READER.batches(files, plan, number))
        for first in range(len(every) + 1):
            later = list(READER.batches(files, plan, number, first))
            assert [each.rejected for each in later] == [each.rejected for each in every[first:]]
            assert [each.batch.numbers.tolist() for each in later] == [
                each.batch.numbers.tolist() for each in every[first:]
            ]


def test_rejected_rows_say_line_column_reason_and_text() -> None:
    text = 'n,when,t\n1,2013-01-01,"a\nb"\nx,2013-01-01,c\n2,13/01/01,d\n3\n4,,"e"f\ninf,,g\n'
    asked = Asked(columns={"n": "Number", "when": "Time", "t": "Text"})
    columns, rejected, _ = read([data_file("a.csv", text.encode())], asked)
    assert columns["n"] == [1.0]
    none = "and none of the texts in prepare.missing"
    assert [(each.number, each.line, each.column, each.reason, each.raw) for each in rejected] == [
        (1, 4, "n", f"'x' is not a finite number, {none}", "x,2013-01-01,c"),
        (2, 5, "when", f"'13/01/01' is not a date or a time, {none}", "2,13/01/01,d"),
        (3, 6, "", "1 fields where there are 3 columns", "3"),
        (4, 7, "", "there is text after a closing quotation mark", '4,,"e"f'),
        (5, 8, "n", f"'inf' is not a finite number, {none}", "inf,,g"),
    ]


def test_times_are_kept_in_utc_to_the_microsecond() -> None:
    times = [
        "2013-01-01",
        "2013-01-01 05:00:00",
        "2013-01-01T05:00:00.123456Z",
        "2013-01-01 05:00:00+02:00",
        "",
    ]
    columns, rejected, plan = read(
        [data_file("a.csv", ("when\n" + "\n".join(f'"{t}"' for t in times)).encode())], Asked()
    )
    assert plan.columns[0].kind == "Time"
    assert not rejected
    wanted = (
        pd.to_datetime(pd.Series(times), utc=True, format="ISO8601")
        .dt.tz_localize(None)
        .to_numpy("datetime64[us]")
    )
    np.testing.assert_array_equal(np.array(columns["when"], "datetime64[us]"), wanted)


def test_times_in_a_pattern_of_their_own() -> None:
    asked = Asked({"times": "%d.%m.%Y %H:%M"}, {"when": "Time"})
    columns, rejected, _ = read([data_file("a.csv", b"when,n\n31.12.2020 23:59,1\n2020-12-31,2\n")], asked)
    assert np.array(columns["when"], "datetime64[us]").tolist() == [
        np.datetime64("2020-12-31T23:59", "us").item()
    ]
    assert [each.line for each in rejected] == [3]


def test_decimal_and_thousands_signs_are_those_of_the_options() -> None:
    text = "a;b\n1.234,5;x\n-1.234.567;y\n0,25;z\n1.2345,6;bad\n12,3e2;w\n1.5;bad\n"
    asked = Asked({"delimiter": ";", "decimal": ",", "thousands": "."}, {"a": "Number"})
    columns, rejected, _ = read([data_file("a.csv", text.encode())], asked)
    assert columns["a"] == [1234.5, -1234567.0, 0.25, 1230.0]
    assert [each.line for each in rejected] == [5, 7]


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**18), 10**18), min_size=1)
)
@settings(max_examples=15, deadline=None)
def test_numbers_are_the_nearest_float64(values: list[float]) -> None:
    text = "n,t\n" + "".join(f"{value!r},x\n" for value in values)
    columns, _, _ = read([data_file("a.csv", text.encode())], Asked(columns={"n": "Number"}))
    assert columns["n"] == [float(value) for value in values]


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-16-le", "shift_jis", "utf-8-sig", "latin-1"])
def test_other_encodings_give_the_same_rows(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    small_partitions(monkeypatch, 40, 4)
    words = ["ソ表", "a,b", '5"'] if encoding == "shift_jis" else ["été", "a,b", "ünß"]
    if encoding.startswith("utf"):
        words += ["ソ表\n", "𝒳"]
    rows = [[word, str(number)] for number, word in enumerate(words * 5)]
    stream = io.StringIO(newline="")
    csv.writer(stream).writerows([["t é".replace("é", "e" if encoding == "shift_jis" else "é"), "n"], *rows])
    file = data_file("a.csv", stream.getvalue().encode(encoding))
    columns, rejected, plan = read([file], Asked({"encoding": encoding}))
    assert not rejected
    assert list(zip(*columns.values(), strict=True)) == [(word, float(number)) for word, number in rows]
    assert (len(plan.partitions) > 1) == (encoding in ("cp1252", "latin-1", "utf-8-sig"))


def test_a_row_that_is_not_in_the_encoding_is_rejected() -> None:
    for encoding, data in (("utf-8", b"t,n\na,1\n\xe9,2\nb,3\n"), ("cp1252", b"t,n\na,1\n\x81,2\nb,3\n")):
        columns, rejected, _ = read([data_file("a.csv", data)], Asked({"encoding": encoding}))
        assert columns["t"] == ["a", "b"]
        assert [(each.line, each.reason) for each in rejected] == [
            (3, f"it is not in {encoding} (options: encoding)")
        ]


def zipped(data: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("folder/a.csv", data)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("ending", "pack"),
    [
        ("gz", gzip.compress),
        ("bz2", bz2.compress),
        ("xz", lzma.compress),
        ("zip", zipped),
    ],
)
def test_compressed_files_give_the_same_rows(
    ending: str, pack: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    small_partitions(monkeypatch, 40, 4)
    data = b"\xef\xbb\xbft,n\n" + b'"a\nb",1\nx,y\nc,3\n' * 9
    plain = read([data_file("a.csv", data)], Asked(columns={"n": "Number"}))
    packed = read([data_file(f"a.csv.{ending}", pack(data))], Asked(columns={"n": "Number"}))
    assert packed[0] == plain[0]
    assert [each.line for each in packed[1]] == [each.line for each in plain[1]]


def test_a_damaged_or_unknown_compression_is_told() -> None:
    with pytest.raises(DataError, match=r"a\.csv\.gz (cannot be read|is corrupt)"):
        read([data_file("a.csv.gz", gzip.compress(b"t,n\n" + b"a,1\n" * 99)[:-20])], Asked())


def test_files_of_a_source_are_put_together_by_the_names_of_their_columns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small_partitions(monkeypatch, 1000)
    files = [
        data_file("a.csv", b"t,n\na,1\n"),
        data_file("b.csv", b"n,t\n2,b\n3,c\n"),
        data_file("c.csv", b"t,n\n"),
    ]
    columns, _, plan = read(files, Asked())
    assert columns == {"t": ["a", "b", "c"], "n": [1.0, 2.0, 3.0]}
    assert len(plan.partitions) == 1
    with pytest.raises(DataError, match=r"b\.csv lacks t and has u in addition, compared with"):
        read([files[0], data_file("b.csv", b"u,n\nb,1\n")], Asked())


@pytest.mark.parametrize(
    ("text", "asked", "message"),
    [
        ("a,b,a\n1,2,3\n", Asked({"header": "Present"}), "has the column 'a' twice"),
        ("a,b\n1,2\n", Asked(columns={"c": "Number"}), "declares c, and .* has no such column; it has a, b"),
        ("a,b\n1,2\n", Asked(columns={"a": "Image"}), "cannot be an Image in a CSV file"),
        ("a,b\n1,2\n", Asked({"delimiter": ";;"}), "options of the format csv: delimiter"),
        ("a,b\n1,2\n", Asked({"quote": ","}), "must be different characters"),
        ("a,b\n1,2\n", Asked({"encoding": "utf-99"}), "is no encoding that Python knows"),
        ("\n\n", Asked({"header": "Present"}), "has no rows"),
    ],
)
def test_what_does_not_fit_is_told_in_words(text: str, asked: Asked, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read([data_file("a.csv", text.encode())], asked)


def test_types_follow_from_the_first_rows() -> None:
    text = (
        "number,code,when,word,none,odd\n"
        "1,00501,2013-01-01,a,,1\n"
        "2.5,10001,2013-01-02T05:00:00Z,2,NA,nan\n"
        ",,,,,\n"
    )
    _, _, plan = read([data_file("a.csv", text.encode())], Asked())
    assert {each.name: each.kind for each in plan.columns} == {
        "number": "Number", "code": "Text", "when": "Time", "word": "Text", "none": "Text", "odd": "Number",
    }  # fmt: skip


def test_a_file_without_header_has_numbers_for_names() -> None:
    columns, _, _ = read([data_file("a.csv", b"1,a\n2,b\n")], Asked({"header": "Absent"}))
    assert columns == {"0": [1.0, 2.0], "1": ["a", "b"]}


def test_one_column_may_be_missing_in_quotation_marks() -> None:
    columns, rejected, _ = read([data_file("a.csv", b'n\n1\n""\n\nNA\n3')], Asked({"header": "Present"}))
    np.testing.assert_array_equal(columns["n"], [1.0, np.nan, np.nan, 3.0])
    assert not rejected


def test_a_quotation_mark_that_is_not_closed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    small_partitions(monkeypatch, 64)
    for module in (text_cut, csv_records):
        monkeypatch.setattr(module, "MAX_RECORD_BYTES", 100)
    file = data_file("a.csv", b'a,b\n1,2\n"1,2\n' + b"3,4\n" * 200)
    with pytest.raises(DataError, match="most likely a quotation mark is opened and not closed"):
        read([file], Asked({"header": "Present"}))
    columns, _, _ = read([file], Asked({"header": "Present", "quote": ""}, {"a": "Text"}))
    assert columns["a"][:3] == ["1", '"1', "3"]


def test_escaped_marks_are_read_as_text() -> None:
    columns, rejected, _ = read(
        [data_file("a.csv", b't,n\n"a\\"b",1\nc\\,d,2\n"e""f",3\n')], Asked({"escape": "\\"})
    )
    assert columns == {"t": ['a"b', "c,d", 'e"f'], "n": [1.0, 2.0, 3.0]}
    assert not rejected
