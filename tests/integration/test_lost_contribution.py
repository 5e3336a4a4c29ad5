"""A store that loses a contribution which it had taken, as one that is killed may: nothing makes those durable."""

from collections.abc import Callable

import pytest
from helpers.functions import requests
from helpers.jobs import Place, Prepared, Simulation, tiny_job
from helpers.tapped_store import Write

from sapflow.errors import JobFailed


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared(tmp_path_factory.mktemp("jobs"))


def forgetting(place: Place, part: str, times: int) -> Callable[[Write, bool], None]:
    """Removes an object whose key has `part` right after it is written, so many times."""
    left = [times]

    def lose(write: Write, after: bool) -> None:
        if after and part in write.key and left[0]:
            left[0] -= 1
            place.store.delete([write.key])

    return lose


@pytest.mark.parametrize("part", ["/0-2.0", "/1-1.0"])
def test_the_step_is_made_anew_and_ends_with_the_same_weights(prepared: Prepared, part: str) -> None:
    whole = prepared.place(tiny_job())
    undisturbed = Simulation(whole)
    undisturbed.run()
    place = prepared.place(tiny_job())
    simulation = Simulation(place, function_failpoint=forgetting(place, part, times=1))
    simulation.run()
    assert place.result() == whole.result()
    counts = [len(requests(each.functions.log, "train")) for each in (undisturbed, simulation)]
    assert counts[1] == counts[0] + 4, "one step more, of four workers"
    assert [each.measured.remade for each in place.commits()].count({"ObjectMissing": 1}) == 1
    assert not any(each.measured.remade for each in whole.commits())


def test_a_store_that_loses_it_again_and_again_ends_the_job_with_words(prepared: Prepared) -> None:
    place = prepared.place(tiny_job())
    with pytest.raises(JobFailed, match="no such object") as caught:
        Simulation(place, function_failpoint=forgetting(place, "/0-2.0", times=100)).run()
    assert caught.value.reason == "ObjectMissing"
