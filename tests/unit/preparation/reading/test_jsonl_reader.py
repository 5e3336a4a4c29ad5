"""JSON Lines are read strictly, however they are cut into partitions, and every bad line is told once."""

import gzip
import io
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sapflow.data.data_file import DataFile
from sapflow.errors import DataError
from sapflow.preparation.batch import Blobs, Text
from sapflow.preparation.reading import column_types, csv_records, pieces, quoting, text_cut, text_file
from sapflow.preparation.reading.json_rows import field_given_twice
from sapflow.preparation.reading.jsonl_reader import JsonLinesReader
from sapflow.preparation.reading.reader import Asked, Plan, Rejected

READER = JsonLinesReader()


def data_file(data: bytes, name: str = "a.jsonl") -> DataFile:
    return DataFile(name, len(data), lambda: io.BytesIO(data))


def lines(*rows: Any) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def read(
    files: Sequence[DataFile], asked: Asked | None = None
) -> tuple[dict[str, list[Any]], list[Rejected], Plan]:
    plan = READER.survey(files, asked or Asked())
    plan = READER.cut(plan, [READER.scan(files, plan, number) for number in plan.to_scan])
    plan = Plan.model_validate_json(plan.model_dump_json())
    columns: dict[str, list[Any]] = {column.name: [] for column in plan.columns}
    rejected: list[Rejected] = []
    for number in range(len(plan.partitions)):
        seen: list[int] = []
        for parsed in READER.batches(files, plan, number):
            for name, column in parsed.batch.columns.items():
                assert not isinstance(column, Blobs)
                columns[name] += column.values() if isinstance(column, Text) else column.tolist()
            rejected += parsed.rejected
            seen += parsed.batch.numbers.tolist() + [each.number for each in parsed.rejected]
        assert sorted(seen) == list(range(len(seen))), "each row is counted once"
    return columns, rejected, plan


LINE = st.sampled_from(
    [
        '{"n": 1, "t": "a"}',
        '{"t": "é\\n", "n": -2.5e3}',
        "{}",
        '{"n": null}',
        '{"n": "x"}',
        "{",
        "",
        '{"n": 1} 2',
        '{"t": [1]}',
    ]
)


@given(
    st.lists(st.tuples(LINE, st.sampled_from(["\n", "\r\n", "\n\n"])), max_size=12),
    st.integers(4, 60),
    st.integers(1, 4),
)
@settings(max_examples=25, deadline=None)
def test_every_line_is_read_or_rejected_once_for_every_partitioning(
    body: list[tuple[str, str]], size: int, rows: int
) -> None:
    text = '{"n": 0, "t": "first"}\n' + "".join(line + end for line, end in body)
    with pytest.MonkeyPatch.context() as patch:
        for module in (text_cut, pieces):
            patch.setattr(module, "PARTITION_BYTES", size)
        patch.setattr(csv_records, "BATCH_ROWS", rows)
        patch.setattr(text_file, "READ_BYTES", 11)
        patch.setattr(quoting, "AHEAD_BYTES", 3)
        columns, rejected, _ = read([data_file(text.encode())], Asked(columns={"n": "Number", "t": "Text"}))
    good, bad = [], []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip("\r"):
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if row is None or isinstance(row.get("n"), str) or isinstance(row.get("t"), list):
            bad.append(number)
        else:
            good.append((row.get("n"), row.get("t")))
    got = [(None if math.isnan(n) else n, t) for n, t in zip(columns["n"], columns["t"], strict=True)]
    assert got == good
    assert [each.line for each in rejected] == bad


def test_objects_within_objects_are_columns_of_dotted_names() -> None:
    data = lines(
        {"a": {"b": 1, "c": {"d": "x"}}, "e": True},
        {"a": None, "e": None},
        {"a": {"b": None, "c": {"d": "y"}}, "e": False},
    )
    columns, rejected, plan = read([data_file(data)])
    assert not rejected
    assert {each.name: each.kind for each in plan.columns} == {
        "a.b": "Number",
        "a.c.d": "Text",
        "e": "Number",
    }
    np.testing.assert_array_equal(columns["a.b"], [1, math.nan, math.nan])
    assert columns["a.c.d"] == ["x", None, "y"]
    np.testing.assert_array_equal(columns["e"], [1, math.nan, 0])


def test_types_follow_from_the_first_rows() -> None:
    data = lines(
        {"n": 1, "when": "2013-01-01T00:00:00+02:00", "v": [1, 2.5], "mixed": 1, "none": None, "some": "NA"},
        {"n": 2.5, "when": "2013-01-02", "v": [None, 3], "mixed": "x", "none": None, "some": 3},
    )
    columns, rejected, plan = read([data_file(data)])
    assert not rejected
    assert [(each.name, each.kind, each.width) for each in plan.columns] == [
        ("n", "Number", 1),
        ("when", "Time", 1),
        ("v", "Number", 2),
        ("mixed", "Text", 1),
        ("none", "Text", 1),
        ("some", "Number", 1),
    ]
    np.testing.assert_array_equal(columns["v"], [[1, 2.5], [math.nan, 3]])
    assert columns["mixed"] == ["1", "x"]
    assert np.array(columns["when"][0], "datetime64[us]") == np.datetime64("2012-12-31T22:00")


def test_bad_lines_say_line_column_and_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(column_types, "ROWS", 1)
    data = lines({"n": 1, "o": {"t": "a"}, "v": [1, 2], "w": "2013-01-01"}) + (
        b'{"n": [1]}\n{"n": "many"}\n{"n": 1\n{"o": {"u": 1}}\n{"v": [1]}\n[1]\n{"n": 1e999}\n{"w": "soon"}\n'
        b'{"o": {"t": "\xe9"}}\n'
    )
    _, rejected, _ = read([data_file(data)])
    told = [(each.line, each.column, each.reason) for each in rejected]
    assert [(line, column) for line, column, _ in told] == [
        (2, "n"), (3, "n"), (4, ""), (5, ""), (6, "v"), (7, ""), (8, "n"), (9, "w"), (10, ""),
    ]  # fmt: skip
    assert told[1][2] == "the text 'many' is no number, and none of the texts in prepare.missing"
    assert told[3][2].startswith("the field o.u is no column")
    assert told[4][2] == "a list of 1 numbers where others have 2"
    assert rejected[2].raw == '{"n": 1'


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (b'{"n": 1, "t": "a", "n": 2}', "n"),
        (b'{"n": 1, "n" \t: 1}', "n"),
        (b'{"o": {"x": 1, "x": 1}}', "x"),
        (b'{"n": 1, "\\u006e": 2}', "n"),
        (b'{"t": "\\"n\\":", "t": "b"}', "t"),
    ],
)
def test_a_line_that_has_a_field_twice_is_a_bad_row(line: bytes, name: str) -> None:
    good = lines({"n": 1, "t": '"n":1,"n":2', "o": {"x": 2}, "p": {"x": 3}}, {"n": 2, "t": "n, n:"})
    columns, rejected, _ = read([data_file(good + line + b"\n" + good)])
    assert columns["n"] == [1, 2] * 2
    assert [(each.line, each.reason) for each in rejected] == [
        (3, f"the field '{name}' is given twice in one object: keep one of them")
    ]


@given(
    st.dictionaries(st.text('ab:",\\ {}é', max_size=4), st.text('ab:",\\ {}é', max_size=6), max_size=5),
    st.booleans(),
    st.data(),
)
def test_fields_that_are_given_twice_are_those_that_python_finds(
    row: dict[str, str], ascii_alone: bool, data: st.DataObject
) -> None:
    pairs = [f"{json.dumps(name, ensure_ascii=ascii_alone)} :{json.dumps(row[name])}" for name in row]
    if row:
        pairs += data.draw(st.lists(st.sampled_from(pairs), max_size=1))
    found = field_given_twice(("{" + ",".join(pairs) + "}").encode())
    assert (found is None) == (len(pairs) == len(row))


def test_unknown_fields_are_passed_over_if_the_options_say_so() -> None:
    data = lines(*({"n": number} for number in range(10_000)), {"n": 10_000, "new": 1})
    _, rejected, _ = read([data_file(data)])
    assert [each.line for each in rejected] == [10_001]
    columns, rejected, _ = read([data_file(data)], Asked({"unknown": "Ignore"}))
    assert not rejected
    assert columns["n"] == [float(number) for number in range(10_001)]


def test_a_declared_column_may_come_late_or_never() -> None:
    columns, rejected, _ = read([data_file(lines({"a": 1}))], Asked(columns={"b.c": "Text"}))
    assert not rejected
    assert columns == {"a": [1.0], "b.c": [None]}


def test_compressed_files_and_several_files_are_one_source() -> None:
    first, second = lines({"n": 1}, {"n": 2}), lines({"n": 3})
    columns, _, plan = read([data_file(first), data_file(gzip.compress(second), "b.jsonl.gz")])
    assert columns["n"] == [1.0, 2.0, 3.0]
    assert len(plan.partitions) == 1


@pytest.mark.parametrize(
    ("data", "asked", "message"),
    [
        (b"\n\n", Asked(), "begins with no line that is a JSON object"),
        (lines({"v": [1, "x"]}), Asked(), "column v holds lists that are not of numbers"),
        (lines({"v": 1}), Asked({"delimiter": ";"}), "options of the format jsonl: delimiter"),
        (lines({"v": "x"}), Asked(columns={"v": "Image"}), "cannot be an Image in JSON Lines"),
    ],
)
def test_what_does_not_fit_is_told_in_words(data: bytes, asked: Asked, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read([data_file(data)], asked)
