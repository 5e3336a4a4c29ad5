"""Digits rendered into MNIST's and CIFAR-10's own files."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from sapflow.data.generate import ensure_cifar, ensure_mnist, main
from sapflow.data.source import open_source


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def whole(folder: Path, part: str = "train") -> tuple[np.ndarray, np.ndarray]:
    chunks = [chunk for chunk in open_source(str(folder)).read() if chunk.part == part]
    return np.concatenate([c.features for c in chunks]), np.concatenate([c.targets for c in chunks])


def test_mnist_has_the_four_files_by_their_names(tmp_path: Path) -> None:
    ensure_mnist(tmp_path, 30)
    files = [
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
    ]
    assert names(tmp_path) == [f"{file}.gz" for file in files]
    ensure_mnist(tmp_path / "plain", 30, gzipped=False)
    assert names(tmp_path / "plain") == files
    for file in files:
        packed = gzip.decompress((tmp_path / f"{file}.gz").read_bytes())
        assert packed == (tmp_path / "plain" / file).read_bytes()


def test_cifar_has_the_six_files_by_their_names(tmp_path: Path) -> None:
    ensure_cifar(tmp_path, 33)
    assert names(tmp_path) == [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    assert whole(tmp_path)[0].shape == (33, 3, 32, 32)
    assert len(whole(tmp_path, "validation")[0]) == 6


@pytest.mark.parametrize("ensure", [ensure_mnist, ensure_cifar])
def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path: Path, ensure: object) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        ensure(tmp_path / name, 40, seed=seed)  # type: ignore[operator]
    a, b, c = ({p.name: p.read_bytes() for p in (tmp_path / n).iterdir()} for n in "abc")
    assert a == b
    assert all(a[name] != c[name] for name in a if "labels" not in name)


def test_files_that_are_there_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"real")
    (tmp_path / "data_batch_1.bin").write_bytes(b"real")
    ensure_mnist(tmp_path, 30)
    ensure_cifar(tmp_path, 30)
    assert names(tmp_path) == ["data_batch_1.bin", "train-images-idx3-ubyte"]


def test_images_are_alike_within_a_class_and_differ_among_themselves(tmp_path: Path) -> None:
    x, y = whole(ensure_mnist(tmp_path, 2000))
    v, w = whole(tmp_path, "validation")
    assert len(np.unique(x.reshape(len(x), -1), axis=0)) == 2000
    assert 0.05 < (x > 127).mean() < 0.3
    assert np.bincount(y, minlength=10).min() > 120
    means = np.stack([x[y == digit].mean(axis=0).ravel() for digit in range(10)])
    distances = ((v.reshape(len(v), -1)[:, None] - means) ** 2).sum(axis=2)
    assert (distances.argmin(axis=1) == w).mean() > 0.4  # chance: 0.1


def test_cifar_images_have_colours(tmp_path: Path) -> None:
    x, y = whole(ensure_cifar(tmp_path, 200))
    assert np.abs(x[:, 0].astype(int) - x[:, 2]).mean() > 10
    assert len(np.unique(y)) == 10


def test_the_command_writes_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["mnist", str(tmp_path / "m"), "--samples", "20", "--gzip"])
    main(["cifar", str(tmp_path / "c"), "--samples", "20"])
    assert len(whole(tmp_path / "m")[0]) == len(whole(tmp_path / "c")[0]) == 20
    with pytest.raises(SystemExit):
        main(["mnist", str(tmp_path / "n"), "--samples", "1"])
    assert "at least 5" in capsys.readouterr().err
