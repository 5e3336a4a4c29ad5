"""Renders scikit-learn's bundled handwritten digits into files in the formats of MNIST and CIFAR-10.

    python -m sapflow.data.generate mnist DIR [--samples 12000] [--gzip]
    python -m sapflow.data.generate cifar DIR [--samples 12000]

They serve samples and tests when the real files are not at hand: the 1,797 scans are enlarged, rotated, moved and,
for CIFAR, drawn in colour on a gradient. Training and validation images come from different scans.
"""

import argparse
import gzip
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from sapflow.data import bundled
from sapflow.data.shuffle import permutation

CHUNK_ROWS = 1000
TRAIN_SCANS = 1437
BATCHES = 5
DEFAULT_SAMPLES = 12_000


def ensure_mnist(
    folder: Path | str, samples: int = DEFAULT_SAMPLES, *, gzipped: bool = True, seed: int = 0
) -> Path:
    """Render MNIST's four files into `folder`, unless it holds training images already, such as the real ones.

    There are `samples` training images, and a sixth of that number for validation. Raises DataError if scikit-learn
    is missing.
    """
    folder = Path(folder)
    if any(folder.glob("train-images*idx3-ubyte*")):
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    ending = ".gz" if gzipped else ""
    for name, validation, count in (("t10k", True, -(-samples // 6)), ("train", False, samples)):
        images = np.empty((count, 28, 28), np.uint8)
        labels = np.empty(count, np.uint8)
        done = 0
        for ink, digits in _rendered(count, 28, seed, validation):
            images[done : done + len(ink)] = np.rint(ink * 255)
            labels[done : done + len(ink)] = digits
            done += len(ink)
        _write(folder / f"{name}-labels-idx1-ubyte{ending}", struct.pack(">HBBI", 0, 8, 1, count), labels)
        _write(
            folder / f"{name}-images-idx3-ubyte{ending}",
            struct.pack(">HBB3I", 0, 8, 3, count, 28, 28),
            images,
        )
    return folder


def ensure_cifar(folder: Path | str, samples: int = DEFAULT_SAMPLES, *, seed: int = 0) -> Path:
    """Render CIFAR-10's six binary files into `folder`, unless it holds training batches already.

    There are `samples` training images in five batches, and a sixth of that number for validation.
    """
    folder = Path(folder)
    if any(folder.glob("data_batch_*.bin")):
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    sizes = [("test_batch.bin", True, -(-samples // 6))]
    bounds = [samples * index // BATCHES for index in range(BATCHES + 1)]
    sizes += [(f"data_batch_{i + 1}.bin", False, bounds[i + 1] - bounds[i]) for i in range(BATCHES)]
    for number, (name, validation, count) in enumerate(sizes):
        records = np.empty((count, 1 + 3 * 32 * 32), np.uint8)
        done = 0
        for ink, digits in _rendered(count, 32, seed * len(sizes) + number, validation):
            rng = np.random.default_rng((seed, number, done))
            images = _coloured(ink, rng)
            records[done : done + len(ink), 0] = digits
            records[done : done + len(ink), 1:] = images.reshape(len(ink), -1)
            done += len(ink)
        _write(folder / name, b"", records)
    return folder


def _rendered(count: int, size: int, seed: int, validation: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Ink float64 [n, size, size] between 0 and 1 and labels [n], in chunks of together `count` images."""
    features, labels = bundled.load("digits")
    scans = features.reshape(-1, 8, 8) / 16.0
    order = permutation(len(scans), 0)
    chosen = order[TRAIN_SCANS:] if validation else order[:TRAIN_SCANS]
    for start in range(0, count, CHUNK_ROWS):
        n = min(CHUNK_ROWS, count - start)
        rng = np.random.default_rng((seed, int(validation), start))
        picked = chosen[rng.integers(0, len(chosen), n)]
        yield _placed(scans[picked], size, rng), labels[picked]


def _placed(scans: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """The scans [n, 8, 8] enlarged, rotated by up to ±12° and moved, as images [n, size, size], bilinearly sampled."""
    n = len(scans)
    angle = rng.uniform(-0.2, 0.2, (n, 1, 1))
    pixels = size * rng.uniform(0.075, 0.1, (n, 1, 1))
    centre = (size - 1) / 2 + rng.uniform(-0.09, 0.09, (2, n, 1, 1)) * size
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float64)
    down, right = (rows - centre[0]) / pixels, (columns - centre[1]) / pixels
    y = np.cos(angle) * down - np.sin(angle) * right + 3.5
    x = np.sin(angle) * down + np.cos(angle) * right + 3.5
    padded = np.pad(scans, ((0, 0), (1, 2), (1, 2)))
    y, x = np.clip(y + 1, 0, 9), np.clip(x + 1, 0, 9)
    top, left = y.astype(np.intp), x.astype(np.intp)
    below, beside = y - top, x - left
    item = np.arange(n)[:, None, None]
    upper = padded[item, top, left] * (1 - beside) + padded[item, top, left + 1] * beside
    lower = padded[item, top + 1, left] * (1 - beside) + padded[item, top + 1, left + 1] * beside
    return np.asarray(upper * (1 - below) + lower * below)


def _coloured(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Images uint8 [n, 3, size, size]: ink in one colour on a gradient of other colours, with some noise."""
    n, size = len(ink), ink.shape[1]
    bright = rng.integers(0, 2, (n, 1, 1, 1))
    paper = rng.uniform(0, 0.4, (n, 3, 1, 1))
    colour = rng.uniform(0.6, 1, (n, 3, 1, 1))
    paper, colour = np.where(bright, colour, paper), np.where(bright, paper, colour)
    slope = np.linspace(-0.5, 0.5, size)
    gradient = (
        rng.uniform(-0.25, 0.25, (n, 3, 1, 1)) * slope[:, None]
        + rng.uniform(-0.25, 0.25, (n, 3, 1, 1)) * slope
    )
    mask = ink[:, None]
    image = (paper + gradient) * (1 - mask) + colour * mask + rng.normal(0, 0.03, (n, 3, size, size))
    return np.asarray(np.rint(np.clip(image, 0, 1) * 255), dtype=np.uint8)


def _write(path: Path, header: bytes, data: np.ndarray) -> None:
    """Write a file atomically: it gets its name once it is complete."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as raw:
        if path.suffix == ".gz":
            # Neither time nor file name are stored inside, so the same images give the same bytes.
            with gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0) as packed:
                packed.write(header)
                packed.write(data.tobytes())
        else:
            raw.write(header)
            raw.write(data.tobytes())
    partial.replace(path)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m sapflow.data.generate",
        description="Render scikit-learn's digits into the files of MNIST or CIFAR-10.",
    )
    parser.add_argument("kind", choices=["mnist", "cifar"])
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument(
        "--samples", type=int, default=DEFAULT_SAMPLES, help="training samples (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--gzip", action="store_true", help="mnist: write .gz files, as they are distributed")
    given = parser.parse_args(arguments)
    if given.samples < BATCHES:
        parser.error(f"--samples must be at least {BATCHES}")
    if given.kind == "mnist":
        ensure_mnist(given.folder, given.samples, gzipped=given.gzip, seed=given.seed)
    else:
        ensure_cifar(given.folder, given.samples, seed=given.seed)


if __name__ == "__main__":
    main()
