"""Jobs whose workers' size changes while they train, on functions that say which size they have."""

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from helpers.jobs import Crash, Place, Places, Simulation, tiny_job

from sapflow.quantities.memory import MIB, WORKER_BASE
from sapflow.quantities.prices import cost
from sapflow.records.commits import Commit
from sapflow.records.memory_search import SearchSettings
from sapflow.spec.training_job import TrainingJob
from sapflow.steps.observer import Observer

STEPS, MOST = 60, 1536
SEARCH = SearchSettings(
    goal="PerformancePerCost",
    every_steps=3,
    max_updates=5,
    start=512,
    least=1,
    most=MOST,
    step=16,
    settle_seconds=0,
)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    return Places(tmp_path_factory.mktemp("places"))


@dataclass
class Platform(Observer):
    """Gives workers the size that a driver's commits want, some steps later."""

    limits: dict[str, int] = field(default_factory=lambda: {"worker": 512 * MIB})
    wanted: list[int] = field(default_factory=list)

    def committed(self, commit: Commit) -> None:
        search = commit.measured.search
        assert search is not None
        self.wanted.append(search.size)
        self.limits["worker"] = self.wanted[-2 if len(self.wanted) > 1 else -1] * MIB


def run(place: Place, *crashes: Crash) -> Platform:
    platform = Platform()
    simulation = Simulation(place, search=SEARCH, observer=platform, crashes=crashes)
    simulation.functions.limits = platform.limits
    simulation.run()
    return platform


def job() -> TrainingJob:
    return tiny_job(algorithm_steps=STEPS, data_batchSize=5)


def test_a_job_that_searches_ends_with_the_weights_of_one_that_does_not(places: Places) -> None:
    plain, searched = places.place(job()), places.place(job())
    Simulation(plain).run()
    run(searched)

    assert searched.result() == plain.result()
    commits = list(searched.commits())
    assert [each.version for each in commits] == list(range(STEPS + 1))
    sizes = {tuple(each.measured.memory_limits["worker"]) for each in commits[1:]}
    assert len({size for (size,) in sizes}) >= 2
    first, last = commits[0].measured.search, commits[-1].measured.search
    assert first is not None
    assert last is not None
    assert first.least >= WORKER_BASE // MIB, "what the model needs was asked of a worker, which knows it"
    assert all(each.size >= first.least for each in last.trials[1:])
    assert last.done
    assert last.size in {each.size for each in last.trials}


def test_a_call_costs_what_the_size_costs_that_it_had(places: Places) -> None:
    place = places.place(job())
    run(place)
    price = place.job.price
    for old, new in pairwise(place.commits()):
        (size,) = new.measured.memory_limits["worker"]
        usage = new.measured.levels[0]
        each = usage.seconds / usage.calls
        assert usage.cost_usd == pytest.approx(usage.calls * cost(price, size, each), rel=0.05)
        assert new.account.cost_usd - old.account.cost_usd >= 0.999 * sum(
            each.cost_usd for each in new.measured.levels
        )


@pytest.mark.parametrize("write", [3, 20, 41, 62])
@pytest.mark.parametrize("how", ["before", "after"])
def test_a_driver_that_is_killed_loses_no_trial(places: Places, write: int, how: str) -> None:
    plain, searched = places.place(job()), places.place(job())
    Simulation(plain).run()
    run(searched, Crash(write, how))  # type: ignore[arg-type]

    assert searched.result() == plain.result()
    searches = [each.measured.search for each in searched.commits()]
    for old, new in pairwise(searches):
        assert old is not None
        assert new is not None
        assert new.trials[: len(old.trials)] == old.trials
        assert len(new.steps) in (0, len(old.steps), len(old.steps) + 1)


def test_two_drivers_at_once_search_as_one(places: Places) -> None:
    plain, searched = places.place(job()), places.place(job())
    Simulation(plain).run()
    platform = Platform()
    simulation = Simulation(searched, search=SEARCH, observer=platform, drivers=2)
    simulation.functions.limits = platform.limits
    simulation.run()

    assert searched.result() == plain.result()
    last = searched.commit(STEPS).measured.search
    assert last is not None
    assert len({each.size for each in last.trials}) == len(last.trials)


def test_a_job_that_asks_for_no_search_has_none_in_its_commits(places: Places) -> None:
    place = places.place(job())
    Simulation(place).run()
    assert all(each.measured.search is None for each in place.commits())
