"""Readers of npz, IDX, CIFAR-10, CSV and Parquet, and what each says about a file that is broken."""

import gzip
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.memory import peak_bytes

from sapflow.data.source import open_source
from sapflow.errors import DataError


def read(source: Path, part: str = "train", **options: object) -> tuple[np.ndarray, np.ndarray]:
    chunks = [c for c in open_source(str(source), options=options).read() if c.part == part]
    return np.concatenate([c.features for c in chunks]), np.concatenate([c.targets for c in chunks])


def refused(source: Path, format: str | None = None, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        list(open_source(str(source), format, options=options).read())
    return str(caught.value)


# npz


@pytest.mark.parametrize(
    "names", [("x", "y"), ("X", "Y"), ("X", "y"), ("data", "target"), ("features", "labels")]
)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_arrays_are_found_by_their_usual_names(
    tmp_path: Path, names: tuple[str, str], save: object
) -> None:
    x, y = np.random.default_rng(0).normal(size=(70, 3, 2)), np.arange(70) % 4
    save(tmp_path / "a.npz", **{names[0]: x, names[1]: y, "other": [1]})  # type: ignore[operator]
    features, targets = read(tmp_path)
    np.testing.assert_array_equal(features, x.astype(np.float32))
    np.testing.assert_array_equal(targets, y)


def test_npz_arrays_are_found_by_options(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=[[1.0]], y=[0], u=[[2.0]], v=[7.5])
    assert read(tmp_path, features="u", targets="v")[1].tolist() == [7.5]
    assert "both or neither" in refused(tmp_path, features="u")
    assert "arrays u, v, x, y" in refused(tmp_path, features="u", targets="w")


def test_npz_with_a_test_set_brings_its_validation(tmp_path: Path) -> None:
    np.savez(tmp_path / "mnist.npz", x_train=[[1], [2]], y_train=[0, 1], x_test=[[3]], y_test=[1])
    assert read(tmp_path)[0].ravel().tolist() == [1, 2]
    assert read(tmp_path, "validation")[0].ravel().tolist() == [3]


def test_npz_is_streamed(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((40_000, 256), np.float32), y=np.zeros(40_000, np.int64))
    source = open_source(str(tmp_path))
    assert sum(len(chunk.targets) for chunk in source.read()) == 40_000
    limit = 20 << 20  # of 41 MB
    assert peak_bytes(lambda: all(len(chunk.targets) for chunk in source.read()), enough=limit) < limit


def test_npz_counts_must_agree(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=[[1.0], [2.0]], y=[0, 1, 2])
    message = refused(tmp_path)
    assert "array x has 2 samples" in message
    assert "array y has 3" in message


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.array([{}]), [0], "unpickled"),
        (np.array(["a"])[:, None], [0], "must hold numbers"),
        (np.asfortranarray(np.ones((3, 2))), [0, 0, 0], "ascontiguousarray"),
        ([1.0, 2.0], [0, 1], "features must be"),
        ([[1.0]], 0, "targets must be"),
        (np.empty((0, 3)), np.empty(0), "no samples"),
    ],
)
def test_npz_arrays_that_do_not_fit(tmp_path: Path, x: np.ndarray, y: np.ndarray, message: str) -> None:
    np.savez(tmp_path / "a.npz", x=x, y=y)
    assert message in refused(tmp_path)


def test_npz_without_a_pair_lists_its_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", weights=[1.0])
    assert "the arrays weights" in refused(tmp_path)


def test_npz_cut_off_or_not_an_archive(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, x=np.ones((500, 3)), y=np.zeros(500))
    path.write_bytes(path.read_bytes()[:-500])
    assert "no whole .npz archive" in refused(tmp_path)
    path.write_bytes(b"not a zip file")
    assert "a.npz" in refused(tmp_path)


def test_npz_with_damaged_bytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, x=np.ones((500, 3)), y=np.zeros(500))
    data = bytearray(path.read_bytes())
    data[3000] ^= 1
    path.write_bytes(data)
    assert "array x is corrupt" in refused(tmp_path)


def test_npz_member_shorter_or_longer_than_its_header_says(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((10, 2)))
    np.save(tmp_path / "y.npy", np.zeros(10, np.int64))
    x, y = ((tmp_path / name).read_bytes() for name in ("x.npy", "y.npy"))
    for data, message in (
        (x[:-20], "ends within row 8 of 10"),
        (x + b"\0", "goes on after"),
        (b"junk", "header"),
    ):
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            archive.writestr("x.npy", data)
            archive.writestr("y.npy", y)
        assert message in refused(tmp_path / "a.npz")


# IDX


def write_idx(path: Path, array: np.ndarray, *, kind: int = 8, cut: int = 0) -> None:
    data = struct.pack(f">HBB{array.ndim}I", 0, kind, array.ndim, *array.shape) + array.tobytes()
    data = data[: len(data) - cut]
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def write_mnist(
    folder: Path, set: str = "train", count: int = 5, ending: str = ""
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(len(set))
    images, labels = rng.integers(0, 256, (count, 4, 3), np.uint8), rng.integers(0, 10, count, np.uint8)
    write_idx(folder / f"{set}-images-idx3-ubyte{ending}", images)
    write_idx(folder / f"{set}-labels-idx1-ubyte{ending}", labels)
    return images, labels


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_idx_pairs_are_read_with_the_t10k_set_for_validation(tmp_path: Path, ending: str) -> None:
    images, labels = write_mnist(tmp_path, ending=ending)
    test_images, test_labels = write_mnist(tmp_path, "t10k", 2, ending)
    features, targets = read(tmp_path)
    np.testing.assert_array_equal(features, images[:, None])
    np.testing.assert_array_equal(targets, labels)
    features, targets = read(tmp_path, "validation")
    np.testing.assert_array_equal(features, test_images[:, None])
    np.testing.assert_array_equal(targets, test_labels)


def test_idx_without_t10k_brings_no_validation(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    assert not open_source(str(tmp_path)).brings_validation


def test_idx_of_t10k_alone_has_nothing_to_train_on(tmp_path: Path) -> None:
    write_mnist(tmp_path, "t10k")
    assert "validation set" in refused(tmp_path)


def test_idx_without_its_other_file(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    assert "labels is not beside it" in refused(tmp_path)


def test_idx_twice_the_same_set(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    write_mnist(tmp_path, ending=".gz")
    assert "the same set" in refused(tmp_path)


def test_idx_files_of_other_names(tmp_path: Path) -> None:
    (tmp_path / "digits-ubyte").write_bytes(b"1")
    assert "train-images-idx3-ubyte" in refused(tmp_path)


def test_idx_counts_must_agree(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.zeros(4, np.uint8))
    assert "5 images" in refused(tmp_path)


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_idx_magic_truncation_and_surplus(tmp_path: Path, ending: str) -> None:
    images, _ = write_mnist(tmp_path, ending=ending)
    path = tmp_path / f"train-images-idx3-ubyte{ending}"
    write_idx(path, images, cut=7)
    assert "says 76" in (message := refused(tmp_path)) or "ends at offset 69" in message
    write_idx(path, np.concatenate([images.ravel(), [1]]).astype(np.uint8).reshape(-1), kind=8)
    assert "images have two or more" in refused(tmp_path)
    write_idx(path, images, kind=7)
    assert "magic" in refused(tmp_path)
    data = struct.pack(">HBB3I", 0, 8, 3, *images.shape) + images.tobytes() + b"\1"
    path.write_bytes(gzip.compress(data) if ending else data)
    assert "says 76" in (message := refused(tmp_path)) or "goes on after" in message


def test_idx_gzip_that_is_damaged(tmp_path: Path) -> None:
    write_mnist(tmp_path, ending=".gz")
    path = tmp_path / "train-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[:-4])
    assert "corrupt after offset" in refused(tmp_path)
    path.write_bytes(b"plain" + whole)
    assert "corrupt after offset 0" in refused(tmp_path)
    path.write_bytes(whole[:-8] + bytes(4) + whole[-4:])
    assert "CRC" in refused(tmp_path)


# CIFAR-10


def write_cifar(folder: Path, name: str, count: int, label: int = 3) -> np.ndarray:
    records = np.random.default_rng(count).integers(0, 256, (count, 3073), np.uint8)
    records[:, 0] = label
    (folder / name).write_bytes(records.tobytes())
    return records


def test_cifar_batches_are_read_with_the_test_batch_for_validation(tmp_path: Path) -> None:
    one, two = write_cifar(tmp_path, "data_batch_1.bin", 700), write_cifar(tmp_path, "data_batch_2.bin", 3, 9)
    test = write_cifar(tmp_path, "test_batch.bin", 2, 0)
    (tmp_path / "batches.meta.txt").write_text("airplane\n")
    features, targets = read(tmp_path)
    np.testing.assert_array_equal(features.reshape(703, -1), np.concatenate([one, two])[:, 1:])
    assert features.shape[1:] == (3, 32, 32)
    assert targets.tolist() == [3] * 700 + [9] * 3
    np.testing.assert_array_equal(read(tmp_path, "validation")[0].reshape(2, -1), test[:, 1:])


def test_cifar_size_must_be_a_multiple_of_the_record(tmp_path: Path) -> None:
    write_cifar(tmp_path, "data_batch_1.bin", 2)
    path = tmp_path / "data_batch_1.bin"
    path.write_bytes(path.read_bytes()[:-1])
    message = refused(tmp_path)
    assert "3073" in message
    assert "offset 3073" in message


def test_cifar_labels_out_of_range_name_file_and_row(tmp_path: Path) -> None:
    write_cifar(tmp_path, "data_batch_1.bin", 2, 10)
    assert "data_batch_1.bin: row 0 (the first is 0) has the label 10; labels go from 0 to 9" in refused(
        tmp_path
    )


def test_cifar_without_training_batches(tmp_path: Path) -> None:
    write_cifar(tmp_path, "test_batch.bin", 2)
    assert "data_batch_1.bin" in refused(tmp_path)


def test_cifar_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    write_cifar(tmp_path, "data_batch_1.bin", 2)
    source = open_source(str(tmp_path))
    (tmp_path / "data_batch_1.bin").write_bytes(bytes(3073))
    with pytest.raises(DataError, match="ends at offset 3073 of 6146"):
        list(source.read())


# CSV


def csv(folder: Path, text: str, name: str = "a.csv") -> Path:
    (folder / name).write_text(text)
    return folder


def test_csv_with_and_without_header_has_the_target_last(tmp_path: Path) -> None:
    for text in (
        "1.5,2,0\n3,4,1\n",
        "a,b,label\n1.5,2,0\n\n3,4,1\n",
        '\ufeff"a","b","l"\r\n1.5,2,0\r\n3,4,1\r\n',
    ):
        features, targets = read(csv(tmp_path, text))
        assert features.tolist() == [[1.5, 2], [3, 4]]
        assert targets.tolist() == [0, 1]
        assert targets.dtype == np.int32


@pytest.mark.parametrize("target", ["y", 0, -3])
def test_csv_target_by_name_or_number(tmp_path: Path, target: int | str) -> None:
    features, targets = read(csv(tmp_path, "y,a,b\n7,1,2\n"), target=target)
    assert features.tolist() == [[1, 2]]
    assert targets.tolist() == [7]


def test_csv_target_that_is_not_there_lists_the_columns(tmp_path: Path) -> None:
    assert "columns are y, a" in refused(csv(tmp_path, "y,a\n7,1\n"), target="z")
    assert "columns are y, a" in refused(csv(tmp_path, "y,a\n7,1\n"), target=2)


def test_csv_whole_numbers_are_classes_and_others_values(tmp_path: Path) -> None:
    assert read(csv(tmp_path, "1,2\n"))[1].dtype == np.int32
    assert read(csv(tmp_path, "1,2.0\n"))[1].dtype == np.float32
    assert read(csv(tmp_path, "1,2\n"), task="Regression")[1].dtype == np.float32
    assert read(csv(tmp_path, "1,2.0\n"), task="Classification")[1].dtype == np.int32


def test_csv_values_stay_values_in_a_later_file_of_whole_numbers(tmp_path: Path) -> None:
    csv(tmp_path, "1,2.5\n")
    assert read(csv(tmp_path, "1,3\n", "b.csv"))[1].tolist() == [2.5, 3.0]


def test_csv_fractions_among_classes_are_refused(tmp_path: Path) -> None:
    csv(tmp_path, "1,2\n")
    assert "b.csv: row 0 (the first is 0) has the label 2.5" in refused(csv(tmp_path, "1,2.5\n", "b.csv"))


def test_csv_takes_several_target_columns_in_the_order_asked_for(tmp_path: Path) -> None:
    csv(tmp_path, "a,b,c,d\n1,0.5,2,1\n3,1.5,4,0\n")
    features, targets = read(tmp_path, targets=["d", "b"])
    assert features.tolist() == [[1, 2], [3, 4]]
    assert targets.tolist() == [[1, 0.5], [0, 1.5]]
    assert targets.dtype == np.float32
    assert "line 2, column b: the target 'x'" in refused(csv(tmp_path, "a,b,c,d\n1,x,2,1\n"), targets=[-1, 1])
    features, targets = read(csv(tmp_path, "1,0,2\n"), targets=[1])
    assert (features.tolist(), targets.tolist()) == ([[1, 2]], [0])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"targets": ["a", "z"]}, "has no column 'z'"),
        ({"targets": ["a", 0]}, "names a column of"),
        ({"targets": ["a", "b", "c"]}, "all its columns are targets"),
        ({"targets": ["a", "b"], "target": "c"}, "give one of the two"),
        ({"targets": ["a", "b"], "classes": 3}, "classes is for one target column"),
    ],
)
def test_target_columns_that_do_not_go_together(
    tmp_path: Path, options: dict[str, object], text: str
) -> None:
    assert text in refused(csv(tmp_path, "a,b,c\n1,0,1\n"), None, **options)


def test_parquet_takes_several_target_columns(tmp_path: Path) -> None:
    parquet(tmp_path, a=[1.0, 2.0], y=[True, False], b=[3.0, 4.0], z=[0, 1])
    features, targets = read(tmp_path, targets=["z", "y"])
    assert features.tolist() == [[1, 3], [2, 4]]
    assert targets.tolist() == [[0, 1], [1, 0]]
    parquet(tmp_path, a=[1.0], y=["dog"], z=[0])
    assert "several targets must be numbers" in refused(tmp_path, targets=["z", "y"])


def test_csv_names_of_classes(tmp_path: Path) -> None:
    csv(tmp_path, "length,kind\n1,setosa\n2, virginica\n")
    assert read(tmp_path, classes=["setosa", "virginica"])[1].tolist() == [0, 1]
    assert "line 3: the label 'virginica'" in refused(tmp_path, classes=["setosa", "other"])
    assert "2 to 65536 classes" in refused(tmp_path, classes=["setosa"])
    assert "classes: names 'setosa' twice" in refused(tmp_path, classes=["setosa", "virginica", "setosa"])


def test_csv_bad_cell_is_named_by_line_and_column(tmp_path: Path) -> None:
    for cell in ("x", "", "nan", "inf"):
        message = refused(csv(tmp_path, f"a,b,y\n1,2,0\n\n3,{cell},1\n"))
        assert f"a.csv, line 4, column b: {cell!r} is not a finite number" in message


def test_csv_ragged_rows_one_column_and_bad_text(tmp_path: Path) -> None:
    assert "line 2: 2 cells where there are 3 columns" in refused(csv(tmp_path, "1,2,3\n1,2\n"))
    assert "delimiter" in refused(csv(tmp_path, "1;2\n3;4\n"))
    assert read(tmp_path, delimiter=";")[0].tolist() == [[1], [3]]
    (tmp_path / "a.csv").write_bytes(b"1,2\n\xff\xfe,3\n")
    assert "no readable CSV file, because it is not in UTF-8" in refused(tmp_path)


def test_csv_header_as_told(tmp_path: Path) -> None:
    csv(tmp_path, "1,2\n3,4\n")
    assert read(tmp_path, header="Present")[0].tolist() == [[3]]
    assert "line 1, column 0" in refused(
        csv(tmp_path, "a,b\n3,4\n"), header="Absent", target=1, classes=["b", "4"]
    )


def test_csv_of_a_header_alone_has_no_samples(tmp_path: Path) -> None:
    assert "no samples" in refused(csv(tmp_path, "a,b\n"))


def test_csv_gzipped_and_long(tmp_path: Path) -> None:
    rows = "".join(f"{i},{i % 3}\n" for i in range(70_000))
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(rows.encode()))
    features, targets = read(tmp_path)
    np.testing.assert_array_equal(features[:, 0], np.arange(70_000))
    np.testing.assert_array_equal(targets, np.arange(70_000) % 3)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(rows.encode())[:-9])
    assert "a.csv.gz is no readable CSV" in refused(tmp_path)


def test_csv_files_of_different_width(tmp_path: Path) -> None:
    csv(tmp_path, "1,2,0\n")
    assert "b.csv has 2 columns where" in refused(csv(tmp_path, "1,0\n", "b.csv"))


# Parquet


def parquet(folder: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), folder / "a.parquet", row_group_size=1000)
    return folder


def test_parquet_is_read_by_row_groups(tmp_path: Path) -> None:
    n = 5000
    parquet(tmp_path, a=np.arange(n), b=np.arange(n) / 2, y=np.arange(n) % 2 == 1)
    features, targets = read(tmp_path)
    np.testing.assert_array_equal(features, np.stack([np.arange(n), np.arange(n) / 2], axis=1))
    np.testing.assert_array_equal(targets, np.arange(n) % 2)


def test_parquet_target_by_name_and_names_of_classes(tmp_path: Path) -> None:
    parquet(tmp_path, kind=["dog", "cat"], a=[1.0, 2.0])
    features, targets = read(tmp_path, target="kind", classes=["cat", "dog"])
    assert features.tolist() == [[1], [2]]
    assert targets.tolist() == [1, 0]
    assert "row 1 (the first is 0): the label 'cat'" in refused(
        tmp_path, target="kind", classes=["dog", "cow"]
    )
    assert "columns are kind, a" in refused(tmp_path, target="sort")
    assert "features must be numbers" in refused(tmp_path)


def test_parquet_without_a_value_names_row_and_column(tmp_path: Path) -> None:
    parquet(tmp_path, a=[1.0, None], y=[0, 1])
    assert "a.parquet, row 1 (the first is 0), column a" in refused(tmp_path)


def test_parquet_with_nan_names_the_row(tmp_path: Path) -> None:
    parquet(tmp_path, a=[1.0, float("nan")], y=[0, 1])
    assert "row 1 (the first is 0) has the feature nan" in refused(tmp_path)


def test_parquet_of_one_column_and_of_no_rows(tmp_path: Path) -> None:
    assert "one column only" in refused(parquet(tmp_path, a=[1.0]))
    assert "no samples" in refused(
        parquet(tmp_path, a=pa.array([], pa.float64()), y=pa.array([], pa.int64()))
    )


def test_parquet_cut_off_or_damaged(tmp_path: Path) -> None:
    parquet(tmp_path, a=np.random.default_rng(0).normal(size=3000), y=np.zeros(3000, np.int64))
    path = tmp_path / "a.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    assert "no readable Parquet" in refused(tmp_path)
    path.write_bytes(whole[:100] + b"\xff" * 40 + whole[140:2000] + bytes(40) + whole[2040:])
    with pytest.raises(DataError):
        read(tmp_path)


def test_missing_pyarrow_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet(tmp_path, a=[1.0], y=[0])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert "sapflow[data]" in refused(tmp_path)
