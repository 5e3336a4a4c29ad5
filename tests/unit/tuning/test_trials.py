"""Trials on simulated functions: what they share, how they pause, and how they fail."""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pytest
from helpers import virtual_loop
from helpers.functions import Fault, Functions, requests
from helpers.jobs import Place, Simulation, document, make_place, make_search_place, tiny_job

from sapflow.driver.plans import Environment
from sapflow.errors import InstanceLost, JobFailed, OutOfMemory
from sapflow.objects import keys
from sapflow.quantities.roles import Role
from sapflow.records.commits import Records
from sapflow.records.evaluations import of_held_out
from sapflow.runtimes.sender import Reply, Sender
from sapflow.spec.document import parse
from sapflow.spec.training_job import TrainingJob
from sapflow.tuning.actions import Advance, Event, Failed, Finished, Fork, Parameters, Report
from sapflow.tuning.trials import Growth, Pool, Trials

T = TypeVar("T")
RATE = "spec.optimizer.learningRate"
STEPS = {"algorithm_steps": 6}


def job_of(parameters: Parameters, **job: Any) -> TrainingJob:
    """The tiny job with these values at their paths."""
    named = {path.removeprefix("spec.").replace(".", "_"): value for path, value in parameters.items()}
    return parse(document(**STEPS, **job, **named))


def search_in(folder: Path) -> Place:
    """The place of a search whose data is cut."""
    return make_search_place(folder, tiny_job(**STEPS))


def trials_of(
    place: Place,
    sender: Sender | None = None,
    grow: Callable[[float], Coroutine[Any, Any, Growth]] | None = None,
    pinned: Callable[[int], Collection[int]] = lambda trial: (),
    **job: Any,
) -> Trials:
    environment = Environment(forward_flops=None, of_search=True)
    sender = sender or Functions(place.store)
    pool = Pool(place.resolved, place.manifest, place.store, sender, environment, grow)
    return Trials(pool, lambda parameters: job_of(parameters, **job), pinned=pinned)


def advanced(trials: Trials, *actions: Advance) -> list[Event]:
    """The answers to actions that are carried out at once."""

    async def body() -> list[Event]:
        return list(await asyncio.gather(*(trials.advance(each) for each in actions)))

    return virtual_loop.run(body())


def version_of(place: Place, trial: int, version: int) -> list[bytes]:
    """The bytes of a version of a trial, optimiser state included."""
    prefix = keys.trial(place.resolved.prefix, trial)
    commit = asyncio.run(Records(place.store, prefix).commit(version))
    assert commit is not None
    return [bytes(place.store.read(key)) for key in commit.objects(prefix)]


def alone(folder: Path, parameters: Parameters) -> tuple[Place, Mapping[str, Any]]:
    """The job of these parameters run as one of its own, and its outcome."""
    place = make_place(folder, job_of(parameters))
    return place, Simulation(place).run()


def test_trials_share_the_searchs_data_and_have_the_bits_and_values_of_jobs_of_their_own(
    tmp_path: Path,
) -> None:
    place = search_in(tmp_path / "search")
    rates = (0.05, 0.2, 0.4)
    answers = advanced(trials_of(place), *(Advance(n, 6, {RATE: rate}) for n, rate in enumerate(rates)))
    assert sorted(path.name for path in (place.path / "jobs").iterdir()) == [place.uid]
    for number, rate in enumerate(rates):
        own, outcome = alone(tmp_path / f"{number}", {RATE: rate})
        answer = answers[number]
        assert isinstance(answer, Finished)
        assert (answer.at, answer.version) == (6, 6)
        assert answer.values == of_held_out(outcome)
        last = [bytes(own.store.read(key)) for key in own.commit(6).objects(own.resolved.prefix)]
        assert version_of(place, number, 6) == last
        prefix = place.path / keys.trial(place.resolved.prefix, number)
        assert not (prefix / "data").exists()
        assert not (prefix / "result" / "model.safetensors").exists()


def test_a_trial_that_pauses_twice_beside_others_ends_as_the_job_run_alone(tmp_path: Path) -> None:
    place = search_in(tmp_path / "search")
    trials = trials_of(place)
    first = advanced(trials, Advance(0, 1, {RATE: 0.2}), Advance(1, 6, {RATE: 0.3}))[0]
    (second,) = advanced(trials, Advance(0, 3, {RATE: 0.2}))
    (ended,) = advanced(trials, Advance(0, 6, {RATE: 0.2}))
    assert isinstance(first, Report)
    assert isinstance(second, Report)
    assert isinstance(ended, Finished)
    assert (first.at, first.version, second.at, second.version) == (1, 1, 3, 3)
    assert first.dollars < second.dollars < ended.dollars
    own, outcome = alone(tmp_path / "alone", {RATE: 0.2})
    assert ended.values["loss"] == outcome["validationLoss"]
    last = [bytes(own.store.read(key)) for key in own.commit(6).objects(own.resolved.prefix)]
    assert version_of(place, 0, 6) == last
    went_on = asyncio.run(Records(place.store, keys.trial(place.resolved.prefix, 0)).commit(4))
    assert went_on is not None
    assert went_on.measured.resumed == "Paused"


def test_an_action_that_is_carried_out_again_makes_no_step_and_has_the_same_answer(tmp_path: Path) -> None:
    place = search_in(tmp_path / "search")
    functions = Functions(place.store)
    for to in (2, 6):
        (answer,) = advanced(trials_of(place, functions), Advance(0, to, {RATE: 0.2}))
        made = len(requests(functions.log, "train"))
        (again,) = advanced(trials_of(place, functions), Advance(0, to, {RATE: 0.2}))
        assert len(requests(functions.log, "train")) == made
        assert type(again) is type(answer)
        assert again.values == answer.values  # type: ignore[union-attr]


def test_a_trial_that_diverges_or_fits_no_model_fails_alone(tmp_path: Path) -> None:
    place = search_in(tmp_path / "search")
    diverged, odd, refused, well = advanced(
        trials_of(place),
        Advance(0, 6, {RATE: 1e30}),
        Advance(1, 6, {"spec.model.args": {"hidden": "many"}}),
        Advance(2, 6, {RATE: -1}),
        Advance(3, 6, {RATE: 0.1}),
    )
    assert isinstance(diverged, Failed)
    assert diverged.reason == "NotFinite"
    assert diverged.dollars > 0
    assert isinstance(odd, Failed)
    assert odd.reason == "InvalidSpec"
    assert "hidden" in odd.message
    assert isinstance(refused, Failed)
    assert "spec.optimizer.learningRate" in refused.message
    assert isinstance(well, Finished)


def test_a_store_that_is_away_is_no_fault_of_a_trial(tmp_path: Path) -> None:
    place = search_in(tmp_path / "search")

    class Away(Functions):
        async def invoke(self, role: Role, request: Mapping[str, Any], *, seconds: float) -> Reply:
            raise JobFailed("no answer", reason="StoreUnavailable", version=0)

    with pytest.raises(JobFailed, match="no answer"):
        advanced(trials_of(place, Away(place.store)), Advance(0, 6, {RATE: 0.1}))


class Small(Functions):
    """Kills what trains a rate above 0.15, until it has grown."""

    grown = 0
    lost = False
    """Whether the driver sees no more than that an instance is gone, as in a cluster."""
    growths = 1
    """How often it may grow."""

    async def invoke(self, role: Role, request: Mapping[str, Any], *, seconds: float) -> Reply:
        if request["op"] == "train" and "trials/0/" not in request["spec"]["key"] and not self.grown:
            raise InstanceLost("the connection broke") if self.lost else OutOfMemory("killed over 512 MiB")
        return await super().invoke(role, request, seconds=seconds)

    async def grow(self, failed: float) -> Growth:
        if self.grown == self.growths:
            return "Refused"
        self.grown += 1
        return "Grown"


@pytest.mark.parametrize("lost", [False, True])
def test_trials_that_are_killed_for_memory_let_the_pool_grow_once(tmp_path: Path, lost: bool) -> None:
    place = search_in(tmp_path / "search")
    small = Small(place.store)
    small.lost = lost
    actions = [Advance(number, 6, {RATE: 0.1 * (number + 1)}) for number in range(3)]
    answers = advanced(trials_of(place, small, small.grow), *actions)
    assert [type(each) for each in answers] == [Finished] * 3
    assert small.grown == 1


def test_a_trial_that_is_killed_for_memory_where_there_is_no_more_fails_alone(tmp_path: Path) -> None:
    place = search_in(tmp_path / "search")
    small = Small(place.store)
    answers = advanced(trials_of(place, small), *(Advance(number, 6, {RATE: 0.1}) for number in range(2)))
    assert isinstance(answers[0], Finished)
    assert isinstance(answers[1], Failed)
    assert answers[1].reason == "OutOfMemory"


@pytest.mark.parametrize("lost", [False, True])
def test_a_trial_that_is_killed_where_the_pool_may_grow_no_more_says_that_it_was_memory(
    tmp_path: Path, lost: bool
) -> None:
    place = search_in(tmp_path / "search")
    small = Small(place.store)
    small.lost, small.growths = lost, 0
    (answer,) = advanced(trials_of(place, small, small.grow), Advance(1, 6, {RATE: 0.1}))
    assert isinstance(answer, Failed)
    assert answer.reason == "OutOfMemory"
    assert "killed" in answer.message


def test_a_lost_instance_that_was_not_killed_for_memory_keeps_its_reason(tmp_path: Path) -> None:
    place = search_in(tmp_path / "search")
    small = Small(place.store)
    small.lost = True

    async def calm(failed: float) -> Growth:
        return "NotKilled"

    (answer,) = advanced(trials_of(place, small, calm), Advance(1, 6, {RATE: 0.1}))
    assert isinstance(answer, Failed)
    assert answer.reason == "InstanceLost"


def test_a_lost_answer_changes_nothing_of_a_trial(tmp_path: Path) -> None:
    place, calm = search_in(tmp_path / "search"), search_in(tmp_path / "calm")
    faults = {number: Fault("lose") for number in range(2, 30, 3)}
    disturbed = advanced(trials_of(place, Functions(place.store, 0, faults)), Advance(0, 4, {RATE: 0.2}))[0]
    expected = advanced(trials_of(calm), Advance(0, 4, {RATE: 0.2}))[0]
    assert isinstance(disturbed, Report)
    assert isinstance(expected, Report)
    assert disturbed.values == expected.values
    assert version_of(place, 0, 4) == version_of(calm, 0, 4)


KEEP = {"algorithm_localSteps": 2, "algorithm_localState": "Keep", "merge_structure": [1, 4]}


@pytest.mark.parametrize("job", [{}, KEEP], ids=["gradient", "rank states"])
def test_a_fork_names_its_sources_objects_and_goes_on_with_the_same_bits(
    tmp_path: Path, job: dict[str, Any]
) -> None:
    place = make_search_place(tmp_path / "search", tiny_job(**STEPS, **job))
    prefix = place.resolved.prefix
    trials = trials_of(place, pinned=lambda trial: {2} if trial == 0 else (), **job)

    async def body() -> tuple[Event, Event]:
        await trials.advance(Advance(0, 2, {RATE: 0.2}))
        await trials.fork(Fork(1, 0, 2, 2, {RATE: 0.2}))
        await trials.fork(Fork(1, 0, 2, 2, {RATE: 0.2}))  # as after a restart
        source = await trials.advance(Advance(0, 6, {RATE: 0.2}))
        return source, await trials.advance(Advance(1, 6, {RATE: 0.2}))

    source, fork = virtual_loop.run(body())
    assert isinstance(source, Finished)
    assert isinstance(fork, Finished)
    assert fork.values == source.values
    assert (fork.at, fork.version) == (6, 6)
    assert 0 < fork.dollars < source.dollars
    assert version_of(place, 1, 6) == version_of(place, 0, 6)
    first = asyncio.run(Records(place.store, keys.trial(prefix, 1)).commit(2))
    assert first is not None
    named = {part.key for part in (*first.params, *first.optimizer)}
    assert all(name.startswith(keys.trial(prefix, 0)) for name in named)
    assert all(place.store.exists(name) for name in named), "the source keeps what a fork stands on"
    own = place.path / keys.trial(prefix, 1)
    assert [path for path in (own / "params").iterdir() if path.name.startswith("2-")] == []


def test_a_fork_with_another_learning_rate_has_the_optimisers_state_of_its_source(tmp_path: Path) -> None:
    place = search_in(tmp_path / "search")
    trials = trials_of(place, pinned=lambda trial: {3} if trial == 0 else ())

    async def body() -> tuple[Event, Event]:
        await trials.advance(Advance(0, 3, {RATE: 0.2}))
        await trials.fork(Fork(1, 0, 3, 3, {RATE: 0.1}))
        return await trials.advance(Advance(1, 5, {RATE: 0.1})), await trials.advance(
            Advance(1, 6, {RATE: 0.1})
        )

    paused, ended = virtual_loop.run(body())
    assert isinstance(paused, Report)
    assert (paused.at, paused.version) == (5, 5)
    assert isinstance(ended, Finished)
    records = Records(place.store, keys.trial(place.resolved.prefix, 1))
    began, after = asyncio.run(records.commit(3)), asyncio.run(records.commit(4))
    assert began is not None
    assert after is not None
    assert after.measured.learning_rate == 0.1
    assert began.optimizer
    assert began.account.cost_usd == 0.0


def test_a_fork_that_cannot_begin_fails_alone(tmp_path: Path) -> None:
    place = search_in(tmp_path / "search")
    trials = trials_of(place)
    narrower = {RATE: 0.2, "spec.workers": 2, "spec.merge.structure": [1, 2]}

    async def body() -> Event:
        await trials.advance(Advance(0, 2, {RATE: 0.2}))
        await trials.fork(Fork(1, 0, 2, 2, narrower))
        return await trials.advance(Advance(1, 4, narrower))

    answer = virtual_loop.run(body())
    assert isinstance(answer, Failed)
    assert "spec.workers" in answer.message


def test_a_stopped_trial_leaves_nothing_but_what_forks_stand_on(tmp_path: Path) -> None:
    place = search_in(tmp_path / "search")
    trials = trials_of(place, pinned=lambda trial: {2} if trial == 0 else ())

    async def body() -> None:
        for trial in (0, 1):
            await trials.advance(Advance(trial, 2, {RATE: 0.2}))
            await trials.stopped(trial)

    virtual_loop.run(body())
    assert version_of(place, 0, 2)
    left = place.path / keys.trial(place.resolved.prefix, 1)
    assert [path for name in ("params", "optimizer") for path in left.glob(f"{name}/*")] == []
