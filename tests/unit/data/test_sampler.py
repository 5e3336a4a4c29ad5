"""Batches read in an order: what comes, what is read for it, and what stays warm."""

import dataclasses
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from sapflow.data.blocks import cut_blocks
from sapflow.data.dealing import Deal, Share
from sapflow.data.manifest import Manifest, block_key, encode_block
from sapflow.data.order import Location, Orders, Piece
from sapflow.data.read_counter import DataRead
from sapflow.data.sampler import Reader
from sapflow.data.source import open_source
from sapflow.errors import CorruptObject, ObjectMissing
from sapflow.objects.stores.directory import DirectoryStore
from sapflow.objects.stores.factory import open_store
from sapflow.objects.stores.protocol import Store


def whole(manifest: Manifest, begin: int, end: int, *, window: int = 4, epoch: int = 0) -> Location:
    """Where places `begin` to `end` of a single worker's epoch lie."""
    share = Share(0, manifest.train_samples, window, begin, end)
    return Orders(manifest.train, 0).locate(epoch, [share])


def names(where: Location, per_block: int = 100) -> list[int]:
    """What `blocks` has called the samples of a location, in its order."""
    found = [
        per_block * each.piece.block + each.piece.first + int(row)
        for each in where.rows
        for row in each.numbers
    ]
    return found if where.order is None else [found[i] for i in where.order]


class CountingStore(DirectoryStore):
    """A directory store that notes what is read."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.keys: list[str] = []
        self.bytes = 0

    def read(self, key: str, start: int = 0, count: int | None = None) -> memoryview:
        found = super().read(key, start, count)
        self.keys.append(key)
        self.bytes += len(found)
        return found


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
    reader = Reader(store, "p/", manifest)
    for begin, end in ((0, 7), (40, 80), (3, 101), (100, 101)):
        where = whole(manifest, begin, end, window=window, epoch=2)
        features, targets = reader.batch(where)
        assert features.shape == (end - begin, 2, 3)
        assert features.dtype == np.float32
        assert features.ctypes.data % 64 == 0
        assert targets.dtype == np.int64
        assert targets.tolist() == names(where)
        np.testing.assert_array_equal(features, np.broadcast_to(targets[:, None, None], features.shape))
    assert reader.batch(whole(manifest, 5, 5))[0].shape == (0, 2, 3)


@pytest.mark.parametrize("dtypes", [["uint8"], ["float32"], ["uint8", "float32"]])
@pytest.mark.parametrize("workers", [2, 3, 7, 40])
def test_ranks_that_own_parts_of_blocks_read_their_rows_alone(
    tmp_path: Path, dtypes: list[str], workers: int
) -> None:
    store = CountingStore(str(tmp_path))
    manifest = blocks(store, [50, 20, 31], dtypes=dtypes)
    orders, deal, found = Orders(manifest.train, 4), Deal(101, 6, workers), []
    for rank in range(workers):
        reader, own = Reader(store, "p/", manifest), []
        for step in range(deal.steps):
            where = orders.locate(1, deal.shares(rank, step))
            features, targets = reader.batch(where)
            assert targets.tolist() == names(where)
            np.testing.assert_array_equal(features, np.broadcast_to(targets[:, None, None], features.shape))
            own += targets.tolist()
        assert len(own) == deal.size(rank)
        found += own
    assert sorted(found) == [100 * block + row for block, n in enumerate(manifest.train) for row in range(n)]


@pytest.mark.parametrize("samples", [4000, 1717])
@pytest.mark.parametrize("workers", [1, 2, 3, 4, 8, 16, 32])
def test_an_epoch_reads_the_data_set_once_whatever_the_number_of_workers(
    tmp_path: Path, workers: int, samples: int
) -> None:
    """Each rank on an instance of its own; 1.15 times the data set is allowed, for headers and a few targets."""
    store = CountingStore(str(tmp_path))
    counts = [500] * (samples // 500) + [samples % 500] * bool(samples % 500)
    features, labels = np.zeros((500, 512), np.float32), np.zeros(500, np.int32)
    for index, count in enumerate(counts):
        store.create(block_key("p/", "train", index), encode_block(features[:count], labels[:count]))
    manifest = Manifest("s", "classification", (512,), "float32", (), 2, tuple(counts), ())
    deal, orders = Deal(samples, 16, workers), Orders(counts, 0)
    readers = [Reader(store, "p/", manifest) for _ in range(workers)]
    for epoch in range(2):
        store.bytes = 0
        for step in range(deal.steps):
            for rank, reader in enumerate(readers):
                if shares := deal.shares(rank, step):
                    reader.serve(rank, orders.pieces(epoch, shares))
                    reader.batch(orders.locate(epoch, shares))
        assert store.bytes <= 1.15 * samples * (512 * 4 + 4)


def test_a_fixed_partition_that_fits_is_read_once(tmp_path: Path) -> None:
    store = CountingStore(str(tmp_path))
    manifest = blocks(store, [50] * 6)
    orders, deal, reader = (
        Orders(manifest.train, 0, fixed=True),
        Deal(300, 10, 3),
        Reader(store, "p/", manifest),
    )
    for epoch in range(3):
        store.keys.clear()
        for step in range(deal.steps):
            reader.batch(orders.locate(epoch, deal.shares(1, step)))
        assert bool(store.keys) is (epoch == 0)


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
    reader = Reader(store, "p/", manifest)
    first = reader.batch(whole(manifest, 0, 10))
    kept = first[0].copy(), first[1].copy()
    reader.batch(whole(manifest, 10, 20))[0][:] = -1
    np.testing.assert_array_equal(first[0], kept[0])
    np.testing.assert_array_equal(first[1], kept[1])
    first[0][:] = -1
    np.testing.assert_array_equal(reader.batch(whole(manifest, 0, 10))[0], kept[0])


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
    features, targets = Reader(store, "p/", manifest).batch(whole(manifest, 0, 10))
    rows = names(whole(manifest, 0, 10))
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
    for room, reads in ((2 * size, 6), (10 * size, 6), (0, 0)):
        store.keys.clear()
        reader = Reader(store, "p/", manifest, cache_bytes=room)
        for begin in range(0, 300, 10):
            reader.batch(whole(manifest, begin, begin + 10, window=2))
        assert len(store.keys) == reads if reads else len(store.keys) > 6
        assert reader.cached_bytes <= max(room, size)
        assert reader.lacks_room is (room < 10 * size)
        before = len(store.keys)
        reader.batch(whole(manifest, 0, 10, window=2))
        assert (len(store.keys) == before) is (room == 10 * size)


def test_the_windows_of_all_ranks_stay_warm_and_an_evaluation_displaces_none(tmp_path: Path) -> None:
    store = CountingStore(str(tmp_path))
    manifest = blocks(store, [50] * 6)
    size = len(store.read("p/train/0"))
    reader, orders, deal = (
        Reader(store, "p/", manifest, cache_bytes=6 * size),
        Orders(manifest.train, 0),
        Deal(300, 5, 6),
    )
    for step in range(deal.steps):
        store.keys.clear()
        for rank in range(6):
            shares = deal.shares(rank, step)
            reader.serve(rank, orders.pieces(0, shares))
            reader.batch(orders.locate(0, shares))
        assert len(store.keys) == (6 if step == 0 else 0)
        for at in range(0, 300, 25):
            reader.range(at, at + 25)
        assert len(store.keys) == (12 if step == 0 else 6), "each validation block once an evaluation"


def test_where_not_all_windows_fit_those_that_are_kept_stay(tmp_path: Path) -> None:
    """Giving up the piece used longest ago would lose each just before its turn: nothing would ever be warm."""
    store = CountingStore(str(tmp_path))
    manifest = blocks(store, [50] * 6)
    size = len(store.read("p/train/0"))
    reader, orders, deal = (
        Reader(store, "p/", manifest, cache_bytes=4 * size),
        Orders(manifest.train, 0),
        Deal(300, 5, 6),
    )
    for step in range(deal.steps):
        store.keys.clear()
        for rank in range(6):
            shares = deal.shares(rank, step)
            reader.serve(rank, orders.pieces(0, shares))
            reader.batch(orders.locate(0, shares))
        assert len(store.keys) == (6 if step == 0 else 2)


@pytest.mark.parametrize("remote", [False, True])
@pytest.mark.parametrize(("workers", "room"), [(8, 2), (8, 0), (1, 1)])
def test_an_epoch_reads_the_data_set_once_where_windows_do_not_fit(
    tmp_path: Path, workers: int, room: int, *, remote: bool
) -> None:
    """One instance serves all ranks, with room for a few of their windows, or for a part of one."""
    store = CountingStore(str(tmp_path))
    store.remote = remote
    counts, width = [100] * 8, 4_096
    samples = sum(counts)
    for index, count in enumerate(counts):
        numbers = 100 * index + np.arange(count)
        features = np.repeat(numbers, width).reshape(count, width).astype(np.float32)
        store.create(block_key("p/", "train", index), encode_block(features, numbers.astype(np.int32)))
    manifest = Manifest("s", "classification", (width,), "float32", (), 800, tuple(counts), ())
    reader = Reader(store, "p/", manifest, cache_bytes=room * 100 * 4 * (width + 1))
    deal, orders = Deal(samples, 5, workers), Orders(counts, 0)
    for epoch in range(2):
        store.bytes, seen = 0, list[int]()
        for step in range(deal.steps):
            for rank in range(workers):
                if shares := deal.shares(rank, step):
                    reader.serve(rank, orders.pieces(epoch, shares))
                    where = orders.locate(epoch, shares)
                    features, targets = reader.batch(where)
                    assert targets.tolist() == names(where)
                    np.testing.assert_array_equal(features[:, [0, -1]].T, [targets, targets])
                    seen += targets.tolist()
        assert sorted(seen) == list(range(samples))
        assert store.bytes <= 1.15 * samples * 4 * (width + 1)
    assert reader.lacks_room
    assert reader.cached_bytes <= max(room, 1) * 1.01 * 100 * 4 * (width + 1)


def test_small_rows_that_lie_all_over_a_piece_are_read_with_it(tmp_path: Path) -> None:
    store = CountingStore(str(tmp_path))
    manifest = blocks(store, [50] * 2)
    reader = Reader(store, "p/", manifest, cache_bytes=0)
    where = Orders([50, 50], 0).locate(0, [Share(0, 100, 2, 0, 10)])
    reader.batch(where)
    assert sorted(store.keys) == ["p/train/0", "p/train/1"], "a request for each row would take longer"


def test_pieces_are_read_ahead_as_far_as_there_is_room(tmp_path: Path) -> None:
    store = CountingStore(str(tmp_path))
    manifest = blocks(store, [50] * 4)
    size = len(store.read("p/train/0"))
    store.keys.clear()
    reader = Reader(store, "p/", manifest, cache_bytes=2 * size)
    pieces = [Piece(block, 0, 50) for block in range(4)]
    reader.serve(0, pieces[:1], pieces[1:])
    where = Orders(manifest.train, 0).locate(0, [])
    reader.batch(where)
    reader.read_ahead(pieces[1:])
    reader.wait_for_reads()
    assert store.keys == ["p/train/1", "p/train/2"]
    assert reader.counter.take().requests == 2
    reader.serve(0, pieces[1:2])
    reader.read_ahead(pieces[1:2])
    reader.wait_for_reads()
    assert store.keys == ["p/train/1", "p/train/2"], "what is kept is not read again"


def test_rows_that_are_kept_under_other_pieces_are_not_read_again(tmp_path: Path) -> None:
    store = CountingStore(str(tmp_path))
    manifest = blocks(store, [60])
    reader = Reader(store, "p/", manifest)
    for first, stop in ((10, 30), (40, 50), (5, 55), (0, 60)):
        store.bytes = 0
        where = Orders([60], 0).locate(0, [Share(first, stop, 1, 0, stop - first)])
        features, targets = reader.batch(where)
        assert sorted(targets.tolist()) == list(range(first, stop))
        np.testing.assert_array_equal(features, np.broadcast_to(targets[:, None, None], features.shape))
    # The whole block needs rows 0 to 4 and 55 to 59 alone.
    assert store.bytes == 10 * (6 * 4 + 4)


class Gate(DirectoryStore):
    """A directory store whose reads of one key wait until they are let through."""

    def __init__(self, root: str, key: str) -> None:
        super().__init__(root)
        self.key, self.entered, self.open_ = key, threading.Event(), threading.Event()
        self.reads: list[str] = []

    def read(self, key: str, start: int = 0, count: int | None = None) -> memoryview:
        self.reads.append(key)
        if key == self.key:
            self.entered.set()
            assert self.open_.wait(60)
        return super().read(key, start, count)


def test_a_batch_waits_for_a_piece_that_is_being_read_and_reads_one_that_waits(tmp_path: Path) -> None:
    store = Gate(str(tmp_path), "p/train/0")
    manifest = blocks(store, [50, 50])
    reader = Reader(store, "p/", manifest)
    reader.read_ahead([Piece(0, 0, 50), Piece(1, 0, 50)])
    assert store.entered.wait(60)
    location = Orders([50, 50], 0).locate(0, [Share(0, 100, 1, 0, 100)])
    threading.Timer(0.01, store.open_.set).start()
    _, targets = reader.batch(location)
    assert sorted(targets.tolist()) == [*range(50), *range(100, 150)]
    assert sorted(store.reads) == ["p/train/0", "p/train/1"], "each is read once"
    reader.stop_reading_ahead()


def test_reading_ahead_stops_when_told_and_tells_no_errors(tmp_path: Path) -> None:
    store = Gate(str(tmp_path), "p/train/0")
    manifest = blocks(store, [50, 50])
    reader = Reader(store, "p/", manifest)
    reader.read_ahead([Piece(0, 0, 50), Piece(1, 0, 50)])
    assert store.entered.wait(60)
    threading.Timer(0.01, store.open_.set).start()
    reader.stop_reading_ahead()
    assert store.reads == ["p/train/0"]
    store.delete(["p/train/1"])
    reader.read_ahead([Piece(1, 0, 50)])
    reader.wait_for_reads()
    with pytest.raises(ObjectMissing):
        reader.batch(Orders([50, 50], 0).locate(0, [Share(0, 100, 1, 0, 100)]))


def test_what_is_read_is_counted_once_and_what_is_warm_is_not(tmp_path: Path) -> None:
    store = CountingStore(str(tmp_path))
    manifest = blocks(store, [50] * 4)
    reader = Reader(store, "p/", manifest)
    where = Orders(manifest.train, 0).locate(0, Deal(200, 120, 3).shares(1, 0))
    reader.batch(where)
    taken = reader.counter.take()
    assert taken.bytes == store.bytes
    assert taken.requests == len(store.keys)
    assert taken.seconds > 0
    reader.batch(where)
    assert reader.counter.take() == DataRead()


def test_a_missing_and_a_corrupt_block_are_errors(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    manifest = blocks(store, [5])
    promised = dataclasses.replace(manifest, train=(5, 5), validation=(4,))
    with pytest.raises(ObjectMissing):
        Reader(store, "p/", promised).batch(whole(promised, 0, 10))
    with pytest.raises(CorruptObject, match="p/validation/0"):
        Reader(store, "p/", promised).range(0, 1)
    wrong = dataclasses.replace(manifest, train=(7,))
    with pytest.raises(CorruptObject, match="p/train/0"):
        Reader(store, "p/", wrong).batch(Orders([7], 0).locate(0, [Share(2, 5, 1, 0, 3)]))


def test_a_source_cut_and_read_back_is_the_source(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    manifest = cut_blocks(open_source("sklearn:digits"), store, "d/", validation_fraction=0.2, seed=4)
    reader = Reader(store, "d/", manifest)
    parts = [
        reader.batch(whole(manifest, 0, manifest.train_samples)),
        reader.range(0, manifest.validation_samples),
    ]
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
