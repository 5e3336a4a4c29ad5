"""A warm worker's contribution is a fresh one's, whatever was cut short in it before."""

import math
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.functions import requests
from helpers.jobs import Place, Simulation, make_place, tiny_job

from sapflow.channels.channels import open_channels
from sapflow.data.manifest import manifest_key
from sapflow.errors import InvocationError
from sapflow.messages.documents import Document
from sapflow.messages.requests import TrainRequest
from sapflow.objects import keys
from sapflow.objects.stores.factory import open_store
from sapflow.objects.stores.protocol import Store
from sapflow.timing import Timing
from sapflow.training import loaded, train
from sapflow.training.loaded import JobCache

MODELS: dict[str, dict[str, Any]] = {
    "in-place buffers": {"model_args": {"hidden": [8], "batchNorm": True, "dropout": 0.5}},
    "replaced buffers": {
        "model_name": None,
        "model_entrypoint": "helpers.models:replacing",
        "model_args": {},
    },
    "local steps": {
        "model_args": {"hidden": [8], "batchNorm": True},
        "algorithm_localSteps": 2,
        "optimizer_name": "Adam",
    },
}


class StopAfter(Timing):
    """Is told to stop after some units of work."""

    def __init__(self, units: int) -> None:
        self.told = threading.Event()
        super().__init__(math.inf, self.told)
        self._units = units

    def may_start(self) -> bool:
        self._units -= 1
        if self._units < 0:
            self.told.set()
        return super().may_start()


@pytest.fixture(params=list(MODELS))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A job with its first version."""
    changes = {
        "data_microBatchSize": 2,
        "algorithm_steps": 1,
        "merge_structure": [1, 4],
        **MODELS[request.param],
    }
    return make_place(tmp_path / "store", tiny_job(**changes))


def first_requests(place: Place) -> list[TrainRequest]:
    """The train requests of step 1, whose contributions are removed once it is committed."""
    simulation = Simulation(place)
    simulation.run()
    sent = requests(simulation.functions.log, "train")
    return [TrainRequest.model_validate(one) for one in sorted(sent, key=lambda one: int(one["rank"]))]


def contribution(store: Store, jobs: JobCache, request: TrainRequest) -> bytes:
    assert train.train(store, open_channels(store), jobs, request, Timing(math.inf)).done
    (output,) = request.outputs
    found = bytes(store.read(output.key))
    store.delete([output.key])
    return found


def test_after_a_call_that_was_given_up(place: Place) -> None:
    sent, store = first_requests(place), open_store(str(place.path))
    # The one version that stays is as good to compute on as the first.
    params = place.commit(1).params
    asked = [request.model_copy(update={"params": params}) for request in sent]
    fresh = [contribution(store, JobCache(store), request) for request in asked]
    warm = JobCache(store)
    for request, expected in zip(asked, fresh, strict=True):
        for units in (1, 2, 3):
            with pytest.raises(InvocationError, match="shutting down"):
                train.train(store, open_channels(store), warm, asked[0], StopAfter(units))
            assert contribution(store, warm, request) == expected


def test_whatever_it_computed_before(place: Place) -> None:
    sent, store = first_requests(place), open_store(str(place.path))
    params = place.commit(1).params
    asked = [request.model_copy(update={"params": params}) for request in sent]
    fresh = [contribution(store, JobCache(store), request) for request in asked]
    warm = JobCache(store)
    for _ in range(2):
        for request, expected in reversed(list(zip(asked, fresh, strict=True))):
            assert contribution(store, warm, request) == expected


def test_what_is_kept_of_the_data_follows_from_the_memory_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = make_place(tmp_path, tiny_job(memory_worker="512Mi"))
    monkeypatch.setattr(loaded, "anonymous_memory", lambda: 300 << 20)
    served = JobCache(place.store).get(*documents_of(place))
    before = served.reader.room
    for limit, room in ((None, 0.9 * 512 - 300), (1 << 30, 0.9 * 1024 - 300), (200 << 20, 0)):
        served = JobCache(place.store).get(*documents_of(place))
        assert served.reader.room == before, "nobody knows what batches leave before the first"
        served.served(limit, runs_on=True)
        assert served.reader.room == int(room * (1 << 20))
        served.served(4 << 30, runs_on=True)
        assert served.reader.room == int(room * (1 << 20)), "it is looked at again where there was no room"


def documents_of(place: Place) -> tuple[Document, Document]:
    prefix = place.resolved.prefix
    spec, manifest = (
        Document.of(key, place.store.read(key))
        for key in (keys.spec(prefix), manifest_key(place.resolved.data_prefix))
    )
    return spec, manifest


def test_each_call_computes_with_its_own_jobs_threads_and_deterministically(tmp_path: Path) -> None:
    jobs = JobCache(open_store(str(tmp_path)))
    one, two = (make_place(tmp_path, tiny_job(threads=threads)) for threads in (1, 2))
    before = torch.get_num_threads()
    try:
        for place in (one, two, one, two):
            served = jobs.get(*documents_of(place))
            assert torch.get_num_threads() == served.job.spec.threads == place.job.spec.threads
            assert torch.get_deterministic_debug_mode() == 2
            # As a model's own code may do.
            torch.set_deterministic_debug_mode("default")
            torch.set_num_threads(3)
    finally:
        torch.set_num_threads(before)
        torch.set_deterministic_debug_mode("error")


def test_jobs_beside_the_one_that_is_served_stay_while_they_are_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = JobCache(open_store(str(tmp_path)))
    places = [make_place(tmp_path, tiny_job(algorithm_seed=seed)) for seed in (1, 2, 3)]
    first, second, third = (jobs.get(*documents_of(place)) for place in places)
    assert [jobs.get(*documents_of(place)) for place in places] == [first, second, third]
    monkeypatch.setattr(loaded, "KEPT_BYTES", 0)
    assert jobs.get(*documents_of(places[2])) is third
    assert jobs.get(*documents_of(places[0])) is not first
