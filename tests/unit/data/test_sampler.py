"""The order of an epoch, its division among workers, and batches read in it."""

import dataclasses
import subprocess
import sys
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sapflow.data.blocks import cut_blocks
from sapflow.data.manifest import Manifest, block_key, encode_block
from sapflow.data.read_counter import DataRead
from sapflow.data.sampler import EpochOrder, Reader, split, steps_per_epoch
from sapflow.data.shuffle import permutation
from sapflow.data.source import open_source
from sapflow.errors import CorruptObject, ObjectMissing
from sapflow.objects.stores.directory import DirectoryStore
from sapflow.objects.stores.factory import open_store
from sapflow.objects.stores.protocol import Store


def samples(order: EpochOrder, begin: int, end: int) -> list[tuple[int, int]]:
    """(block, row) of each sample of a range, in the epoch's order."""
    where = order.locate(begin, end)
    found = [(piece.block, int(row)) for piece in where.pieces for row in piece.rows]
    return found if where.order is None else [found[i] for i in where.order]


@given(count=st.integers(0, 3000), seed=st.integers(0, 2**63 - 1), more=st.integers(0, 100))
def test_a_permutation_has_every_number_once(count: int, seed: int, more: int) -> None:
    np.testing.assert_array_equal(np.sort(permutation(count, seed, more)), np.arange(count))


def test_permutations_are_pinned() -> None:
    """Written down once: another machine or numpy must give the same, or resumed jobs would change their data."""
    assert permutation(10, 1, 2, 3).tolist() == [1, 8, 2, 4, 6, 5, 0, 9, 7, 3]
    assert samples(EpochOrder([3, 2, 4], 7, 1, window=2), 0, 9) == [
        (0, 1),
        (0, 2),
        (1, 1),
        (0, 0),
        (1, 0),
        (2, 3),
        (2, 1),
        (2, 2),
        (2, 0),
    ]


def test_permutations_are_even() -> None:
    first = np.bincount([int(permutation(5, seed)[0]) for seed in range(5000)], minlength=5)
    assert first.min() > 880
    assert first.max() < 1120


@given(
    counts=st.lists(st.integers(1, 60), min_size=1, max_size=12),
    workers=st.integers(1, 9),
    batch=st.integers(1, 40),
    window=st.integers(1, 5),
    seed=st.integers(0, 2**63 - 1),
    epoch=st.integers(0, 1000),
)
def test_every_sample_is_used_exactly_once_an_epoch(
    counts: list[int], workers: int, batch: int, window: int, seed: int, epoch: int
) -> None:
    total, per_step = sum(counts), workers * batch
    order = EpochOrder(counts, seed, epoch, window)
    assert len(order) == total
    used: list[tuple[int, int]] = []
    for step in range(steps_per_epoch(total, per_step)):
        begin, end = step * per_step, min(total, (step + 1) * per_step)
        ranges = split(begin, end, workers)
        assert max(e - b for b, e in ranges) <= batch
        for rank_begin, rank_end in ranges:
            used += samples(order, rank_begin, rank_end)
    assert sorted(used) == [(block, row) for block, count in enumerate(counts) for row in range(count)]


@given(
    counts=st.lists(st.integers(1, 30), min_size=1, max_size=9),
    cuts=st.lists(st.integers(0, 270), max_size=6),
    window=st.integers(1, 4),
)
def test_the_order_does_not_depend_on_how_it_is_cut(counts: list[int], cuts: list[int], window: int) -> None:
    total = sum(counts)
    bounds = [0, *sorted(cut for cut in cuts if cut <= total), total]
    whole = samples(EpochOrder(counts, 5, 6, window), 0, total)
    order = EpochOrder(counts, 5, 6, window)
    pieces = list(pairwise(bounds))
    parts = {begin: samples(order, begin, end) for begin, end in reversed(pieces) if end > begin}
    assert [sample for begin in sorted(parts) for sample in parts[begin]] == whole


def test_epochs_and_seeds_differ() -> None:
    orders = [
        samples(EpochOrder([50, 50], seed, epoch), 0, 100) for seed, epoch in ((0, 0), (0, 1), (1, 0), (1, 1))
    ]
    assert all(one != two for i, one in enumerate(orders) for two in orders[:i])


def test_a_range_touches_at_most_a_window_of_blocks() -> None:
    order = EpochOrder([100] * 40, 3, 0, window=4)
    blocks = [{piece.block for piece in order.locate(b, b + 100).pieces} for b in range(0, 4000, 100)]
    assert max(map(len, blocks)) <= 4
    assert len(set.union(*blocks[:4])) == 4
    assert len(set.union(*blocks)) == 40


def test_samples_of_a_window_are_mixed() -> None:
    order = EpochOrder([500] * 4, 3, 0)
    found = np.array([block for block, _ in samples(order, 0, 200)])
    assert np.bincount(found, minlength=4).min() > 25


def test_past_the_end_of_an_epoch_is_an_error() -> None:
    with pytest.raises(IndexError, match="epoch of 3"):
        EpochOrder([3], 0, 0).locate(2, 4)


def test_an_empty_range_has_nothing() -> None:
    assert samples(EpochOrder([3], 0, 0), 2, 2) == []


def test_a_short_last_step_is_divided_evenly() -> None:
    assert split(90, 100, 4) == [(90, 92), (92, 95), (95, 97), (97, 100)]
    assert split(7, 9, 4) == [(7, 7), (7, 8), (8, 8), (8, 9)]
    assert steps_per_epoch(100, 30) == 4
    assert steps_per_epoch(90, 30) == 3


# Reader


class CountingStore(DirectoryStore):
    """A directory store that notes what is read."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.keys: list[str] = []

    def read(self, key: str, start: int = 0, count: int | None = None) -> memoryview:
        self.keys.append(key)
        return super().read(key, start, count)


def blocks(store: Store, counts: Iterable[int], *, dtypes: Iterable[str] = ("float32",)) -> Manifest:
    """Blocks whose features [2, 3] and labels tell block and row: 100·block + row."""
    kinds = list(dtypes)
    for part in ("train", "validation"):
        for index, count in enumerate(counts):
            name = 100 * index + np.arange(count)
            features = np.repeat(name, 6).reshape(count, 2, 3).astype(kinds[index % len(kinds)])
            store.create(block_key("p/", part, index), encode_block(features, name.astype(np.int32)))
    widest = "float32" if "float32" in kinds else "uint8"
    return Manifest("s", "classification", (2, 3), widest, (), 999, tuple(counts), tuple(counts))  # type: ignore[arg-type]


@pytest.mark.parametrize("dtypes", [["uint8"], ["float32"], ["uint8", "float32"]])
@pytest.mark.parametrize("window", [1, 2, 4])
def test_batches_come_in_the_epochs_order(tmp_path: Path, dtypes: list[str], window: int) -> None:
    store = open_store(str(tmp_path))
    manifest = blocks(store, [50, 20, 31], dtypes=dtypes)
    reader, order = Reader(store, "p/", manifest), EpochOrder(manifest.train, 1, 2, window)
    expected = [100 * block + row for block, row in samples(order, 0, 101)]
    for begin, end in ((0, 7), (40, 80), (3, 101), (100, 101)):
        features, targets = reader.batch(order, begin, end)
        assert features.shape == (end - begin, 2, 3)
        assert features.dtype == np.float32
        assert features.ctypes.data % 64 == 0
        assert targets.dtype == np.int64
        assert targets.tolist() == expected[begin:end]
        np.testing.assert_array_equal(features, np.broadcast_to(targets[:, None, None], features.shape))
    assert reader.batch(order, 5, 5)[0].shape == (0, 2, 3)


def test_the_validation_set_is_read_front_to_back(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    reader = Reader(store, "p/", blocks(store, [5, 3]))
    features, targets = reader.range(2, 7)
    assert targets.tolist() == [2, 3, 4, 100, 101]
    np.testing.assert_array_equal(features[:, 1, 2], targets)
    assert len(reader.range(8, 8)[1]) == 0
    with pytest.raises(IndexError, match="set of 8"):
        reader.range(7, 9)


def test_batches_are_the_callers_own(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    manifest = blocks(store, [20, 20], dtypes=["uint8"])
    reader, order = Reader(store, "p/", manifest), EpochOrder(manifest.train, 0, 0)
    first = reader.batch(order, 0, 10)
    kept = first[0].copy(), first[1].copy()
    reader.batch(order, 10, 20)[0][:] = -1
    np.testing.assert_array_equal(first[0], kept[0])
    np.testing.assert_array_equal(first[1], kept[1])
    first[0][:] = -1
    np.testing.assert_array_equal(reader.batch(order, 0, 10)[0], kept[0])


@pytest.mark.parametrize(
    ("scale", "shift"), [((1 / 16,), (0.0,)), ((1.0,), (-3.0,)), ((0.5, 2.0, 3.0), (1.0, 0.0, -1.0))]
)
def test_scaling_is_applied_in_single_precision(
    tmp_path: Path, scale: tuple[float, ...], shift: tuple[float, ...]
) -> None:
    store = open_store(str(tmp_path))
    x = np.arange(30, dtype=np.uint8).reshape(10, 3)
    store.create("p/train/0", encode_block(x, np.zeros((10, 2), np.float32)))
    manifest = Manifest("s", "regression", (3,), "uint8", (2,), None, (10,), (), scale, shift)
    features, targets = Reader(store, "p/", manifest).batch(EpochOrder([10], 0, 0), 0, 10)
    rows = [row for _, row in samples(EpochOrder([10], 0, 0), 0, 10)]
    single = np.float32
    np.testing.assert_array_equal(
        features, x[rows].astype(single) * np.array(scale, single) + np.array(shift, single)
    )
    assert targets.shape == (10, 2)
    assert targets.dtype == np.float32


def test_blocks_stay_warm_within_the_bound_and_no_further(tmp_path: Path) -> None:
    store = CountingStore(str(tmp_path))
    manifest = blocks(store, [50] * 6)
    size = len(store.read("p/train/0"))
    order = EpochOrder(manifest.train, 0, 0, window=2)
    for room, reads in ((2 * size, 6), (10 * size, 6), (0, 0)):
        store.keys.clear()
        reader = Reader(store, "p/", manifest, cache_bytes=room)
        for begin in range(0, 300, 10):
            reader.batch(order, begin, begin + 10)
        assert len(store.keys) == reads if reads else len(store.keys) > 6
        before = len(store.keys)
        reader.batch(order, 0, 10)
        assert (len(store.keys) == before) is (room == 10 * size)


def test_what_is_read_is_counted_once_and_what_is_warm_is_not(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    manifest = blocks(store, [50] * 4)
    size = sum(len(store.read(f"p/train/{index}")) for index in range(4))
    reader, order = Reader(store, "p/", manifest), EpochOrder(manifest.train, 0, 0)
    reader.batch(order, 0, 200)
    taken = reader.counter.take()
    assert taken.bytes == size
    assert taken.requests == 4
    assert taken.seconds > 0
    reader.batch(order, 0, 200)
    assert reader.counter.take() == DataRead()


def test_a_missing_and_a_corrupt_block_are_errors(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    manifest = blocks(store, [5])
    promised = dataclasses.replace(manifest, train=(5, 5), validation=(4,))
    with pytest.raises(ObjectMissing):
        Reader(store, "p/", promised).batch(EpochOrder([5, 5], 0, 0), 0, 10)
    with pytest.raises(CorruptObject, match="p/validation/0"):
        Reader(store, "p/", promised).range(0, 1)


def test_a_source_cut_and_read_back_is_the_source(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    manifest = cut_blocks(open_source("sklearn:digits"), store, "d/", validation_fraction=0.2, seed=4)
    reader, order = Reader(store, "d/", manifest), EpochOrder(manifest.train, 0, 0)
    parts = [reader.batch(order, 0, len(order)), reader.range(0, manifest.validation_samples)]
    found = np.concatenate([np.column_stack([x * 16, y]) for x, y in parts])
    chunk = next(open_source("sklearn:digits").read())
    expected = np.column_stack([chunk.features, chunk.targets])
    np.testing.assert_array_equal(np.unique(found, axis=0), np.unique(expected, axis=0))
    assert found.sum() == expected.sum()
    assert len(found) == 1797


def test_what_training_needs_imports_numpy_alone() -> None:
    code = (
        "import sys, sapflow.data.blocks, sapflow.data.sampler\n"
        "print([n for n in ('pydantic', 'sklearn', 'pyarrow', 'minio', 'torch') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
