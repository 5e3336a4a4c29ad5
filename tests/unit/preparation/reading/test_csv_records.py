"""Records of CSV text, window by window, are those that Python's csv finds, with what is wrong of each."""

import csv
import io

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sapflow.errors import DataError
from sapflow.preparation.reading import csv_records
from sapflow.preparation.reading.csv_records import Records, reader_of, windows
from sapflow.preparation.reading.quoting import Marks

MARKS = Marks(ord(","), ord('"'))
TEXT = st.text(alphabet='ab,"\n\ré', max_size=60)


def found(data: bytes, size: int, marks: Marks = MARKS, width: int = 2) -> list[Records]:
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    return [part for window in windows(pieces, marks, width, 1, "a.csv") for part in window]


def rows(text: str) -> list[list[str]]:
    return [row for row in csv.reader(io.StringIO(text, newline="")) if row]


@given(TEXT, st.integers(1, 60))
@settings(max_examples=600, deadline=None)
@example('"a"\r\n\r\n,\r', 3)
@example('a,b\r"c\n', 1)
def test_fields_are_those_of_python_for_every_division(text: str, size: int) -> None:
    parts = found(text.encode(), size)
    got = [part.cells(number, MARKS) for part in parts for number in range(len(part))]
    assert got == rows(text)
    counts = [count for part in parts for count in part.fields.tolist()]
    wrong = [code for part in parts for code in part.wrong.tolist()]
    for row, count, code in zip(rows(text), counts, wrong, strict=True):
        assert count == len(row)
        assert code != 0 or count == 2


@given(TEXT, st.integers(1, 60))
@settings(max_examples=400, deadline=None)
def test_canonical_text_has_the_same_fields_of_the_good_records(text: str, size: int) -> None:
    for part in found(text.encode(), size):
        good = [part.cells(number, MARKS) for number in range(len(part)) if part.wrong[number] == 0]
        canonical = part.canonical(MARKS).decode()
        assert rows(canonical) == good
        assert canonical.count("\n") >= len(good)


@given(st.text(alphabet='a,"\n\r\\', max_size=40), st.integers(1, 40))
@settings(max_examples=300, deadline=None)
def test_escapes_are_taken_out_of_canonical_text(text: str, size: int) -> None:
    if '"\\' in text or text.endswith("\\"):
        return
    marks = Marks(ord(","), ord('"'), ord("\\"))
    parts = found(text.encode(), size, marks)
    expected = [row for row in reader_of(io.StringIO(text, newline=""), marks) if row]
    got = [part.cells(number, marks) for part in parts for number in range(len(part))]
    assert got == expected
    good = [part.cells(n, marks) for part in parts for n in range(len(part)) if part.wrong[n] == 0]
    assert [row for part in parts for row in rows(part.canonical(marks).decode())] == good


def test_what_is_wrong_with_a_record_is_said_with_its_line() -> None:
    data = b'a,b\n"x\ny",1\n"p"q,2\n\nz\n' + b"\xe9,1\n" + b'5" pipe,3\n"open,4\n'
    told = [
        (int(part.line[n]), part.reason(n, 2, "UTF-8")) for part in found(data, 100) for n in range(len(part))
    ]
    assert told == [
        (1, ""),
        (2, ""),
        (4, "there is text after a closing quotation mark"),
        (6, "1 fields where there are 2 columns"),
        (7, "it is not in UTF-8 (options: encoding)"),
        (8, ""),
        (9, "a quotation mark is opened and not closed before the file ends"),
    ]


def test_a_window_ends_after_its_rows_or_bytes_wherever_pieces_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_records, "BATCH_ROWS", 3)
    monkeypatch.setattr(csv_records, "WINDOW_BYTES", 12)
    data = b"1,2\n" * 7 + b"12345,12345678\n" + b"1,2\n12345678,12\n"
    expected = [3, 3, 1, 1, 1, 1]
    for size in range(1, len(data) + 1):
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        counts = [sum(map(len, window)) for window in windows(pieces, MARKS, 2, 1, "a.csv")]
        assert counts == expected


def test_a_record_without_end_is_refused_with_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_records, "MAX_RECORD_BYTES", 20)
    data = b'1,2\n"1,2\n' + b"3,4\n" * 10
    with pytest.raises(DataError, match=r"a\.csv, line 2: the record that begins there has more than"):
        found(data, 10)
