"""What the columns of a table are for: headers, names, several files, pandas' index, labels that are words."""

import gzip
from pathlib import Path

import numpy as np
import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sapflow.data.chunks import Reading
from sapflow.data.source import open_source
from sapflow.errors import DataError

N = 60
RNG = np.random.default_rng(3)
A, B, C = RNG.normal(size=N).round(3), (RNG.normal(size=N) * 10).round(3), 300 + RNG.normal(size=N).round(3)
LABEL = RNG.integers(0, 2, N)
FRAME = pandas.DataFrame({"a": A, "b": B, "c": C, "label": LABEL})


class Read:
    """A whole source."""

    def __init__(self, path: Path, **options: object) -> None:
        reading = Reading(open_source(str(path), options=options))
        chunks = list(reading)
        self.features = np.concatenate([chunk.features for chunk in chunks])
        self.targets = np.concatenate([chunk.targets for chunk in chunks])
        self.task, self.columns, self.class_names = reading.task.name, reading.columns, reading.class_names


def refused(path: Path, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        Read(path, **options)
    return str(caught.value)


def rows(table: pandas.DataFrame, header: str | None) -> str:
    body = str(table.to_csv(index=False, header=False))
    return body if header is None else f"{header}\n{body}"


def write(folder: Path, text: str, name: str = "s.csv") -> Path:
    (folder / name).write_text(text)
    return folder


def same_as_frame(found: Read) -> bool:
    np.testing.assert_array_equal(found.features, np.stack([A, B, C], axis=1).astype(np.float32))
    return bool(found.targets.tolist() == LABEL.tolist())


# Headers


@pytest.mark.parametrize(
    "header",
    [
        "0,1,2,3",
        "2019,2020,2021,label",
        "400.0,400.5,401.0,label",
        "0,1,2,label",
        "x1,2020,x3,label",
        "a,b,c,label",
    ],
)
def test_a_header_of_numbers_is_no_sample(header: str, tmp_path: Path) -> None:
    found = Read(write(tmp_path, rows(FRAME, header)))
    assert same_as_frame(found)
    assert len(found.features) == N
    assert found.columns == (() if header == "0,1,2,3" else tuple(header.split(",")[:3]))


@pytest.mark.parametrize("header", ["2019,2020,2021,2022", "5,2020,7,label", "label,5"])
def test_a_first_row_that_may_be_either_has_to_be_said(header: str, tmp_path: Path) -> None:
    count = header.count(",")
    whole = pandas.DataFrame({**{f"f{i}": RNG.integers(0, 10, N) for i in range(count)}, "label": LABEL})
    if header.startswith("label"):
        whole = whole[["label", "f0"]]
    write(tmp_path, rows(whole, header))
    message = refused(tmp_path, target=0)
    assert f"s.csv: the first row ({header.replace(',', ', ')}) may be a header or a sample" in message
    assert "options: header: Present" in message
    assert len(Read(tmp_path, target=0, header="Present").features) == N


def test_samples_of_whole_numbers_need_no_word_about_a_header(tmp_path: Path) -> None:
    found = Read(write(tmp_path, "5,3,1,0\n0,1,2,1\n7,1,0,1\n"))
    assert found.targets.tolist() == [0, 1, 1]
    assert Read(write(tmp_path, "1,2\n")).targets.tolist() == [2]


def test_a_target_that_the_first_row_names_makes_it_a_header(tmp_path: Path) -> None:
    table = FRAME.assign(label=np.where(LABEL, "yes", "no"))
    assert len(Read(write(tmp_path, rows(table, "2019,2020,2021,label")), target="label").features) == N
    assert "may be a header or a sample" in refused(tmp_path)
    assert len(Read(write(tmp_path, rows(table, None))).features) == N
    assert "the first row was taken for a sample" in refused(tmp_path, target="label")


def test_a_bad_cell_in_the_first_sample_makes_no_header_of_it(tmp_path: Path) -> None:
    assert "may be a header or a sample" in refused(write(tmp_path, "5.1,abc,3.2,0\n" + rows(FRAME, None)))
    assert "line 1, column 1: '?' is not a finite number" in refused(
        write(tmp_path, "5.1,?,3.2,0\n" + rows(FRAME, None))
    )


def test_a_year_as_a_target_is_a_name_in_quotation_marks(tmp_path: Path) -> None:
    write(tmp_path, rows(FRAME, "2019,2020,2021,2022"))
    assert Read(tmp_path, header="Present", target="2022").columns == ("2019", "2020", "2021")
    assert 'write it in quotation marks: "2022"' in refused(tmp_path, header="Present", target=2022)


# Names


def test_files_of_one_set_are_joined_by_the_names_of_their_columns(tmp_path: Path) -> None:
    FRAME[:30].to_csv(tmp_path / "p1.csv", index=False)
    FRAME[30:][["c", "label", "a", "b"]].to_csv(tmp_path / "p2.csv", index=False)
    assert same_as_frame(Read(tmp_path, target="label"))
    (folder := tmp_path / "parquet").mkdir()
    FRAME[:30].to_parquet(folder / "p1.parquet", index=False)
    FRAME[30:][["c", "label", "a", "b"]].to_parquet(folder / "p2.parquet", index=False)
    assert same_as_frame(Read(folder, target=-1))


def test_a_part_without_header_follows_the_first_file_by_place(tmp_path: Path) -> None:
    write(tmp_path, rows(FRAME[:30], "a,b,c,label"), "p1.csv")
    write(tmp_path, rows(FRAME[30:], None), "p2.csv")
    assert same_as_frame(Read(tmp_path))
    write(tmp_path, rows(FRAME[30:], "0,1,2,3"), "p2.csv")
    assert "p2.csv lacks 'a', 'b', 'c', 'label' and has '0', '1', '2', '3' in addition" in refused(tmp_path)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_files_of_other_columns_are_refused_by_name(kind: str, tmp_path: Path) -> None:
    def put(frame: pandas.DataFrame, name: str) -> None:
        path = tmp_path / f"{name}.{kind}"
        frame.to_csv(path, index=False) if kind == "csv" else frame.to_parquet(path, index=False)

    put(FRAME, "p1")
    put(FRAME.rename(columns={"b": "d"}), "p2")
    assert f"p2.{kind} lacks 'b' and has 'd' in addition, compared with" in refused(tmp_path, target="label")
    put(FRAME.assign(d=1.5), "p2")
    assert f"p2.{kind} has 'd' in addition" in refused(tmp_path, target="label")


def test_a_headerless_first_file_and_a_header_later_are_refused(tmp_path: Path) -> None:
    write(tmp_path, rows(FRAME[:30], None), "p1.csv")
    write(tmp_path, rows(FRAME[30:], "c,b,a,label"), "p2.csv")
    assert "p2.csv names its columns" in refused(tmp_path)


@pytest.mark.parametrize("header", ["label,b,c,label", "a,a,c,label"])
def test_two_columns_of_one_name_are_refused(header: str, tmp_path: Path) -> None:
    assert "s.csv has two columns of the name" in refused(
        write(tmp_path, rows(FRAME, header)), target="label"
    )
    table = pa.Table.from_arrays([pa.array(FRAME[each]) for each in FRAME], names=header.split(","))
    (folder := tmp_path / "parquet").mkdir()
    pq.write_table(table, folder / "s.parquet")
    assert "s.parquet has two columns of the name" in refused(folder, target="label")


# pandas' index


def test_the_index_of_pandas_is_no_feature(tmp_path: Path) -> None:
    shuffled = FRAME.sample(frac=1, random_state=1)
    for name, frame in (("plain", shuffled), ("named", shuffled.rename_axis("row")), ("range", FRAME)):
        (folder := tmp_path / name).mkdir()
        frame.to_parquet(folder / "s.parquet")
        assert Read(folder, target="label").columns == ("a", "b", "c")
    (folder := tmp_path / "csv").mkdir()
    shuffled.to_csv(folder / "s.csv")
    assert Read(folder).columns == ("a", "b", "c")
    pandas.read_csv(folder / "s.csv").to_csv(folder / "s.csv", index=False)
    assert Read(folder).columns == ("a", "b", "c")
    pq.write_table(pa.table({"__index_level_0__": A, "a": B, "label": LABEL}), tmp_path / "own.parquet")
    assert len(Read(tmp_path / "own.parquet").columns) == 2, "nothing says that this is an index"


def test_an_index_that_is_the_target_is_the_target(tmp_path: Path) -> None:
    FRAME.set_index("label").to_parquet(tmp_path / "s.parquet")
    assert same_as_frame(Read(tmp_path, target="label"))


# Names that YAML takes for something else


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"target": False},
            "target: is false here, because YAML takes no, off, yes and on without quotation marks",
        ),
        ({"targets": ["a", True]}, "is true here"),
        ({"classes": [False, True]}, "one of them is false here"),
        ({"classes": True}, "classes: is true here"),
        ({"classes": [1, 2]}, "are words in quotation marks, such as '1', got 1"),
        ({"classes": ["0", "1", "1"]}, "names '1' twice"),
        ({"target": 1.5}, "must be a column's name, in quotation marks, or its number, got 1.5"),
        ({"target": None}, "must be a column's name"),
    ],
)
def test_booleans_are_no_names(options: dict[str, object], text: str, tmp_path: Path) -> None:
    assert text in refused(write(tmp_path, rows(FRAME, "x1,x2,no,label")), **options)


# Labels that are words


WORDS = np.array(["rose", "oak", "elm"])[RNG.integers(0, 3, N)]


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "parquet", "npz", "categories"])
def test_words_are_classes_in_the_order_of_the_alphabet(kind: str, tmp_path: Path) -> None:
    frame = FRAME.assign(label=WORDS)
    if kind == "csv":
        frame.to_csv(tmp_path / "s.csv", index=False)
    elif kind == "csv.gz":
        (tmp_path / "s.csv.gz").write_bytes(gzip.compress(frame.to_csv(index=False).encode()))
    elif kind == "npz":
        np.savez(tmp_path / "s.npz", x=np.stack([A, B, C], axis=1), y=WORDS)
    else:
        frame = frame.astype({"label": "category"}) if kind == "categories" else frame
        frame.to_parquet(tmp_path / "s.parquet")
    found = Read(tmp_path)
    assert found.class_names == ("elm", "oak", "rose")
    assert [found.class_names[each] for each in found.targets] == WORDS.tolist()
    assert found.task == "classification"
    assert Read(tmp_path, classes=["oak", "rose", "elm"]).class_names == ("oak", "rose", "elm")
    assert Read(tmp_path, classes=3).class_names == ("elm", "oak", "rose")
    assert "has 3 different labels, where options: classes says 2: 'elm', 'oak', 'rose'" in refused(
        tmp_path, classes=2
    )
    assert "is a word, and task: Regression learns numbers" in refused(tmp_path, task="Regression")


def test_numbers_among_words_and_missing_words_are_told(tmp_path: Path) -> None:
    write(tmp_path, "a,l\n1,2\n3,no\n")
    assert "line 3, column l: the target 'no' is not a number, and others are" in refused(tmp_path)
    write(tmp_path, "a,l\n1,yes\n3,\n")
    assert "line 3, column l: there is no label" in refused(tmp_path)
    write(tmp_path, "a,l\n1,yes\n3,yes\n")
    assert "all labels are 'yes'" in refused(tmp_path)
    write(tmp_path, "a,b,l\n1,yes,no\n3,no,yes\n")
    assert "line 2, column b: the target 'yes' is not a number" in refused(tmp_path, targets=["b", "l"])


def test_too_many_words_are_no_classes(tmp_path: Path) -> None:
    write(tmp_path, "a,l\n" + "".join(f"{i},word{i}\n" for i in range(70_000)))
    assert "there can be 65,536 classes" in refused(tmp_path)


def test_words_that_are_listed_match_whole_numbers(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": A, "label": np.where(LABEL, 1, -1)}), tmp_path / "s.parquet")
    assert Read(tmp_path, classes=["-1", "1"]).targets.tolist() == LABEL.tolist()
    assert "row 0 (the first is 0): the label" in refused(tmp_path, classes=["0", "2"])


# Messages


def test_parquet_names_the_column_that_does_not_fit(tmp_path: Path) -> None:
    FRAME.assign(b="x").to_parquet(tmp_path / "s.parquet")
    assert "s.parquet, column b: a column of str, such as 'x'; features must be numbers" in refused(tmp_path)
    FRAME.assign(b=np.where(LABEL, np.inf, 1.0)).to_parquet(tmp_path / "s.parquet")
    assert "in column b; features must be finite float32 numbers" in refused(tmp_path)
    FRAME.assign(label=pandas.Timestamp("2026-01-01")).to_parquet(tmp_path / "s.parquet")
    assert "column label: a column of type datetime64" in refused(tmp_path)


def test_a_byte_order_mark_is_part_of_no_cell(tmp_path: Path) -> None:
    write(tmp_path, "\ufeff" + rows(FRAME, "a,b,c,label"))
    assert Read(tmp_path, target="label").columns == ("a", "b", "c")
    write(tmp_path, "\ufeff" + rows(FRAME, None))
    assert same_as_frame(Read(tmp_path))
    (tmp_path / "s.csv").write_bytes(rows(FRAME, "a,b,c,label").encode("utf-16"))
    assert "it is not in UTF-8" in refused(tmp_path)
