"""Which way a contribution takes by its ref, and what becomes of it where its volume is lost."""

import errno
import shutil
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from sapflow.channels.channels import open_channels
from sapflow.errors import CellLost, CorruptObject, ObjectMissing, StoreError
from sapflow.messages.refs import CELL, Ref
from sapflow.objects import contribution
from sapflow.objects.stores import directory
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


VECTOR = np.arange(4, dtype="<f4")


def read_vector(store: Store, ref: Ref) -> None:
    with open_channels(store).open(ref) as reader:
        contribution.read_header(reader, ref.key, 4)
        reader.next(16)


def read_together(store: Store, refs: list[Ref]) -> None:
    with ExitStack() as stack:
        readers = [stack.enter_context(open_channels(store).open(ref)) for ref in refs]
        for reader, ref in zip(readers, refs, strict=True):
            contribution.read_header(reader, ref.key, 4)


@pytest.mark.parametrize("left", [0, 5, 40, -1], ids=["nothing", "no header", "half a header", "a byte less"])
def test_what_is_torn_on_a_volume_goes_from_there_so_that_it_is_written_anew(
    cell: CellStore, volume: Path, left: int
) -> None:
    channels = open_channels(cell)
    channels.put(INSIDE, contribution.encode(VECTOR, {}))
    file = volume / INSIDE.key
    file.write_bytes(file.read_bytes()[:left])
    with pytest.raises(CellLost, match="torn"):
        read_vector(cell, INSIDE)
    assert not file.exists()
    channels.put(INSIDE, contribution.encode(VECTOR, {}))
    read_vector(cell, INSIDE)


def test_of_children_that_are_read_together_the_torn_ones_go(cell: CellStore, volume: Path) -> None:
    channels = open_channels(cell)
    refs = [INSIDE.model_copy(update={"key": f"jobs/u/work/3-abc/0-{rank}.0"}) for rank in range(4)]
    for ref in refs:
        channels.put(ref, contribution.encode(VECTOR, {"weight": "1"}))
    for ref in refs[:2]:
        (volume / ref.key).write_bytes(b"")
    with pytest.raises(CellLost):
        read_together(cell, refs)
    assert sorted(path.name for path in volume.glob("jobs/u/work/3-abc/*")) == ["0-2.0", "0-3.0"]


def test_a_corrupt_object_of_somewhere_else_takes_nothing_from_the_volume(
    cell: CellStore, volume: Path
) -> None:
    open_channels(cell).put(INSIDE, contribution.encode(VECTOR, {}))
    with pytest.raises(CorruptObject, match="elsewhere"), open_channels(cell).open(INSIDE):
        raise CorruptObject("elsewhere")
    assert (volume / INSIDE.key).exists()


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ENODEV])
def test_a_volume_that_goes_while_it_is_read_is_a_loss_of_the_cell(
    cell: CellStore, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    open_channels(cell).put(INSIDE, [b"inside"])

    def fail(*given: object) -> None:
        raise OSError(number, "the device is gone")

    with open_channels(cell).open(INSIDE) as reader:
        monkeypatch.setattr(directory, "_read_into", fail)
        with pytest.raises(CellLost, match="has gone"):
            reader.next(2)


def test_what_a_driver_has_collected_is_gone_from_the_volume(cell: CellStore) -> None:
    open_channels(cell).put(INSIDE, [b"inside"])
    cell.collect([INSIDE.key])
    with pytest.raises(CellLost):
        content(cell, INSIDE)
