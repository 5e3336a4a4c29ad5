"""The loop of a search on simulated functions: killed anywhere and begun again, it comes to the same."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from helpers import virtual_loop
from helpers.away_store import AwayStore, Outage
from helpers.functions import Fault, Functions, requests
from helpers.jobs import Place, Places, Simulation, make_place, make_search_place, tiny_job
from helpers.schedules import FAULTS, SEARCHES, THOROUGH
from helpers.search_runs import RATE, TEMPLATE, Searching, account_of, bits_of, iris_search, runner_of
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sapflow.data.manifest import Manifest
from sapflow.errors import InstanceLost, JobFailed
from sapflow.objects import keys
from sapflow.quantities.prices import AWS_LAMBDA, cost
from sapflow.quantities.roles import Role
from sapflow.runtimes.sender import Reply, Sender
from sapflow.spec.tuning_document import training_job
from sapflow.spec.tuning_job import TuningJob
from sapflow.tuning.actions import Action, Event
from sapflow.tuning.runner import TuningObserver
from sapflow.tuning.search import Search

ORDERS = ("InOrder", "Asynchronous")


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    return Places(tmp_path_factory.mktemp("searches"), make_search_place)


def place_of(places: Places) -> Place:
    return places.place(tiny_job(**TEMPLATE))


@pytest.fixture(scope="module", params=ORDERS)
def calm(request: pytest.FixtureRequest, places: Places) -> tuple[str, Search, dict[str, Any], Place]:
    """The order, the search that nothing disturbs, its outcome, and its place."""
    place = place_of(places)
    search, outcome = Searching(place, iris_search(order=request.param)).run()
    return request.param, search, outcome, place


def test_a_search_trains_pauses_promotes_and_exports_its_best_trial(calm: Any, tmp_path: Path) -> None:
    _, search, outcome, place = calm
    phases = [trial.phase for trial in search.trials]
    assert len(phases) == 6
    assert 1 <= phases.count("Finished") < 6
    best = min((trial for trial in search.trials if trial.values), key=lambda trial: trial.values[0])
    assert outcome["trial"] == best.number
    assert outcome["objective"] == outcome["validationLoss"] == best.values[0]
    assert outcome["endedBy"] == "Completed"
    model = bytes(place.store.read(keys.result(place.resolved.prefix, "model.safetensors")))
    # The job of these parameters, run alone, has the same values and, but for its name, the same model.
    job = training_job(iris_search(), best.parameters)
    alone = make_place(tmp_path / "alone", job)
    own = Simulation(alone).run()
    if best.version == own["version"]:
        assert own["validationLoss"] == outcome["objective"]
        assert alone.result() == model
    last = alone.commit(best.version)
    assert last.version == best.version


def test_all_trials_have_the_bits_of_the_jobs_of_their_parameters_run_alone(
    calm: Any, tmp_path: Path
) -> None:
    _, search, _, place = calm
    bits = bits_of(place, len(search.trials))
    compared = 0
    for trial in search.trials:
        if trial.phase != "Finished":
            continue
        alone = make_place(tmp_path / f"{trial.number}", training_job(iris_search(), trial.parameters))
        own = Simulation(alone).run()
        prefix = alone.resolved.prefix
        assert [bytes(alone.store.read(key)) for key in alone.commit(4).objects(prefix)] == bits[trial.number]
        assert own["validationLoss"] == trial.values[0]
        compared += 1
    assert compared


def dollars(functions: Functions, job: TuningJob) -> float:
    """What all invocations have cost, those that were given up up to then."""
    template = job.template
    return sum(
        cost(template.price, template.memory_bytes[done.role], seconds, template.cpus[done.role])
        for done, seconds in functions.durations
    )


@pytest.mark.slow
@pytest.mark.timeout(120 + 5 * SEARCHES)
@given(
    crashes=st.lists(
        st.tuples(st.integers(0, 200), st.booleans()), max_size=5, unique_by=lambda each: each[0]
    ),
    faults=st.dictionaries(st.integers(0, 120), FAULTS, max_size=6),
    outages=st.lists(st.builds(Outage, st.integers(0, 700), st.sampled_from([1, 3, 12, 60])), max_size=2),
    budget=st.sampled_from([None, 0.02, 0.05]),
    hurry=st.sampled_from([0.0, 0.0, 0.5]),
    seed=st.integers(0, 3),
)
@hypothesis_settings(THOROUGH, max_examples=SEARCHES)
def test_whatever_is_killed_no_trial_is_lost_or_run_twice_and_values_keep_their_bits(
    places: Places,
    calm: Any,
    crashes: list[tuple[int, bool]],
    faults: dict[int, Fault],
    outages: list[Outage],
    budget: float | None,
    hurry: float,
    seed: int,
) -> None:
    """Driver, workers, mergers and the store die at random."""
    order, undisturbed, outcome, calm_place = calm
    place, job = place_of(places), iris_search(order=order, budgetUSD=budget)
    run = Searching(place, job, faults, crashes, outages, seed, hurry)
    search, found = run.run()
    assert search.over is not None
    assert run.functions.most <= job.spec.max_workers
    assert budget is None or dollars(run.functions, job) <= search.state.granted <= budget
    if order == "InOrder" and search.over.reason == "Completed":
        assert account_of(search) == account_of(undisturbed)
        assert (found["trial"], found["sha256"]) == (outcome["trial"], outcome["sha256"])
        # What a straggler writes after its trial was stopped is of no use, and nobody waits for it.
        going = [each.number for each in search.trials if each.phase in ("Finished", "Paused")]
        found_bits, calm_bits = bits_of(place, 6), bits_of(calm_place, 6)
        assert [found_bits[number] for number in going] == [calm_bits[number] for number in going]
    if search.over.reason == "Completed":
        assert len(search.trials) == 6
    known = {tuple(trial.parameters.items()): trial for trial in undisturbed.trials}
    for trial in search.trials:
        assert trial.phase != "Failed"
        # Random suggestions follow from the number alone, so these are the same trials in any order.
        same = known[tuple(trial.parameters.items())]
        if same.at == trial.at:
            assert same.values == trial.values
    steps = [(each["job"], each["version"], each["rank"]) for each in requests(run.functions.log, "train")]
    assert len({*steps}) <= 6 * 4 * 2
    interruptions = len(crashes) + sum(each.count for each in outages)
    assert hurry or len(steps) <= 6 * 4 * 2 + 2 * 3 * interruptions + 4 * len(faults) + 40
    places.remove(place)


def test_a_failure_that_is_not_a_trials_ends_the_run_and_the_next_one_goes_on(places: Places) -> None:
    place = place_of(places)

    class Away(Functions):
        away = True

        async def invoke(self, role: Role, request: Mapping[str, Any], *, seconds: float) -> Reply:
            if self.away and request["op"] == "train" and request["version"] == 2:
                raise JobFailed("no answer", reason="StoreUnavailable", version=1)
            return await super().invoke(role, request, seconds=seconds)

    functions = Away(place.store)
    with pytest.raises(JobFailed, match="no answer"):
        virtual_loop.run(runner_of(place, iris_search(), functions).run())
    functions.away = False
    outcome = virtual_loop.run(runner_of(place, iris_search(), functions).run())
    assert outcome["trials"]["begun"] == 6
    firsts = [each for each in requests(functions.log, "train") if each["version"] == 1]
    assert len(firsts) == 6 * TEMPLATE["workers"]  # type: ignore[operator]


def test_a_search_that_has_ended_is_not_run_again_and_goes_on_where_more_trials_are_allowed(
    places: Places,
) -> None:
    place = place_of(places)
    functions = Functions(place.store)
    first = virtual_loop.run(runner_of(place, iris_search(), functions).run())
    calls = len(functions.log)
    again = virtual_loop.run(runner_of(place, iris_search(), functions).run())
    assert again == first
    assert len(functions.log) == calls
    more = virtual_loop.run(runner_of(place, iris_search(maxTrials=8), functions).run())
    assert more["trials"]["begun"] == 8
    assert more["objective"] <= first["objective"]


def test_a_deadline_ends_a_search_with_what_it_has_found(places: Places) -> None:
    place = place_of(places)
    functions = Functions(place.store, delay=lambda request: 10.0 if request["op"] == "train" else 0.0)
    job = iris_search(deadlineSeconds=45)
    outcome = virtual_loop.run(runner_of(place, job, functions).run())
    assert outcome["endedBy"] == "DeadlineExceeded"
    assert outcome["trials"]["begun"] < 6 or outcome["trials"].get("running")
    assert "sha256" in outcome


def test_a_deadline_counts_the_time_of_earlier_runs(places: Places) -> None:
    place = place_of(places)
    functions = Functions(place.store, delay=lambda request: 10.0 if request["op"] == "train" else 0.0)
    job = iris_search(deadlineSeconds=45)
    seconds = []

    async def interrupted_after(pause: float) -> None:
        run = runner_of(place, job, functions)
        task = asyncio.create_task(run.run())
        await asyncio.sleep(pause)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        seconds.append(run.seconds)

    virtual_loop.run(interrupted_after(15.0))
    virtual_loop.run(interrupted_after(15.0))
    last = runner_of(place, job, functions)
    outcome = virtual_loop.run(last.run())
    assert outcome["endedBy"] == "DeadlineExceeded"
    assert [*seconds, last.seconds] == pytest.approx([15.0, 30.0, 45.0])


def test_the_account_of_a_search_that_was_interrupted_counts_calls_of_trials_that_have_told_nothing(
    places: Places,
) -> None:
    place = place_of(places)
    functions = Functions(place.store, delay=lambda request: 10.0 if request["op"] == "train" else 0.0)
    runner = runner_of(place, iris_search(deadlineSeconds=45, budgetUSD=1.0), functions)
    outcome = virtual_loop.run(runner.run())
    assert outcome["endedBy"] == "DeadlineExceeded"
    assert outcome["account"]["costUSD"] == runner.budget.used > runner.search.state.dollars


def test_a_search_of_which_too_many_trials_fail_has_failed(places: Places) -> None:
    place = place_of(places)
    job = iris_search(
        parameters=[{"path": RATE, "float": {"min": 1e30, "max": 1e31, "log": True}}], maxFailedTrials=1
    )
    with pytest.raises(JobFailed) as caught:
        virtual_loop.run(runner_of(place, job, Functions(place.store)).run())
    assert caught.value.reason == "TooManyFailed"


def test_calls_of_all_trials_together_are_never_more_than_max_workers(places: Places) -> None:
    place = place_of(places)

    class Counting(Functions):
        now = most = 0

        async def invoke(self, role: Role, request: Mapping[str, Any], *, seconds: float) -> Reply:
            self.now += 1
            self.most = max(self.most, self.now)
            try:
                return await super().invoke(role, request, seconds=seconds)
            finally:
                self.now -= 1

    functions = Counting(place.store)
    virtual_loop.run(runner_of(place, iris_search(maxWorkers=3, parallelTrials=6), functions).run())
    assert functions.most == 3


def test_a_budget_that_is_not_enough_for_a_call_ends_the_search_and_no_trial_has_failed(
    places: Places,
) -> None:
    """A call of a worker may cost $0.0025 at the worst."""
    place = place_of(places)
    runner = runner_of(place, iris_search(budgetUSD=0.002), Functions(place.store))
    with pytest.raises(JobFailed) as caught:
        virtual_loop.run(runner.run())
    assert caught.value.reason == "BudgetExceeded"
    assert runner.budget.used == 0
    assert all(trial.phase != "Failed" for trial in runner.search.trials)
    enough = runner_of(place, iris_search(budgetUSD=0.006), Functions(place.store))
    outcome = virtual_loop.run(enough.run())
    assert outcome["endedBy"] == "Completed"
    assert 0 < enough.budget.used < 0.006
    assert enough.search.state.granted == enough.budget.used


def test_a_search_whose_budget_is_spent_still_exports_its_best_trial(places: Places) -> None:
    """A call of a worker may cost $0.0025 at the worst, that of a merger $0.0013, and each step costs $0.0001."""
    place = place_of(places)
    functions = Functions(place.store, delay=lambda request: 12.0 if request["op"] == "train" else 0.0)
    run = runner_of(place, iris_search(budgetUSD=0.008, prune={"name": "None"}), functions)
    outcome = virtual_loop.run(run.run())
    assert outcome["endedBy"] == "BudgetExceeded"
    assert place.store.exists(keys.result(place.resolved.prefix, "model.safetensors"))
    assert len(requests(functions.log, "export")) == 1
    assert run.budget.used <= 0.008
    state = run.search.state
    assert state.common > 0
    assert outcome["account"]["costUSD"] == state.granted >= state.used
    assert state.granted == run.budget.used


def test_an_export_that_fails_once_is_made_again_within_a_budget_that_is_spent(places: Places) -> None:
    place = place_of(places)

    class Losing(Functions):
        exports = 0

        async def invoke(self, role: Role, request: Mapping[str, Any], *, seconds: float) -> Reply:
            if request["op"] == "export":
                self.exports += 1
                await asyncio.sleep(20.0)
                if self.exports == 1:
                    raise InstanceLost("gone")
            return await super().invoke(role, request, seconds=seconds)

    functions = Losing(place.store, delay=lambda request: 12.0 if request["op"] == "train" else 0.0)
    run = runner_of(place, iris_search(budgetUSD=0.008, prune={"name": "None"}), functions)
    assert virtual_loop.run(run.run())["endedBy"] == "BudgetExceeded"
    assert functions.exports == 2
    assert run.budget.used <= 0.008


@pytest.mark.parametrize("budget", [None, 0.01])
def test_the_call_that_cuts_the_data_counts_in_n_and_in_the_account(
    places: Places, budget: float | None
) -> None:
    place = place_of(places)
    job = iris_search(maxTrials=2, prune={"name": "None"}, budgetUSD=budget)
    seen: list[int] = []

    async def cut(sender: Sender) -> Manifest:
        seen.append(run.calls.in_flight)
        calling = asyncio.create_task(sender.invoke("worker", {"op": "cut", "job": place.uid}, seconds=300))
        await asyncio.sleep(0)
        seen.append(run.calls.in_flight)
        await asyncio.gather(calling, return_exceptions=True)
        return place.manifest

    class Cutting(Functions):
        async def invoke(self, role: Role, request: Mapping[str, Any], *, seconds: float) -> Reply:
            if request["op"] != "cut":
                return await super().invoke(role, request, seconds=seconds)
            await asyncio.sleep(2.0)
            return Reply({}, 2.0, 0.0, 0.0)

    functions = Cutting(place.store)
    run = runner_of(place, job, functions, data=cut)
    outcome = virtual_loop.run(run.run())
    assert seen == [0, 1]
    cost_of_the_cut = cost(AWS_LAMBDA, 512 << 20, 2.0, None)
    assert run.search.state.common > cost_of_the_cut
    assert outcome["account"]["costUSD"] == pytest.approx(run.search.state.used)
    assert run.search.state.common == pytest.approx(cost_of_the_cut, rel=0.2)


def test_a_budget_that_is_not_enough_for_the_cut_ends_the_search_before_it_is_made(places: Places) -> None:
    place = place_of(places)
    functions = Functions(place.store)

    async def cut(sender: Sender) -> Manifest:
        await sender.invoke("worker", {"op": "cut", "job": place.uid}, seconds=300)
        return place.manifest

    run = runner_of(place, iris_search(budgetUSD=0.002), functions, data=cut)
    with pytest.raises(JobFailed, match=r"spec\.budgetUSD") as caught:
        virtual_loop.run(run.run())
    assert caught.value.reason == "BudgetExceeded"
    assert functions.log == []


def test_an_observer_is_told_each_action_and_each_answer(places: Places) -> None:
    place = place_of(places)
    seen: list[str] = []

    class Watching(TuningObserver):
        def began(self, action: Action) -> None:
            seen.append(f"{type(action).__name__} {action.trial}")

        def told(self, event: Event) -> None:
            seen.append(f"{type(event).__name__} {event.trial}")

    job = iris_search(prune={"name": "None"}, maxTrials=2, parallelTrials=1)
    virtual_loop.run(runner_of(place, job, Functions(place.store), observer=Watching()).run())
    assert seen == ["Advance 0", "Finished 0", "Advance 1", "Finished 1"]


def test_a_trial_asks_the_store_for_nothing_that_its_driver_knows(places: Places) -> None:
    """A trial of one step writes nine records, and reads where it stands: each request is a round trip in a cluster."""
    template = tiny_job(**(TEMPLATE | {"algorithm_steps": 1}))
    asked = []
    for trials in (2, 6):
        place = places.place(template)
        store = AwayStore(place.store)
        job = iris_search(
            template={"spec": template.to_json()["spec"]}, prune={"name": "None"}, maxTrials=trials
        )
        virtual_loop.run(runner_of(place, job, Functions(place.store), store).run())
        asked.append(store.asked)
    assert (asked[1] - asked[0]) / 4 < 24


def test_what_stopped_trials_stood_on_is_removed(places: Places) -> None:
    place = place_of(places)
    job = iris_search(prune={"name": "Median", "first": 1, "startupTrials": 2})
    runner = runner_of(place, job, Functions(place.store))
    virtual_loop.run(runner.run())
    stopped = [trial.number for trial in runner.search.trials if trial.phase == "Stopped"]
    assert stopped
    bits = bits_of(place, 6)
    assert all(not bits[number] for number in stopped)
    assert all(bits[trial.number] for trial in runner.search.trials if trial.phase == "Finished")


def test_a_sampler_that_needs_torch_is_asked_on_a_worker(places: Places) -> None:
    pytest.importorskip("optuna")
    place = place_of(places)
    functions = Functions(place.store)
    job = iris_search(search={"name": "GP", "seed": 1}, prune={"name": "None"}, maxTrials=2, parallelTrials=1)
    runner = runner_of(place, job, functions)
    outcome = virtual_loop.run(runner.run())
    assert outcome["trials"]["begun"] == 2
    assert len(requests(functions.log, "ask")) == 2
    rates = [trial.parameters[RATE] for trial in runner.search.trials]
    assert all(0.01 <= rate <= 1.0 for rate in rates)
    assert rates[0] != rates[1]


def test_a_trial_that_a_user_deletes_is_stopped_and_the_others_go_on(places: Places) -> None:
    place = place_of(places)
    functions = Functions(
        place.store, delay=lambda request: 100.0 if request["job"].endswith("trials/0") else 0.0
    )
    job = iris_search(prune={"name": "None"}, maxTrials=3, parallelTrials=3)
    run = runner_of(place, job, functions)

    async def body() -> dict[str, Any]:
        task = asyncio.create_task(run.run())
        await asyncio.sleep(5)
        run.delete(0)
        return await task

    outcome = virtual_loop.run(body())
    assert [trial.phase for trial in run.search.trials] == ["Stopped", "Finished", "Finished"]
    assert run.search.trials[0].reason == "Deleted"
    assert outcome["trial"] in (1, 2)
