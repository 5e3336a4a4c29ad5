"""Blocks of a partition: every sample once, and the same bytes wherever a writer goes on."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sapflow.data.manifest import block_key, decode_block
from sapflow.errors import CorruptObject
from sapflow.objects.stores.factory import open_store
from sapflow.objects.stores.protocol import Store
from sapflow.preparation import layout as layouts
from sapflow.preparation.census import counted, merged
from sapflow.preparation.layout import Layout, layout_of
from sapflow.preparation.record import Record
from sapflow.preparation.samples import Made, Samples
from sapflow.preparation.writer import Writer

ROWS = 100


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of ten samples."""
    monkeypatch.setattr(layouts, "MAX_BLOCK_BYTES", 512 + 10 * 12)


def made(partition: int, first: int = 0, last: int = ROWS) -> Made:
    numbers = np.arange(first, last)
    features = (1000.0 * partition + numbers[:, None] + [0, 0.5]).astype(np.float32)
    return Made(features, numbers + 0.25, numbers, numbers % 5 == 0, ())


def layout() -> Layout:
    samples = Samples("numbers", ("a", "b"), ("a", "b"), (2,), "y", 1, None)
    return layout_of(samples, merged([counted(made(each), each, None, []) for each in range(2)]), None)


def written(store: Store, layout: Layout) -> Iterator[tuple[str, np.ndarray]]:
    manifest = layout.manifest("s")
    for part in ("train", "validation"):
        for index, count in enumerate(manifest.blocks(part)):
            key = block_key("data/", part, index)
            yield part, decode_block(store.read(key), key, manifest, count)[0]


@pytest.mark.usefixtures("small_blocks")
def test_every_sample_is_in_one_block_of_its_part_and_shuffled(tmp_path: Path) -> None:
    store, found = open_store(str(tmp_path)), layout()
    for partition in (1, 0):
        writer = Writer(found, store, "data/", 3, partition)
        writer.add(made(partition))
        writer.finish()
    blocks = list(written(store, found))
    train = np.concatenate([each for part, each in blocks if part == "train"])
    expected = np.concatenate([made(each).features[~made(each).held] for each in range(2)])
    assert sorted(train[:, 0].tolist()) == expected[:, 0].tolist()
    assert train[:, 0].tolist() != expected[:, 0].tolist()
    assert sum(len(each) for part, each in blocks if part == "validation") == 40


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("stop", [1, 37, 50, 99])
def test_a_writer_that_goes_on_writes_the_same_bytes(tmp_path: Path, stop: int) -> None:
    found = layout()
    stores = [open_store(str(tmp_path / name)) for name in ("one", "other")]
    undisturbed = Writer(found, stores[0], "data/", 3, 1)
    undisturbed.add(made(1))
    undisturbed.finish()
    first = Writer(found, stores[1], "data/", 3, 1)
    first.add(made(1, 0, stop))
    second = Writer(found, stores[1], "data/", 3, 1, Record.decode(first.record().encode(), "cursor"))
    second.add(made(1, stop))
    second.finish()
    for each in stores[0].list("data/"):
        assert bytes(stores[0].read(each.key)) == bytes(stores[1].read(each.key))


@pytest.mark.parametrize("last", [50, 2 * ROWS], ids=["fewer", "more"])
def test_other_samples_than_were_counted_are_refused(tmp_path: Path, last: int) -> None:
    writer = Writer(layout(), open_store(str(tmp_path)), "data/", 3, 0)

    def write() -> None:
        writer.add(made(0, 0, last))
        writer.finish()

    with pytest.raises(CorruptObject, match="samples of a part where 80 were counted"):
        write()
    assert list(open_store(str(tmp_path)).list("data/")) == []
