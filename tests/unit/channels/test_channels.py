"""Which way a contribution takes by its ref, and what becomes of it where its volume is lost."""

import shutil
from pathlib import Path

import pytest

from sapflow.channels.channels import open_channels
from sapflow.errors import CellLost, ObjectMissing, StoreError
from sapflow.messages.refs import CELL, Ref
from sapflow.objects.stores.cell import CellStore, Passed
from sapflow.objects.stores.protocol import Store

INSIDE = Ref(channel=CELL, key="jobs/u/work/3-abc/0-1.0", start=0, stop=4, cell=1)
ACROSS = Ref(key="jobs/u/work/3-abc/0-2.0", start=0, stop=4)


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    (tmp_path / "volume").mkdir()
    return tmp_path / "volume"


@pytest.fixture
def cell(directory_store: Store, volume: Path) -> CellStore:
    return CellStore(directory_store, 1, str(volume))


def content(store: Store, ref: Ref) -> bytes:
    with open_channels(store).open(ref) as reader:
        return bytes(reader.next(reader.size))


def test_what_stays_in_a_cell_is_on_its_volume_and_all_else_in_the_store(
    cell: CellStore, directory_store: Store
) -> None:
    channels = open_channels(cell)
    channels.put(INSIDE, [b"in", b"side"])
    channels.put(ACROSS, [b"across"])
    assert content(cell, INSIDE) == b"inside"
    assert content(directory_store, ACROSS) == content(cell, ACROSS) == b"across"
    assert not directory_store.exists(INSIDE.key)
    # What was written and read across; nothing of what stayed inside.
    assert cell.take_passed() == Passed(read=6, written=6)


def test_the_first_writer_of_a_key_wins_on_every_channel(cell: CellStore) -> None:
    channels = open_channels(cell)
    for ref in (INSIDE, ACROSS):
        channels.put(ref, [b"first"])
        channels.put(ref, [b"later"])
        assert content(cell, ref) == b"first"


def test_a_ref_of_another_cell_is_refused(cell: CellStore) -> None:
    with pytest.raises(StoreError, match="lies in cell 2, and this function is in cell 1"):
        open_channels(cell).put(INSIDE.model_copy(update={"cell": 2}), [b""])


def test_a_function_without_the_channel_of_a_ref_says_which_it_has(directory_store: Store) -> None:
    with pytest.raises(StoreError, match="on channel 'cell', and this function has: inline, store"):
        open_channels(directory_store).open(INSIDE)


def test_what_is_gone_with_a_volume_is_a_loss_of_the_cell_and_what_is_gone_from_the_store_is_not(
    cell: CellStore, volume: Path
) -> None:
    channels = open_channels(cell)
    channels.put(INSIDE, [b"inside"])
    shutil.rmtree(volume)
    with pytest.raises(CellLost) as caught:
        channels.open(INSIDE)
    assert (caught.value.reason, caught.value.retryable) == ("CellLost", False)
    with pytest.raises(ObjectMissing) as missing:
        channels.open(ACROSS)
    assert missing.value.reason == "ObjectMissing"
    channels.put(INSIDE, [b"inside"])
    assert content(cell, INSIDE) == b"inside", "it is written anew where the folder can be made"


def test_what_a_driver_has_collected_is_gone_from_the_volume(cell: CellStore) -> None:
    open_channels(cell).put(INSIDE, [b"inside"])
    cell.collect([INSIDE.key])
    with pytest.raises(CellLost):
        content(cell, INSIDE)
