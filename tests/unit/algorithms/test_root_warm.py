"""What a root keeps warm between its calls: by key, handed out once, and never more than a few."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from helpers.tapped_store import TappedStore

from sapflow.algorithms.root import KEPT, Warm
from sapflow.channels.channels import open_channels
from sapflow.errors import ObjectMissing
from sapflow.messages.refs import Ref
from sapflow.messages.vectors import Part
from sapflow.objects import contribution
from sapflow.objects.stores.protocol import ObjectReader, Store
from sapflow.timing import Timing

COUNT = 2048


class Counting(TappedStore):
    """Counts what is opened."""

    opened = 0

    def open(self, key: str) -> ObjectReader:
        self.opened += 1
        return super().open(key)


@pytest.fixture
def store(directory_store: Store) -> Counting:
    return Counting(directory_store)


def vector(value: float) -> np.ndarray:
    return np.full(COUNT, value, np.float32)


def parts(*keys: str) -> list[Part]:
    size = COUNT // len(keys)
    return [Part(key=key, start=index * size, stop=(index + 1) * size) for index, key in enumerate(keys)]


def take(warm: Warm, store: Store, names: Sequence[str], stop: int = COUNT) -> np.ndarray:
    return warm.take(store, parts(*names), 0, stop, 1, Timing(math.inf))[0]


def test_what_was_written_is_not_read_again(store: Counting) -> None:
    warm = Warm()
    store.create("a", contribution.encode(vector(1), {"weight": "3"}))
    warm.keep("a", 0, COUNT, vector(1), {"weight": "3"})
    timing = Timing(math.inf)
    found, metadata = warm.take(store, parts("a"), 0, COUNT, 1, timing)
    assert (store.opened, metadata) == (0, {"weight": "3"})
    assert timing.bytes["read"] == 0
    warm.take(store, parts("a"), 0, COUNT, 1, timing)
    assert timing.bytes["read"] == found.nbytes
    assert found.tobytes() == vector(1).tobytes()


def test_a_vector_is_handed_out_once_since_its_taker_changes_it(store: Counting) -> None:
    warm = Warm()
    store.create("a", contribution.encode(vector(1), {}))
    warm.keep("a", 0, COUNT, vector(1), {})
    take(warm, store, ["a"])[:] = 7
    assert take(warm, store, ["a"]).tobytes() == vector(1).tobytes()
    assert store.opened == 1


@pytest.mark.parametrize(("names", "stop"), [(["b"], COUNT), (["a"], COUNT // 2), (["a", "b"], COUNT)])
def test_another_object_or_another_range_is_read_from_the_store(
    store: Counting, names: list[str], stop: int
) -> None:
    warm = Warm()
    warm.keep("a", 0, COUNT, vector(1), {})
    for name in names:
        store.create(name, contribution.encode(vector(2)[: COUNT // len(names)], {}))
    assert take(warm, store, names, stop).tobytes() == vector(2)[:stop].tobytes()
    assert store.opened == len(names)


def test_no_more_than_a_few_are_kept_and_the_oldest_goes_first(store: Counting) -> None:
    warm = Warm()
    for index in range(KEPT + 1):
        warm.keep(f"{index}", 0, COUNT, vector(index), {})
    for index in range(1, KEPT + 1):
        assert take(warm, store, [f"{index}"])[0] == index
    with pytest.raises(ObjectMissing):
        take(warm, store, ["0"])


def test_the_total_of_another_instance_is_read_by_its_channel_and_ones_own_is_not(store: Counting) -> None:
    warm, ref = Warm(), Ref(key="t", start=0, stop=COUNT)
    channels = open_channels(store)
    channels.put(ref, contribution.encode(vector(5), {"weight": "9"}))
    found, metadata = warm.take_total(channels, ref)
    assert (found[0], metadata["weight"], store.opened) == (5, "9", 1)
    warm.keep("t", 0, COUNT, vector(5), {"weight": "9"})
    assert warm.take_total(channels, ref)[0][0] == 5
    assert store.opened == 1
