"""A root's update of several contributions, and what it keeps where another writer was first."""

import hashlib
import math
from typing import Any

import numpy as np
import pytest
from helpers.tapped_store import TappedStore

from sapflow.algorithms.hyperparameters import NAMES, OptimizerSettings
from sapflow.algorithms.optimizers import Group, Grouping, apply, initial, slots
from sapflow.algorithms.root import Warm, root
from sapflow.algorithms.tensors import Tensors
from sapflow.channels.channels import Channels, open_channels
from sapflow.messages.refs import Ref
from sapflow.messages.replies import RootReply
from sapflow.messages.requests import RootRequest, Update
from sapflow.messages.vectors import Part, Sizes
from sapflow.objects import contribution
from sapflow.objects.stores.protocol import ObjectReader, Store
from sapflow.objects.sums import Sums
from sapflow.timing import Timing

COUNT = 3000
SIZES = Sizes(parameters=COUNT, averaged=0, block=1024)
SETTINGS = OptimizerSettings.of("Adam")


class Counting(TappedStore):
    """Notes what is opened."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.opened: list[str] = []

    def open(self, key: str) -> ObjectReader:
        self.opened.append(key)
        return super().open(key)


@pytest.fixture
def store(directory_store: Store) -> Counting:
    return Counting(directory_store)


def gradient(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(COUNT).astype(np.float32)


def call(
    store: Store,
    warm: Warm,
    children: list[str],
    rates: list[float],
    output: str,
    channels: Channels | None = None,
    **more: Any,
) -> RootReply:
    request = RootRequest(
        job="u",
        version=1,
        seconds_left=1,
        phase="step",
        children=[Ref(key=name, start=0, stop=COUNT) for name in children],
        sizes=SIZES,
        start=0,
        stop=COUNT,
        params=[Part(key="params", start=0, stop=COUNT)],
        update=Update(kind="optimizer", settings=SETTINGS.to_json(), learning_rate=rates[0], step=1),
        schedule=rates,
        params_output=output,
        optimizer_output=f"{output}-state",
        **more,
    )
    return root(store, channels or open_channels(store), request, warm, Timing(math.inf))


def contribute(store: Store, name: str, vector: np.ndarray, **more: Any) -> None:
    store.create(name, contribution.encode(vector, Sums(2, {"loss": 1.0}, **more).to_metadata()))


def begin(store: Store) -> None:
    vector = gradient(0)
    vector[7] = -2e38
    store.create("params", contribution.encode(vector, Tensors.of([1000, COUNT], []).to_metadata()))


def test_an_asynchronous_update_that_overflows_is_taken_back_and_the_others_stand(store: Counting) -> None:
    begin(store)
    for number in (1, 2, 3):
        contribute(store, f"c{number}", gradient(number))
    # The second update's rate takes the eighth weight past what float32 can hold.
    rates = [0.1, 3e38, 0.1]
    reply = call(store, Warm(), ["c1", "c2", "c3"], rates, "all", separate=True)
    assert reply.outcomes == [True, False, False]
    assert (reply.samples, reply.losses) == (2, {"loss": 1.0})
    call(store, Warm(), ["c1"], [0.1], "one", separate=True)
    assert bytes(store.read("all")) == bytes(store.read("one"))
    assert bytes(store.read("all-state")) == bytes(store.read("one-state"))


def test_a_contribution_after_one_that_is_left_out_has_the_rate_of_its_own_update(store: Counting) -> None:
    begin(store)
    contribute(store, "c1", gradient(1))
    contribute(store, "bad", np.full(COUNT, np.nan, np.float32))
    contribute(store, "c3", gradient(3))
    reply = call(store, Warm(), ["c1", "bad", "c3"], [0.1, 0.2, 0.3], "all", separate=True)
    assert reply.outcomes == [True, False, True]
    call(store, Warm(), ["c1", "c3"], [0.1, 0.2], "both", separate=True)
    assert bytes(store.read("all")) == bytes(store.read("both"))


def test_a_root_whose_objects_came_second_keeps_none_of_its_own(store: Counting) -> None:
    begin(store)
    contribute(store, "c1", gradient(1))
    other = gradient(9)
    store.create("new", contribution.encode(other, {}))
    warm = Warm()
    call(store, warm, ["c1"], [0.1], "new")
    found, _ = warm.take(store, [Part(key="new", start=0, stop=COUNT)], 0, COUNT, 1, Timing(math.inf))
    assert found.tobytes() == other.tobytes()
    # Its optimiser state was first, and is kept.
    opened = len(store.opened)
    warm.take(store, [Part(key="new-state", start=0, stop=COUNT)], 0, COUNT, 2, Timing(math.inf))
    assert len(store.opened) == opened


def test_a_carried_version_has_the_bytes_that_the_root_would_write_and_writes_nothing(
    store: Counting,
) -> None:
    begin(store)
    contribute(store, "c1", gradient(1))
    written = call(store, Warm(), ["c1"], [0.1], "new")
    channels = open_channels(store)
    carried = call(store, Warm(), ["c1"], [0.1], "sent", carried=True, channels=channels)
    assert channels.sent == {
        "sent": bytes(store.read("new")),
        "sent-state": bytes(store.read("new-state")),
    }
    assert (carried.params_sha256, carried.optimizer_sha256) == (
        written.params_sha256,
        written.optimizer_sha256,
    )
    assert carried.bytes == written.bytes
    assert not store.exists("sent")
    assert not store.exists("sent-state")


@pytest.mark.parametrize("stands", ["its own", "another's"])
def test_a_carried_version_stays_warm_only_if_it_came_to_stand_in_the_store(
    store: Counting, stands: str
) -> None:
    begin(store)
    contribute(store, "c1", gradient(1))
    channels, warm = open_channels(store), Warm()
    call(store, warm, ["c1"], [0.1], "new", carried=True, channels=channels)
    content = channels.sent["new"] if stands == "its own" else b"".join(contribution.encode(gradient(9), {}))
    store.create("new", content)
    known = {"new": hashlib.sha256(content).hexdigest()}
    opened = len(store.opened)
    part = Part(key="new", start=0, stop=COUNT)
    found, _ = warm.take(store, [part], 0, COUNT, 1, Timing(math.inf), known)
    expected = np.empty(COUNT, np.float32)
    contribution.read_vector(store, "new", expected)
    assert found.tobytes() == expected.tobytes()
    assert store.opened[opened:] == (["new"] if stands == "its own" else ["new", "new"])


def test_a_total_that_came_second_is_read_from_its_channel(store: Counting) -> None:
    begin(store)
    contribute(store, "c1", gradient(1))
    contribute(store, "total", gradient(5))
    warm, ref = Warm(), Ref(key="total", start=0, stop=COUNT)
    request = RootRequest(
        job="u",
        version=1,
        seconds_left=1,
        phase="sum",
        children=[Ref(key="c1", start=0, stop=COUNT)],
        total=ref,
        sizes=SIZES,
        start=0,
        stop=COUNT,
        params=[Part(key="params", start=0, stop=COUNT)],
        update=Update(kind="optimizer", settings=SETTINGS.to_json()),
        params_output="p",
        optimizer_output="o",
    )
    root(store, open_channels(store), request, warm, Timing(math.inf))
    assert warm.take_total(open_channels(store), ref)[0].tobytes() == gradient(5).tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_ranges_with_numbers_of_their_own_are_updated_as_by_themselves(name: str) -> None:
    settings = OptimizerSettings.of(name, weight_decay=0.1)  # type: ignore[arg-type]
    layers = Grouping((Group(0.1), Group(0.3, 2.0)), ((500, 0), (1200, 1), (2100, 0), (COUNT, 1)))
    numbers = [(1200, 4), (2100, 0), (COUNT, 1)]
    params, state = (
        gradient(1),
        [np.full(COUNT, initial(settings, slot), np.float32) for slot in slots(settings)],
    )
    alone, alone_state = params.copy(), [each.copy() for each in state]
    assert apply(
        settings, params=params, grads=gradient(2), state=state, learning_rate=0.01, step=9, grouping=layers,
        numbers=numbers,
    )  # fmt: skip
    for start, stop, step, group in ((0, 500, 4, 0), (500, 1200, 4, 1), (2100, COUNT, 1, 1)):
        cut = slice(start, stop)
        apply(
            settings, params=alone[cut], grads=gradient(2)[cut], state=[each[cut] for each in alone_state],
            learning_rate=0.01, step=step, grouping=Grouping(layers.groups, ((stop - start, group),)),
        )  # fmt: skip
    assert params.tobytes() == alone.tobytes()
    assert [each.tobytes() for each in state] == [each.tobytes() for each in alone_state]
    assert params[1200:2100].tobytes() == gradient(1)[1200:2100].tobytes()


def test_sums_of_contributions_say_what_took_part_in_any_of_them() -> None:
    def counted(*counts: int) -> np.ndarray:
        return np.array(counts, np.int64)

    one = Sums(3, {}, taken=1, counts=counted(1, 0, 0), changed=np.array([False, True]))
    other = Sums(2, {}, taken=1, counts=counted(0, 1, 0), changed=np.array([False, False]))
    both = Sums.from_metadata((one + other).to_metadata(), "sum")
    assert both.counts is not None
    assert both.changed is not None
    assert (both.counts.tolist(), both.changed.tolist()) == ([1, 1, 0], [False, True])
    assert (one + Sums(1)).counts is None
    # A rank with a shorter share takes fewer local steps; none of its tensors was left out.
    longer = Sums(3, {}, taken=4, counts=counted(4, 1, 0))
    found = Sums.from_metadata((longer + Sums(2, {}, taken=2)).to_metadata(), "sum")
    assert found.counts is not None
    assert (found.taken, found.counts.tolist()) == (4, [4, 2, 2])
    assert "counts" not in Sums(1).to_metadata()
