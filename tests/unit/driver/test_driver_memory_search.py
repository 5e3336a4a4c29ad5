"""The search for the workers' size from commit to commit: what counts as a trial, what follows, what a kill changes."""

from typing import Any

import pytest

from sapflow.driver.memory_search import MemorySearch
from sapflow.messages.vectors import Sizes
from sapflow.quantities.memory import MIB
from sapflow.records.commits import Account, Commit, LevelUsage, Measured
from sapflow.records.memory_search import SearchSettings, SizeSearch

EVERY = 4
PRICE = 1.63e-8


def settings(**changes: Any) -> SearchSettings:
    body = {
        "goal": "Cost",
        "every_steps": EVERY,
        "max_updates": 5,
        "start": 1024,
        "least": 256,
        "most": 1536,
        "step": 64,
        "settle_seconds": 0,
    }
    return SearchSettings.model_validate(body | changes)


class Job:
    """A job whose steps take what memory brings; the platform gives at once what is wanted, unless it is told."""

    def __init__(self, needed: int = 0, **changes: Any) -> None:
        self.memory_search = MemorySearch(settings(**changes), full_samples=128)
        measured = Measured(search=self.memory_search.begin(needed))
        self.last = Commit(
            version=0,
            id="",
            previous="",
            plan="",
            sizes=Sizes(parameters=1, averaged=0, block=1),
            slots=[],
            params=[],
            optimizer=[],
            measured=measured,
        )
        self.cold, self.plan, self.seconds = 0, "", 0.0

    @property
    def search(self) -> SizeSearch:
        assert self.last.measured.search is not None
        return self.last.measured.search

    def step(
        self, *served: int, seconds: float | None = None, cold: int = 0, samples: int = 128
    ) -> SizeSearch:
        """One more commit, its workers of these sizes in MiB."""
        served = served or (self.search.size,)
        took = seconds if seconds is not None else 0.5 + 300 / max(served)
        self.cold += cold
        self.seconds += took
        new = self.last.model_copy(
            update={
                "version": self.last.version + 1,
                "plan": self.plan,
                "account": Account(cold_starts=self.cold, seconds=self.seconds),
                "measured": Measured(
                    samples=samples,
                    seconds=took,
                    levels=[LevelUsage(calls=4, cost_usd=PRICE * max(served) * took)],
                    memory_limits={"worker": sorted(size * MIB for size in served)},
                ),
            }
        )
        found = self.memory_search.after(self.last, new)
        # What a driver that starts anew reads is what was written.
        written = new.model_copy(update={"measured": new.measured.model_copy(update={"search": found})})
        self.last = Commit.model_validate_json(written.encode())
        return self.search

    def to_the_end(self) -> SizeSearch:
        for _ in range(200):
            if self.search.done:
                return self.search
            self.step(cold=4)
            for _ in range(EVERY):
                self.step()
        raise AssertionError("the search never ends")


def test_a_search_starts_with_the_specs_size_and_ends_with_the_cheapest() -> None:
    job = Job()
    assert job.search.size == 1024
    found = job.to_the_end()
    assert found.size == 256
    assert found.trials[0].size == 1024
    assert len({each.size for each in found.trials}) == len(found.trials) <= 7
    assert job.step(cold=4) == found, "and stays there"


def test_for_performance_per_cost_it_ends_where_that_is_best() -> None:
    found = Job(goal="PerformancePerCost").to_the_end()
    # b / a of the model that the steps' times follow.
    assert abs(found.size - 600) <= 64


def test_a_trial_is_the_median_of_warm_whole_steps_of_one_size() -> None:
    job = Job()
    job.step(seconds=9, cold=4)
    job.step(seconds=1.0)
    job.step(seconds=9, samples=60)
    job.step(512, 1024, seconds=9)
    job.step(seconds=9)  # the first after the mixed one
    job.step(seconds=1.1)
    job.step(seconds=9, cold=1)
    assert len(job.search.steps) == 2
    job.step(seconds=7.0)
    (trial,) = job.step(seconds=1.3).trials
    assert trial.seconds == pytest.approx(1.2)
    assert trial.cost_usd == pytest.approx(PRICE * 1024 * 1.2)
    assert trial.step == 9


def test_no_step_counts_that_begins_before_what_was_started_has_settled() -> None:
    job = Job(settle_seconds=3)
    job.step(seconds=9, cold=4)
    for _ in range(3):
        assert job.step(seconds=1).steps == []
    assert len(job.step(seconds=1).steps) == 1
    job.step(seconds=9, cold=1)
    for _ in range(3):
        assert len(job.step(seconds=1).steps) == 1
    assert len(job.step(seconds=1).steps) == 2


def test_steps_before_the_size_wanted_is_there_do_not_count() -> None:
    job = Job()
    for _ in range(EVERY + 1):
        job.step()
    wanted = job.search.size
    assert wanted != 1024
    for _ in range(3 * EVERY):
        assert job.step(1024).size == wanted
    assert len(job.search.trials) == 1
    assert job.search.steps == []


def test_the_second_size_follows_from_the_seed() -> None:
    def second(seed: int) -> int:
        job = Job(seed=seed)
        for _ in range(EVERY + 1):
            job.step()
        return job.search.size

    assert second(1) == second(1)
    assert len({second(seed) for seed in range(20)}) > 5


def test_what_the_model_needs_raises_the_least_size() -> None:
    job = Job(needed=400 * MIB + 1)
    assert job.search.least == 401
    assert job.to_the_end().size == 448, "the least multiple of 64 MiB above it"


def test_a_start_below_what_the_model_needs_is_raised_to_it() -> None:
    assert Job(needed=700 * MIB, start=512).search.size == 700


def test_a_driver_started_anew_above_a_killed_size_goes_on_from_the_size_that_it_finds() -> None:
    job = Job()
    while job.search.size != 256:
        job.step()
    tried = job.search.trials
    job.memory_search = MemorySearch(settings(least=257), full_samples=128)
    # Workers still of the size before the killed one; then of the operator's choice.
    assert job.step(384, cold=4).size == 384
    found = job.to_the_end()
    assert found.trials[: len(tried)] == tried
    assert all(each.size > 256 for each in found.trials)
    assert found.size == 320


def test_a_size_that_is_killed_was_an_update_too() -> None:
    job = Job(max_updates=2)
    while job.search.size != 256:
        job.step()
    tried = len(job.search.trials)
    job.memory_search = MemorySearch(settings(max_updates=2, least=300), full_samples=128)
    job.step(384, cold=4)
    assert job.search.killed == 1
    assert len(job.to_the_end().trials) == tried + 1 == 3


def test_a_best_size_that_is_killed_after_the_search_is_left_for_good() -> None:
    job = Job()
    job.to_the_end()
    job.memory_search = MemorySearch(settings(least=257), full_samples=128)
    assert job.step(384, cold=4).size == 384
    assert job.search.done


def test_at_most_so_many_updates_are_made() -> None:
    found = Job(goal="PerformancePerCost", max_updates=1).to_the_end()
    assert len(found.trials) == 3


def test_a_range_of_one_size_is_no_search() -> None:
    job = Job(start=512, least=512, most=512)
    for _ in range(EVERY + 1):
        job.step()
    assert (job.search.done, job.search.size) == (True, 512)


def test_functions_that_do_not_say_what_they_have_end_no_trial() -> None:
    job = Job()
    for _ in range(3 * EVERY):
        new = job.last.model_copy(
            update={"measured": Measured(samples=128, seconds=1.0, levels=[LevelUsage(calls=4)])}
        )
        job.last = job.last.model_copy(
            update={"measured": Measured(search=job.memory_search.after(job.last, new))}
        )
    assert job.search.trials == []


def test_where_every_size_that_was_tried_is_killed_the_least_that_may_be_given_is_wanted() -> None:
    job = Job(max_updates=0)
    while not job.search.trials:
        job.step()
    job.memory_search = MemorySearch(settings(max_updates=0, least=1088), full_samples=128)
    # The size in force is above the killed one, and below what may be tried.
    for _ in range(3 * EVERY):
        job.step(1056)
        job.step(1088)
    assert job.to_the_end().size >= 1088
