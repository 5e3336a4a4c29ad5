"""Records without quotation marks, read as they stand, give the columns and bad rows that DuckDB gives."""

import random

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sapflow.preparation.batch import Column, Kind, Text
from sapflow.preparation.reading.csv_records import Records, windows
from sapflow.preparation.reading.csv_table import Fields
from sapflow.preparation.reading.plain_fields import PlainFields
from sapflow.preparation.reading.quoting import Marks
from sapflow.preparation.reading.typed_fields import Notation, TypedFields

MARKS = Marks(ord(","), ord('"'))
KINDS: list[Kind] = ["Number", "Text", "Time"]
NOTATIONS = (
    Notation(),
    Notation(missing=("NA", "-999", "2000-01-01"), thousands="_"),
    Notation(missing=("", "none"), decimal=";", time="%d.%m.%Y"),
    Notation(missing=("?",)),
)
NUMBERS = st.sampled_from(
    [
        "0",
        "-0",
        "1",
        "-12.5",
        "1;5",
        "1_000",
        "1_00",
        "12345678.25",
        "0.12345678901234567",
        "1e-05",
        ".5",
        "5.",
        "+3",
        "nan",
        "inf",
        "-999",
        "NA",
        "none",
        "x",
        "1.2.3",
        "",
        " 7 ",
        "9007199254740993",
        "é",
    ]
)
WORDS = st.sampled_from(["", "a", "b", "NA", "none", "a longer word than eight", "é", " ", "-999", "a'b"])
TIMES = st.sampled_from(
    [
        "2024-02-29",
        "2023-02-29",
        "2024-01-31T23:59:59",
        "2024-01-31T23:59:59Z",
        "31.12.2024",
        "epoch",
        "infinity",
        "2000-01-01",
        "NA",
        "1",
        "",
        "2024-01-31 23:59:59",
        "2024-01-31 23:59:59.5",
        "2024-01-31 24:00:00",
        "0000-01-01",
        "13/01/02",
    ]
)
ROWS = st.lists(st.tuples(NUMBERS, WORDS, TIMES), min_size=1, max_size=30)


def records_of(data: bytes, size: int, width: int = 3) -> list[Records]:
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    return [each for window in windows(pieces, MARKS, width, 1, "table.csv") for each in window]


def by_duckdb(window: list[Records], notation: Notation) -> tuple[list[Column], np.ndarray]:
    text = b"".join(records.canonical(MARKS) for records in window)
    with TypedFields(KINDS, notation, MARKS) as fields:
        return fields.read(text, sum(map(len, window)))


def assert_same(found: tuple[list[Column], np.ndarray], expected: tuple[list[Column], np.ndarray]) -> None:
    np.testing.assert_array_equal(found[1], expected[1])
    for one, other in zip(found[0], expected[0], strict=True):
        if isinstance(one, Text):
            assert isinstance(other, Text)
            assert one.words == other.words
            np.testing.assert_array_equal(one.codes, other.codes)
        else:
            assert isinstance(one, np.ndarray)
            assert isinstance(other, np.ndarray)
            assert one.dtype == other.dtype
            assert one.tobytes() == other.tobytes()


@given(ROWS, st.integers(8, 400), st.sampled_from(NOTATIONS), st.booleans())
@settings(max_examples=80, deadline=None)
@example([("NA", "", ""), ("", "NA", "NA")], 10, NOTATIONS[0], True)
def test_the_columns_are_those_of_duckdb(
    rows: list[tuple[str, str, str]], size: int, notation: Notation, ended: bool
) -> None:
    data = "\n".join(map(",".join, rows)).encode() + b"\n" * ended
    window = records_of(data, size)
    fields = PlainFields(KINDS, notation, MARKS)
    try:
        found = fields.read(window)
    finally:
        fields.close()
    assert found is not None
    assert_same(found, by_duckdb(window, notation))


def test_many_rows_of_columns_that_are_not_plain_are_those_of_duckdb() -> None:
    chance = random.Random(3)
    rows = [
        (repr(chance.gauss(0, 1)), f"{chance.randrange(999)}", f"2024-01-01 00:00:{chance.randrange(60):02}Z")
        for _ in range(40_000)
    ]
    window = records_of("\n".join(map(",".join, rows)).encode(), 300_000)
    with Fields(KINDS, Notation(), MARKS) as fields:
        assert_same(fields.read(window), by_duckdb(window, Notation()))


@pytest.mark.parametrize("text", ['1,"a",\n', "1,a\n1,a,\n", "1,a,\r\n", "1,\udcff,\n"])
def test_what_is_quoted_or_wrong_is_left_to_duckdb(text: str) -> None:
    window = records_of(text.encode(errors="surrogateescape"), 100)
    fields = PlainFields(KINDS, Notation(), MARKS)
    assert fields.read(window) is None
    fields.close()


def test_empty_lines_and_lines_count_as_by_the_automaton() -> None:
    data = b"\n\n1,a,\n\n\n2,b,\n3,c,"
    for size in range(1, len(data) + 1):
        records = records_of(data, size)
        assert [int(line) for each in records for line in each.line] == [3, 6, 7]
        assert [each.raw(n) for each in records for n in range(len(each))] == ["1,a,", "2,b,", "3,c,"]


@pytest.mark.parametrize("data", [b"ab\ncd\nef\n", b"z,z,z\n,ab,\n"])
def test_records_stay_as_they_are_when_they_are_read(data: bytes) -> None:
    width = data.count(b",") // 2 + 1
    (records,) = records_of(data, 100, width)
    some = records.some(1, len(records))
    before = [some.raw(number) for number in range(len(some))]
    fields = PlainFields(["Text"] * width, Notation(), MARKS)
    first, second = fields.read([some]), fields.read([some])
    fields.close()
    assert first is not None
    assert second is not None
    assert_same(first, second)
    assert [some.raw(number) for number in range(len(some))] == before
