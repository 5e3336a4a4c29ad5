"""The cut of a source into blocks, the manifest, and the strict reading of both."""

import dataclasses
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers.memory import peak_bytes
from safetensors.numpy import load as load_safetensors

from sapflow.data.blocks import cut_blocks, load_manifest
from sapflow.data.chunks import Chunk, Part, Source
from sapflow.data.manifest import Manifest, block_key, decode_block, encode_block
from sapflow.data.source import open_source
from sapflow.data.statistics import Normalize, Statistics
from sapflow.errors import CorruptObject, DataError
from sapflow.objects.stores.factory import open_store
from sapflow.objects.stores.protocol import Store


def numbered(
    count: int, *, chunk: int = 1000, width: int = 2, part: Part = "train", classes: int | None = None
) -> Source:
    """Samples whose features and label tell their number."""

    def chunks() -> Iterator[Chunk]:
        for start in range(0, count, chunk):
            n = np.arange(start, min(count, start + chunk))
            yield Chunk(np.repeat(n[:, None], width, axis=1) + 0.5, n % 7, "numbers", start, part)

    return Source("numbers", chunks, classes=classes)


def given(features: np.ndarray, targets: np.ndarray, task: str | None = None) -> Source:
    return Source("given", lambda: iter([Chunk(features, targets, "given")]), task)


def cut(
    source: Source,
    store: Store,
    prefix: str = "p/",
    *,
    fraction: float = 0.0,
    seed: int = 0,
    block_bytes: int = 8 << 20,
    normalize: Normalize = "Auto",
) -> Manifest:
    return cut_blocks(
        source,
        store,
        prefix,
        validation_fraction=fraction,
        seed=seed,
        block_bytes=block_bytes,
        normalize=normalize,
    )


def stored(store: Store, manifest: Manifest, part: Part, prefix: str = "p/") -> tuple[np.ndarray, np.ndarray]:
    blocks = [
        decode_block(store.read(key := block_key(prefix, part, i)), key, manifest, count)
        for i, count in enumerate(manifest.blocks(part))
    ]
    features = [x.astype(np.float32) for x, _ in blocks] or [np.empty((0, *manifest.shape), np.float32)]
    targets = [y for _, y in blocks] or [np.empty(0)]
    return np.concatenate(features), np.concatenate(targets)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_every_sample_is_in_exactly_one_block_with_its_target(directory_store: Store) -> None:
    manifest = cut(numbered(10_007), directory_store, fraction=0.2, block_bytes=20_000)
    x, y = stored(directory_store, manifest, "train")
    v, w = stored(directory_store, manifest, "validation")
    features, targets = np.concatenate([x, v]), np.concatenate([y, w])
    order = features[:, 0].argsort()
    np.testing.assert_array_equal(features[order, 0], np.arange(10_007) + 0.5)
    np.testing.assert_array_equal(targets[order], np.arange(10_007) % 7)
    assert len(manifest.train) > 4
    assert (manifest.train_samples, manifest.validation_samples) == (8006, 2001)


def test_blocks_are_at_most_as_large_as_asked(directory_store: Store) -> None:
    manifest = cut(numbered(9000), directory_store, fraction=0.1, block_bytes=10_000)
    sizes = [len(directory_store.read(f"p/train/{i}")) for i in range(len(manifest.train))]
    assert max(sizes) <= 10_000
    assert min(sizes[:-1]) > 9000


@pytest.mark.parametrize("count", [2, 9, 150, 999, 1000, 1001, 2500])
@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.25, 0.5])
def test_the_validation_part_is_exact_to_the_sample(tmp_path: Path, count: int, fraction: float) -> None:
    held = int(count * fraction + 0.5)
    manifest = cut(numbered(count), open_store(str(tmp_path)), fraction=fraction)
    assert manifest.validation_samples == held
    assert manifest.train_samples == count - manifest.validation_samples


def test_the_validation_part_is_drawn_from_everywhere(directory_store: Store) -> None:
    manifest = cut(numbered(5000), directory_store, fraction=0.2)
    held = stored(directory_store, manifest, "validation")[0][:, 0]
    assert np.histogram(held, bins=5, range=(0, 5000))[0].tolist() == [200] * 5
    assert len(np.unique(np.diff(np.sort(held)))) > 5


def test_the_seed_decides_what_is_held_out(tmp_path: Path) -> None:
    held: list[set[float]] = []
    for seed in (1, 2, 1):
        store = open_store(str(tmp_path / str(len(held))))
        manifest = cut(numbered(500), store, fraction=0.2, seed=seed)
        held.append(set(stored(store, manifest, "validation")[0][:, 0]))
    assert held[0] == held[2] != held[1]


@pytest.mark.parametrize("chunk", [1, 333, 5000])
def test_blocks_do_not_depend_on_how_the_source_was_read(tmp_path: Path, chunk: int) -> None:
    for name, size in (("a", chunk), ("b", 1000)):
        cut(numbered(3500, chunk=size), open_store(str(tmp_path / name)), fraction=0.2, block_bytes=9000)
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_a_finished_cut_is_only_read(directory_store: Store) -> None:
    first = cut(numbered(100), directory_store)

    def broken() -> Iterator[Chunk]:
        raise AssertionError("the source was read again")

    assert cut(Source("x", broken), directory_store) == first


def test_an_interrupted_cut_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    source = numbered(3000)

    def dies() -> Iterator[Chunk]:
        for number, chunk in enumerate(source.chunks()):
            if number == 2:
                raise KeyboardInterrupt
            yield chunk

    with pytest.raises(KeyboardInterrupt):
        cut(Source("numbers", dies), open_store(str(tmp_path / "a")), fraction=0.2, block_bytes=3000)
    assert list((tmp_path / "a" / "p" / "train").iterdir())
    for name in ("a", "b"):
        cut(source, open_store(str(tmp_path / name)), fraction=0.2, block_bytes=3000)
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_a_source_that_changed_since_an_interrupted_cut_is_refused(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    cut(numbered(100), store)
    (tmp_path / "p" / "manifest.json").unlink()
    with pytest.raises(DataError, match="p/train/0 of an interrupted cut differs"):
        cut(numbered(100, width=3), store)


def test_progress_is_told(directory_store: Store) -> None:
    told: list[int] = []
    cut_blocks(numbered(2500), directory_store, "p/", validation_fraction=0.1, seed=0, progress=told.append)
    assert told == [1000, 2000, 2500]


def test_samples_sorted_by_class_are_mixed_among_blocks(directory_store: Store) -> None:
    x, y = np.random.default_rng(0).normal(size=(4000, 5)), np.repeat(np.arange(4), 1000)
    manifest = cut(given(x, y), directory_store, block_bytes=25_000)
    assert len(manifest.train) == 4
    for index, count in enumerate(manifest.train):
        key = f"p/train/{index}"
        labels = decode_block(directory_store.read(key), key, manifest, count)[1]
        assert np.bincount(labels, minlength=4).min() > 0.15 * count


def test_a_source_with_its_own_validation_set_keeps_it(directory_store: Store) -> None:
    def chunks() -> Iterator[Chunk]:
        yield from numbered(100).chunks()
        yield from numbered(30, part="validation").chunks()

    manifest = cut(Source("both", chunks, brings_validation=True), directory_store, fraction=0.5)
    assert (manifest.train_samples, manifest.validation_samples) == (100, 30)
    held = stored(directory_store, manifest, "validation")[0][:, 0]
    np.testing.assert_array_equal(np.sort(held), np.arange(30) + 0.5)


def test_no_sample_left_to_train_on_is_refused(directory_store: Store) -> None:
    with pytest.raises(DataError, match="validationFraction"):
        cut(numbered(1), directory_store, fraction=0.9)


def test_a_sample_larger_than_a_block_is_refused(directory_store: Store) -> None:
    with pytest.raises(DataError, match="more than a block"):
        cut(numbered(3, width=500), directory_store, block_bytes=2000)


def test_memory_does_not_grow_with_the_source(tmp_path: Path) -> None:
    folders = itertools.count()

    def cut_synthetic(samples: int) -> None:
        source = open_source(f"synthetic:binary?samples={samples}")
        cut(source, open_store(str(tmp_path / str(next(folders)))), block_bytes=50_000)

    limit = peak_bytes(lambda: cut_synthetic(20_000)) + (1 << 20)
    assert peak_bytes(lambda: cut_synthetic(200_000), enough=limit) < limit


def test_blocks_are_safetensors_and_aligned(directory_store: Store) -> None:
    manifest = cut(numbered(77), directory_store)
    data = directory_store.read("p/train/0")
    tensors = load_safetensors(bytes(data))
    assert tensors["features"].shape == (77, 2)
    assert tensors["targets"].dtype == np.int32
    assert (8 + int.from_bytes(data[:8], "little")) % 64 == 0
    assert manifest.dtype == "float32"


def test_features_that_turn_out_to_need_floats_widen_later_blocks_only(directory_store: Store) -> None:
    def chunks() -> Iterator[Chunk]:
        yield Chunk(np.arange(1000)[:, None] % 200, np.zeros(1000, int), "a")
        yield Chunk(np.arange(1000)[:, None] + 0.5, np.ones(1000, int), "b")

    manifest = cut(Source("mixed", chunks), directory_store, block_bytes=2048)
    assert manifest.dtype == "float32"
    kinds = [load_safetensors(bytes(directory_store.read(f"p/train/{i}")))["features"].dtype.name
             for i in range(len(manifest.train))]  # fmt: skip
    assert kinds == sorted(kinds, reverse=True)
    assert {*kinds} == {"uint8", "float32"}
    x, y = stored(directory_store, manifest, "train")
    np.testing.assert_array_equal(np.sort(x[y == 1, 0]), np.arange(1000) + 0.5)
    np.testing.assert_array_equal(np.sort(x[y == 0, 0]), np.sort(np.arange(1000) % 200))


def test_classes_and_outputs(tmp_path: Path) -> None:
    def of(labels: list[int], classes: int | None = None) -> Manifest:
        source = dataclasses.replace(given(np.ones((len(labels), 1)), np.array(labels)), classes=classes)
        return cut(source, open_store(str(tmp_path / f"{labels}{classes}")))

    assert (of([0, 1]).classes, of([0, 1]).outputs) == (2, 1)
    assert (of([0, 0]).classes, of([4, 0]).classes, of([4, 0]).outputs) == (2, 5, 5)
    assert of([4, 0], classes=10).outputs == 10


def test_regression_keeps_its_targets(directory_store: Store) -> None:
    y = np.random.default_rng(0).normal(size=(40, 3)) * 1000
    manifest = cut(given(np.arange(40.0)[:, None], y), directory_store)
    assert (manifest.task, manifest.classes, manifest.target_shape, manifest.outputs) == (
        "regression",
        None,
        (3,),
        3,
    )
    x, targets = stored(directory_store, manifest, "train")
    np.testing.assert_array_equal(targets, y[x[:, 0].astype(int)].astype(np.float32))


# Scaling


def affine(
    features: np.ndarray, normalize: Normalize = "Auto", parts: int = 3
) -> tuple[np.ndarray, np.ndarray]:
    statistics = Statistics(features.shape[1:])
    for part in np.array_split(features, parts):
        statistics.add(part)
    scale, shift = statistics.affine(normalize)
    return np.array(scale), np.array(shift)


@pytest.mark.parametrize(
    ("features", "scale"),
    [
        (np.array([[0], [1], [1]], np.uint8), 1),
        (np.array([[0], [16], [3]], np.uint8), 1 / 16),
        (np.array([[0], [200], [3]], np.uint8), 1 / 255),
        (np.linspace(0, 1, 48, dtype=np.float32).reshape(3, 2, 8), 1),
    ],
)
def test_auto_leaves_binary_and_unit_images_and_divides_whole_numbers(
    features: np.ndarray, scale: float
) -> None:
    found, shift = affine(features)
    np.testing.assert_allclose(found, [scale], rtol=1e-7)
    assert shift.tolist() == [0]


def test_auto_standardises_tables_of_floats_feature_by_feature() -> None:
    x = (np.random.default_rng(0).normal(size=(1000, 3)) * [1, 50, 0.01] + [0, -7, 4]).astype(np.float32)
    scale, shift = affine(x, parts=7)
    scaled = x * scale.astype(np.float32) + shift.astype(np.float32)
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(scaled.std(axis=0), 1, rtol=1e-4)


def test_a_feature_that_never_changes_becomes_zero() -> None:
    x = np.array([[3.25, 1.5], [3.25, 2.5]], np.float32)
    scale, shift = affine(x, parts=1)
    np.testing.assert_allclose((x * scale + shift)[:, 0], 0, atol=1e-6)


def test_images_of_floats_share_one_mean_and_deviation() -> None:
    x = (np.random.default_rng(0).normal(size=(20, 3, 4, 4)) * 9 + 5).astype(np.float32)
    scale, shift = affine(x)
    assert scale.shape == shift.shape == (1,)
    scaled = x * scale + shift
    assert abs(scaled.mean()) < 1e-5
    assert abs(scaled.std() - 1) < 1e-5


def test_normalisation_as_told() -> None:
    x = np.array([[0.0], [-8.0], [4.0]], np.float32)
    assert affine(x, "None")[0].tolist() == [1]
    np.testing.assert_allclose(affine(x, "Scale")[0], [1 / 8])
    assert affine(np.zeros((3, 1), np.float32), "Scale")[0].tolist() == [1]
    scale, shift = affine(np.array([[0], [4], [8]], np.uint8), "Standardize")
    np.testing.assert_allclose(
        np.array([0, 4, 8]) * scale + shift, [-1.224745, 0, 1.224745], rtol=1e-5, atol=1e-6
    )


def test_scaling_is_learnt_from_the_training_part_alone(directory_store: Store) -> None:
    def chunks() -> Iterator[Chunk]:
        yield Chunk(np.array([[1.5], [2.5]]), np.array([0, 1]), "a")
        yield Chunk(np.array([[1000.5]]), np.array([0]), "b", 0, "validation")

    manifest = cut(Source("s", chunks, brings_validation=True), directory_store)
    np.testing.assert_allclose(manifest.scale, [2], rtol=1e-6)
    np.testing.assert_allclose(manifest.shift, [-4], rtol=1e-6)


# Manifest and blocks, strictly read


def example() -> Manifest:
    return Manifest(
        "s", "classification", (4,), "float32", (), 3, (5, 6), (2,), (0.1, 0.2, 0.3, 0.4), (0.0,) * 4
    )


def test_the_manifest_survives_json_exactly() -> None:
    assert Manifest.from_json(json.loads(json.dumps(example().to_json()))) == example()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"version": 2}, "version"),
        ({"extra": 1}, "extra"),
        ({"task": "ranking"}, "task"),
        ({"shape": []}, "shape"),
        ({"shape": [0]}, "shape"),
        ({"shape": [10**9]}, "shape"),
        ({"shape": "44"}, "shape"),
        ({"dtype": "float64"}, "dtype"),
        ({"dtype": []}, "dtype"),
        ({"target_shape": [2]}, "target_shape"),
        ({"classes": None}, "classes"),
        ({"classes": 1}, "classes"),
        ({"classes": 2.0}, "classes"),
        ({"train": []}, "train"),
        ({"train": [5, True]}, "train"),
        ({"validation": [-1]}, "validation"),
        ({"scale": [1.0, 2.0]}, "scale"),
        ({"scale": ["1", "1", "1", "1"]}, "scale"),
        ({"scale": [1e300]}, "scale"),
        ({"shift": [0.0]}, "shift"),
        ({"source": None}, "source"),
        ({"task": "regression"}, "classes"),
    ],
)
def test_a_manifest_that_is_wrong_is_refused_by_field(change: dict[str, object], named: str) -> None:
    value = {**json.loads(json.dumps(example().to_json())), **change}
    with pytest.raises(CorruptObject, match=named):
        Manifest.from_json(value)


def test_a_manifest_without_a_field_or_no_json_is_refused(directory_store: Store) -> None:
    value = example().to_json()
    del value["train"]
    with pytest.raises(CorruptObject, match="train"):
        Manifest.from_json(value)
    with pytest.raises(CorruptObject, match="no JSON object"):
        Manifest.from_json([])
    directory_store.create("m", b"{")
    with pytest.raises(CorruptObject, match="m is not JSON"):
        load_manifest(directory_store, "m")


def block(features: np.ndarray, targets: np.ndarray) -> memoryview:
    return memoryview(b"".join(encode_block(features, targets)))


def test_a_block_that_is_not_as_promised_is_refused() -> None:
    good = block(np.ones((5, 4), np.float32), np.zeros(5, np.int32))
    decode_block(good, "b", example(), 5)
    wrong = {
        "5 rows": block(np.ones((6, 4), np.float32), np.zeros(6, np.int32)),
        "width": block(np.ones((5, 3), np.float32), np.zeros(5, np.int32)),
        "features of another type": block(np.ones((5, 4)), np.zeros(5, np.int32)),
        "targets of another type": block(np.ones((5, 4), np.float32), np.zeros(5, np.int64)),
        "fewer targets": block(np.ones((5, 4), np.float32), np.zeros(4, np.int32)),
        "cut off": good[:-1],
        "surplus": memoryview(bytes(good) + b"\0"),
        "empty": memoryview(b""),
        "header too long": memoryview(b"\xff" * 8 + bytes(good[8:])),
        "header broken": memoryview(bytes(good[:8]) + b"[" + bytes(good[9:])),
        "other tensors": memoryview(bytes(good).replace(b'"targets"', b'"targetz"')),
    }
    for what, data in wrong.items():
        with pytest.raises(CorruptObject) as caught:
            decode_block(data, f"b ({what})", example(), 5)
        assert what in str(caught.value)


def test_floats_in_a_set_of_bytes_are_refused() -> None:
    manifest = dataclasses.replace(example(), dtype="uint8")
    with pytest.raises(CorruptObject, match="uint8"):
        decode_block(block(np.ones((5, 4), np.float32), np.zeros(5, np.int32)), "b", manifest, 5)
