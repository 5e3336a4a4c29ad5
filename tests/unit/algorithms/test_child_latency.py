"""How long a remote store's children take to arrive is measured where they are merged."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.tapped_store import TappedStore

from sapflow import timing
from sapflow.algorithms.merge import Workspace, merge
from sapflow.channels.channels import open_channels
from sapflow.messages.refs import Ref
from sapflow.messages.replies import MergeReply
from sapflow.messages.requests import MergeRequest
from sapflow.objects import contribution
from sapflow.objects.stores.protocol import ObjectReader, Store
from sapflow.records.commits import LevelUsage
from sapflow.records.typical import typical
from sapflow.runtimes.sender import Answered
from sapflow.steps.calls import Tally

COUNT = 1 << 19
"""So many floats that children are streamed, one after the other."""


class Slow(TappedStore):
    """A store whose objects take the next of some seconds to arrive, by a clock of its own."""

    now = 0.0
    seconds: tuple[float, ...] = ()

    def open(self, key: str) -> ObjectReader:
        self.now += self.seconds[int(key)]
        return super().open(key)


@pytest.mark.parametrize(("remote", "found"), [(True, 0.25), (False, None)])
def test_a_merger_tells_the_least_seconds_until_a_child_began_to_arrive(
    directory_store: Store, monkeypatch: pytest.MonkeyPatch, *, remote: bool, found: float | None
) -> None:
    store = Slow(directory_store, remote=remote)
    store.seconds = (0.25,)
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: store.now, monotonic=lambda: 0))
    refs = [Ref(key="0", start=0, stop=COUNT)]
    store.create("0", contribution.encode(np.zeros(COUNT, np.float32), {"weight": "1"}))
    output = Ref(key="9", start=0, stop=COUNT)
    request = MergeRequest(job="j", version=1, seconds_left=1, children=refs, output=output)
    reply = merge(store, open_channels(store), request, Workspace(), timing.Timing(math.inf))
    assert reply.child_latency == found


def answered(latency: float | None) -> Answered[MergeReply]:
    return Answered(MergeReply(done=True, child_latency=latency), 1.0, 0.0, 0.0)


def test_a_level_has_the_least_of_its_calls_and_a_typical_step_the_median_of_its_steps() -> None:
    steps = []
    for latencies in ([0.3, 0.2], [0.4, None], [None, None]):
        tally = Tally()
        for latency in latencies:
            tally.add("merger", answered(latency), 1, 0.0)
        steps.append([LevelUsage(), tally.levels[1]])
    assert [levels[1].child_latency for levels in steps] == [0.2, 0.4, None]
    assert [usage.child_latency for usage in typical(steps)] == [None, pytest.approx(0.3)]
