"""Records of CSV files are found from any place on, as Python's csv finds them from the beginning."""

import csv
import io
import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sapflow.preparation.reading import quoting
from sapflow.preparation.reading.quoting import EMPTY, OUTSIDE, Marks, Span, scanned

MARKS = Marks(ord(","), ord('"'))
TEXT = st.text(alphabet='ab,"\n\r', max_size=60)


def records(text: str, escape: str | None = None) -> list[tuple[int, int]]:
    """(offset, line from 0) of each record that is no empty line, by Python's csv.

    Its reader takes lines one by one and gives a record as soon as it is complete.
    """
    lines = io.StringIO(text, newline="").readlines()
    offsets = np.concatenate([[0], np.cumsum([len(line) for line in lines])])
    taken = 0

    def feed() -> Iterator[str]:
        nonlocal taken
        for line in lines:
            taken += 1
            yield line

    found: list[tuple[int, int]] = []
    reader = csv.reader(feed(), escapechar=escape)
    while True:
        begin = taken
        try:
            row = next(reader)
        except StopIteration:
            return found
        if row:
            found.append((int(offsets[begin]), begin))


def by_parts(data: bytes, cuts: list[int], marks: Marks = MARKS) -> list[Span]:
    def read(begin: int, end: int) -> bytes:
        return data[begin:end]

    edges = [0, *sorted(cuts), len(data)]
    return [scanned(read, begin, end, 0, len(data), marks) for begin, end in itertools.pairwise(edges)]


def check(text: str, cuts: list[int], marks: Marks = MARKS, escape: str | None = None) -> None:
    data = text.encode()
    expected = records(text, escape)
    state, line, count = OUTSIDE, 0, 0
    starts = dict(expected)
    for part in by_parts(data, cuts, marks):
        if part.first[state] >= 0:
            first = part.first[state]
            later = [(offset, number) for offset, number in expected if offset >= first]
            if first in starts:
                assert starts[first] == line + part.skipped[state]
            else:  # an empty line
                assert data[first] in b"\r\n"
            assert not later or later[0] == expected[count]
        count += part.records[state]
        line += part.lines
        state = part.ends[state]
    assert count == len(expected)


@given(TEXT, st.lists(st.integers(0, 60), max_size=4))
@settings(max_examples=600, deadline=None)
@example('a,"b\r\nc"\r\n"d""",e\r\n', [6, 7])
@example('"""\n', [1, 2])
@example('a"b\n"c\nd"\n', [2])
@example('"a"b"\nc\n', [3])
def test_records_begin_where_python_finds_them_for_every_cut(text: str, cuts: list[int]) -> None:
    check(text, [cut for cut in cuts if cut <= len(text)])


@given(TEXT)
@settings(max_examples=150, deadline=None)
def test_every_single_cut_gives_the_same_records(text: str) -> None:
    for cut in range(len(text) + 1):
        check(text, [cut])


@given(st.text(alphabet='a,"\n\r\\', max_size=40), st.lists(st.integers(0, 40), max_size=3))
@settings(max_examples=400, deadline=None)
def test_escaped_marks_are_text(text: str, cuts: list[int]) -> None:
    if '"\\' in text or text.endswith("\\"):
        return  # after a closing mark Python takes an escape for text; such a record is refused anyway
    check(text, [cut for cut in cuts if cut <= len(text)], Marks(ord(","), ord('"'), ord("\\")), "\\")


@given(TEXT, st.lists(st.integers(0, 60), max_size=6))
def test_spans_are_composed_up_any_tree(text: str, cuts: list[int]) -> None:
    parts = by_parts(text.encode(), [cut for cut in cuts if cut <= len(text)])
    left = EMPTY
    for part in parts:
        left = left.then(part)
    right = EMPTY
    for part in reversed(parts):
        right = part.then(right)
    assert left == right
    assert left.lines == len(quoting.line_ends(np.frombuffer(text.encode(), np.uint8)))


def test_a_span_that_is_longer_than_a_slice_is_read_slice_by_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    text = 'a,"b\n\n""c"\r\n' * 50 + "last,one"
    expected = by_parts(text.encode(), [])
    monkeypatch.setattr(quoting, "SLICE_BYTES", 7)
    monkeypatch.setattr(quoting, "AHEAD_BYTES", 3)
    assert by_parts(text.encode(), []) == expected
    assert expected[0].records[OUTSIDE] == 51


def test_a_file_without_quotation_marks_has_a_record_a_line() -> None:
    data = b'a,"b\nc",d\n'
    found = scanned(lambda begin, end: data[begin:end], 0, len(data), 0, len(data), Marks(ord(","), None))
    assert (found.records[OUTSIDE], found.lines, found.ends[OUTSIDE]) == (2, 2, OUTSIDE)
