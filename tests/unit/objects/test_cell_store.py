"""The store of a function in a cell: which way each object takes, copies of parameters, lost volumes."""

import errno
import fcntl
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.tapped_store import TappedStore

from sapflow.errors import CellLost
from sapflow.objects import contribution, keys
from sapflow.objects.stores import directory
from sapflow.objects.stores.cell import CellStore, Passed
from sapflow.objects.stores.factory import open_store
from sapflow.objects.stores.protocol import ObjectReader, Store

PARAMS = keys.params(keys.job("u"), 3, "abc", 0)
WORK = keys.contribution(keys.job("u"), 3, "abc", 0, 1, 0)


class Counting(TappedStore):
    """Counts what is opened."""

    opened = 0

    def open(self, key: str) -> ObjectReader:
        self.opened += 1
        return super().open(key)


@pytest.fixture
def store(tmp_path: Path) -> Counting:
    return Counting(open_store(str(tmp_path / "store")))


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    return tmp_path / "volume"


@pytest.fixture
def cell(store: Counting, volume: Path) -> CellStore:
    volume.mkdir()
    return CellStore(store, 1, str(volume))


def content(store: Store, key: str) -> bytes:
    with store.open(key) as reader:
        return bytes(reader.next(reader.size))


def test_only_parameters_are_copied() -> None:
    trial = keys.params(keys.trial(keys.job("u"), 3), 3, "abc", 0)
    others = (
        WORK,
        keys.optimizer(keys.job("u"), 3, "abc", 0),
        "jobs/u/trials/x/params/3",
        "jobs/u/3/params/x",
    )
    assert keys.is_params(PARAMS)
    assert keys.is_params(trial)
    assert not any(keys.is_params(key) for key in others)


def test_what_is_no_parameter_goes_to_the_store_and_is_counted(cell: CellStore, store: Counting) -> None:
    assert cell.create(WORK, b"across", durable=True)
    assert content(store, WORK) == content(cell, WORK) == b"across"
    assert cell.take_passed() == Passed(read=6, written=6)
    assert not cell.volume.exists(WORK)


def test_parameters_are_read_from_the_store_once_a_cell(
    cell: CellStore, store: Counting, volume: Path
) -> None:
    store.create(PARAMS, b"parameters")
    other = CellStore(store, 1, str(volume))
    assert content(cell, PARAMS) == content(other, PARAMS) == b"parameters"
    assert bytes(other.read(PARAMS, 0, 4)) == b"para"
    assert store.opened == 1
    assert (cell.take_passed().read, other.take_passed().read) == (10, 0)


def test_many_at_once_read_parameters_from_the_store_once(store: Counting, volume: Path) -> None:
    store.create(PARAMS, b"parameters" * 1000)
    found: list[bytes] = []
    start = threading.Barrier(6)

    def read() -> None:
        mine = CellStore(store, 1, str(volume))
        start.wait()
        found.append(content(mine, PARAMS))

    threads = [threading.Thread(target=read) for _ in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert found == [b"parameters" * 1000] * 6
    assert store.opened == 1


def test_the_root_leaves_a_copy_in_its_cell_after_the_store_has_it(cell: CellStore, store: Counting) -> None:
    assert cell.create(PARAMS, [b"para", b"meters"], durable=True)
    assert content(store, PARAMS) == b"parameters"
    store.opened = 0
    assert content(cell, PARAMS) == b"parameters"
    assert store.opened == 0


def test_who_waits_too_long_for_a_copy_reads_the_store(store: Counting, volume: Path) -> None:
    store.create(PARAMS, b"parameters")
    impatient = CellStore(store, 1, str(volume), wait_seconds=0.0)
    folder = volume / ".locks"
    folder.mkdir(parents=True)
    held = []
    for number in range(16):
        file = (folder / str(number)).open("w")
        fcntl.flock(file, fcntl.LOCK_EX)
        held.append(file)
    assert content(impatient, PARAMS) == b"parameters"
    assert store.opened == 1
    for file in held:
        file.close()
    assert content(impatient, PARAMS) == b"parameters"
    assert store.opened == 2, "the copy that nobody holds up any more is made"
    assert content(impatient, PARAMS) == b"parameters"
    assert store.opened == 2


def test_a_volume_that_cannot_be_written_costs_the_copy_only(store: Counting, tmp_path: Path) -> None:
    store.create(PARAMS, b"parameters")
    (tmp_path / "file").write_text("no folder")
    broken = CellStore(store, 1, str(tmp_path / "file"))
    assert content(broken, PARAMS) == b"parameters"
    assert broken.create(keys.params(keys.job("u"), 4, "abc", 0), b"next", durable=True)
    assert content(store, keys.params(keys.job("u"), 4, "abc", 0)) == b"next"


def test_copies_are_collected_from_the_volume_and_from_nowhere_else(cell: CellStore, store: Counting) -> None:
    cell.create(PARAMS, b"parameters")
    cell.collect([PARAMS, "jobs/u/work/none"])
    assert content(store, PARAMS) == b"parameters"
    store.opened = 0
    content(cell, PARAMS)
    assert store.opened == 1, "the copy is gone"


def test_of_two_roots_the_bytes_of_the_one_that_lost_are_copied_nowhere(
    cell: CellStore, store: Counting
) -> None:
    assert store.create(PARAMS, b"the first")
    assert not cell.create(PARAMS, b"the other", durable=True)
    assert content(cell, PARAMS) == b"the first"


def test_a_copy_whose_volume_fails_while_it_is_read_is_gone_on_with_from_the_store(
    cell: CellStore, store: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.create(PARAMS, b"parameters")
    content(cell, PARAMS)
    cell.take_passed()
    opened = store.opened
    real, failing = directory._read_into, [False]

    def read(*given: Any) -> None:
        if failing.pop():
            failing.append(False)
            raise OSError(errno.EIO, "Input/output error")
        failing.append(False)
        real(*given)

    monkeypatch.setattr(directory, "_read_into", read)
    with cell.open(PARAMS) as reader:
        assert bytes(reader.next(4)) == b"para"
        failing[:] = [True]
        assert bytes(reader.next(6)) == b"meters"
    assert store.opened == opened + 1
    assert cell.take_passed() == Passed(read=10)


def test_a_torn_copy_goes_and_the_next_reader_makes_another(cell: CellStore, volume: Path) -> None:
    vector = np.arange(4, dtype="<f4")
    cell.create(PARAMS, contribution.encode(vector, {}))
    (volume / PARAMS).write_bytes(b"")
    out = np.zeros(4, "<f4")
    with pytest.raises(CellLost, match="torn"):
        contribution.read_vector(cell, PARAMS, out)
    contribution.read_vector(cell, PARAMS, out)
    assert out.tolist() == vector.tolist()
    assert (volume / PARAMS).stat().st_size > 0
