"""A store that loses a contribution which it had taken, as one that is killed may: nothing makes those durable."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from helpers.functions import requests
from helpers.jobs import Place, Places, Simulation, tiny_job
from helpers.tapped_store import Write

from sapflow.errors import JobFailed, ObjectMissing
from sapflow.objects.stores.protocol import ObjectReader, Store


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    return Places(tmp_path_factory.mktemp("jobs"))


def forgetting(place: Place, part: str, times: int) -> Callable[[Write, bool], None]:
    """Removes an object whose key has `part` right after it is written, so many times."""
    left = [times]

    def lose(write: Write, after: bool) -> None:
        if after and part in write.key and left[0]:
            left[0] -= 1
            place.store.delete([write.key])

    return lose


@pytest.mark.parametrize("part", ["/0-2.0", "/1-1.0"])
def test_the_step_is_made_anew_and_ends_with_the_same_weights(places: Places, part: str) -> None:
    whole = places.place(tiny_job())
    undisturbed = Simulation(whole)
    undisturbed.run()
    place = places.place(tiny_job())
    simulation = Simulation(place, function_failpoint=forgetting(place, part, times=1))
    simulation.run()
    assert place.result() == whole.result()
    counts = [len(requests(each.functions.log, "train")) for each in (undisturbed, simulation)]
    assert counts[1] == counts[0] + 4, "one step more, of four workers"
    assert [each.measured.remade for each in place.commits()].count({"ObjectMissing": 1}) == 1
    assert not any(each.measured.remade for each in whole.commits())


class Torn:
    """A store in which one object is there for those who write it and missing for those who read it, until it goes."""

    def __init__(self, store: Store, part: str) -> None:
        self._store, self._part, self.torn = store, part, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def create(self, key: str, parts: Any, *, durable: bool = False) -> bool:
        if self._part in key and self.torn == 0:
            self.torn = 1
        return self._store.create(key, parts, durable=durable)

    def open(self, key: str) -> ObjectReader:
        if self._part in key and self.torn == 1:
            raise ObjectMissing(f"{key}: no such object")
        return self._store.open(key)

    def delete(self, names: Iterable[str]) -> None:
        names = list(names)
        if any(self._part in name for name in names):
            self.torn += 1
        self._store.delete(names)


def test_an_object_that_can_be_neither_written_nor_read_is_removed_first(places: Places) -> None:
    whole, place = places.place(tiny_job()), places.place(tiny_job())
    Simulation(whole).run()
    torn = Torn(place.store, "/0-2.0")
    Simulation(dataclasses.replace(place, store=torn)).run()
    assert torn.torn > 1
    assert place.result() == whole.result()
    assert [each.measured.remade for each in place.commits()].count({"ObjectMissing": 1}) == 1


def test_a_store_that_loses_it_again_and_again_ends_the_job_with_words(places: Places) -> None:
    place = places.place(tiny_job())
    with pytest.raises(JobFailed, match="no such object") as caught:
        Simulation(place, function_failpoint=forgetting(place, "/0-2.0", times=100)).run()
    assert caught.value.reason == "ObjectMissing"
