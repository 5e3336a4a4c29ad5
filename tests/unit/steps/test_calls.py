"""One call of a function until it is done: retries, hedges, cursors and the account. Time is virtual."""

import asyncio
import contextlib
from collections.abc import Awaitable, Coroutine, Mapping
from typing import Any

import pytest
from helpers import virtual_loop

from sapflow.errors import InstanceLost, InvocationError, InvocationTimeout, JobFailed, OutOfMemory
from sapflow.messages.documents import Document
from sapflow.messages.refs import Ref
from sapflow.messages.replies import EvaluateReply, MergeReply, TrainReply
from sapflow.messages.requests import EvaluateRequest, MergeRequest, TrainRequest
from sapflow.messages.vectors import Sizes
from sapflow.quantities.prices import Price
from sapflow.quantities.roles import Role
from sapflow.records.commits import Account
from sapflow.runtimes import handover
from sapflow.runtimes.sender import Answered, Reply
from sapflow.runtimes.slots import Slots
from sapflow.steps.calls import HEDGE_FACTOR, HEDGE_FLOOR, Caller
from sapflow.steps.garbage import CellGarbage
from sapflow.steps.leftovers import Leftovers
from sapflow.steps.observer import Observer

MIB = 1 << 20
SPEC = Document.of("spec", b"{}")
SIZES = Sizes(parameters=1, averaged=0, block=1)
BY_SECOND = Price(platform="Own", dated=None, source="the test", usd_per_mb_second=1.0, usd_per_request=0.5)
Outcome = Reply | BaseException | Awaitable[Reply]


def train(**changes: Any) -> TrainRequest:
    fields: dict[str, Any] = {
        "job": "job",
        "version": 3,
        "seconds_left": 1.0,
        "spec": SPEC,
        "manifest": SPEC,
        "rank": 1,
        "params": [],
        "sizes": SIZES,
        "epoch": 0,
        "slices": [{"range": (0, 8), "window": 1, "begin": 0, "end": 8}],
        "outputs": [],
    }
    return TrainRequest(**(fields | changes))


def reply(
    body: Mapping[str, Any] | None = None,
    *,
    seconds: float = 1.0,
    cold: float = 0.0,
    queue: float = 0.0,
    memory: int | None = None,
) -> Reply:
    return Reply({"done": True, **(body or {})}, seconds, cold, queue, memory)


async def after(seconds: float, outcome: Reply | BaseException) -> Reply:
    """An answer that takes its time."""
    await asyncio.sleep(seconds)
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


async def never() -> Reply:
    """An instance that hangs: what waits for it must give it up."""
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


class Script:
    """A sender that answers as it is told, one outcome a call."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = list(outcomes)
        self.bodies: list[Mapping[str, Any]] = []
        self.seconds: list[float] = []
        self.times: list[float] = []
        self.given_up = 0

    async def invoke(self, role: Role, request: Mapping[str, Any], *, seconds: float) -> Reply:
        self.bodies.append(request)
        self.seconds.append(seconds)
        self.times.append(asyncio.get_running_loop().time())
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        if isinstance(outcome, Reply):
            return outcome
        try:
            return await outcome
        except asyncio.CancelledError:
            self.given_up += 1
            raise

    async def close(self) -> None:
        raise AssertionError("the driver closes its sender, not the calls")


class Heard(Observer):
    def __init__(self) -> None:
        self.words: list[tuple[Any, ...]] = []

    def answered(self, role: Role, op: str, answer: Answered[Any]) -> None:
        self.words.append(("answered", role, op, type(answer.reply)))

    def invocation_failed(self, role: Role, op: str, error: InvocationError) -> None:
        self.words.append(("failed", role, op, error.reason))

    def hedged(self, role: Role, op: str, version: int) -> None:
        self.words.append(("hedged", role, op, version))


def caller(sender: Script, **changes: Any) -> Caller:
    settings: dict[str, Any] = {
        "seconds": 30.0,
        "retries": 2,
        "price": BY_SECOND,
        "memory": {"worker": 256 * MIB, "merger": 128 * MIB},
        "cpus": {"worker": None, "merger": None},
        "observer": Observer(),
        "account": Account(),
    }
    return Caller(sender, **(settings | changes))


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return virtual_loop.run(work)


# Retries


def test_a_failure_that_another_try_may_mend_is_repeated_after_a_pause_that_grows() -> None:
    lost = InstanceLost("train version 3 rank 1: the instance died")
    sender, heard = Script(lost, lost, lost, reply({"samples": 8})), Heard()
    calls = caller(sender, retries=3, observer=heard)
    answer = run(calls.call("worker", train(), TrainReply))
    assert answer.samples == 8
    first, second, third = (
        later - sooner for sooner, later in zip(sender.times, sender.times[1:], strict=False)
    )
    assert 0.025 <= first <= 0.05 <= second <= 0.1 <= third <= 0.2
    assert [word[0] for word in heard.words] == ["failed"] * 3 + ["answered"]
    account = calls.account
    assert (account.retries, account.invocations, account.failures) == (3, 4, {"InstanceLost": 3})


def test_each_try_says_its_own_number_and_the_seconds_it_has() -> None:
    """Even numbers are first tries, odd ones hedges: a function under test can tell them apart."""
    sender = Script(InstanceLost("lost"), reply())
    run(caller(sender, seconds=12.5).call("worker", train(attempt=9), TrainReply))
    assert [(body["attempt"], body["secondsLeft"]) for body in sender.bodies] == [(0, 12.5), (2, 12.5)]
    assert sender.seconds == [12.5, 12.5]
    same = [{k: v for k, v in body.items() if k != "attempt"} for body in sender.bodies]
    assert same[0] == same[1]


def test_what_repeating_does_not_mend_fails_the_job_at_once() -> None:
    sender = Script(InvocationError("train version 3 rank 1: no such model", reason="InvalidSpec"))
    calls = caller(sender)
    with pytest.raises(JobFailed, match=r"^train of version 3, rank 1 failed: .*no such model$") as caught:
        run(calls.call("worker", train(), TrainReply))
    assert (caught.value.reason, caught.value.version) == ("InvalidSpec", 2)
    assert (calls.account.invocations, calls.account.retries) == (1, 0)


def test_a_job_that_is_out_of_retries_says_how_often_it_was_tried() -> None:
    sender = Script(*[InstanceLost("it died") for _ in range(3)])
    with pytest.raises(JobFailed, match="failed after 3 tries: it died") as caught:
        run(caller(sender, retries=2).call("worker", train(), TrainReply))
    assert caught.value.reason == "InstanceLost"


@pytest.mark.parametrize("role", ["worker", "merger"])
def test_a_function_that_is_out_of_memory_names_the_field_of_its_role(role: Role) -> None:
    sender = Script(OutOfMemory("killed"))
    remedy = f"killed; raise spec.memory.{role}, or lower spec.data.microBatchSize"
    with pytest.raises(JobFailed, match=remedy) as caught:
        run(caller(sender).call(role, train(), TrainReply))
    assert caught.value.reason == "OutOfMemory"


def test_work_that_never_fits_into_its_seconds_names_the_limit() -> None:
    sender = Script(*[InvocationTimeout("no answer within 30 s") for _ in range(2)])
    with pytest.raises(JobFailed, match=r"one unit of its work does not fit into .*invocationSeconds \(30\)"):
        run(caller(sender, retries=1).call("worker", train(), TrainReply))


def test_an_answer_that_does_not_fit_fails_the_job_by_its_field() -> None:
    sender = Script(reply({"samples": "many"}))
    with pytest.raises(JobFailed, match=r"train version 3 rank 1: .* does not fit: samples") as caught:
        run(caller(sender).call("worker", train(), TrainReply))
    assert caught.value.reason == "InvalidReply"


# Cursors


def test_cursors_are_followed_to_the_end_and_their_keys_are_told() -> None:
    sender = Script(
        reply({"done": False, "cursor": "one"}),
        InstanceLost("it died"),
        reply({"done": False, "cursor": "two"}),
        reply({"samples": 8}),
    )
    cursors: list[str] = []
    answer = run(caller(sender).call("worker", train(), TrainReply, cursors))
    assert (answer.samples, cursors) == (8, ["one", "two"])
    assert [body.get("cursor") for body in sender.bodies] == [None, "one", "one", "two"]
    assert [body["attempt"] for body in sender.bodies] == [0, 0, 2, 0]


def test_every_piece_of_the_work_has_retries_of_its_own() -> None:
    lost = InstanceLost("it died")
    sender = Script(lost, reply({"done": False, "cursor": "one"}), lost, reply())
    run(caller(sender, retries=1).call("worker", train(), TrainReply))
    assert sender.outcomes == []


def test_an_evaluation_goes_on_from_its_position_and_leaves_no_object_behind() -> None:
    request = EvaluateRequest(
        job="job", version=3, seconds_left=1, spec=SPEC, manifest=SPEC, params=[], sizes=SIZES
    )
    some = {"position": 5, "samples": 5, "sums": {"loss": "0x1p0"}}
    sender = Script(reply({"done": False, **some}), reply(some | {"position": 9}))
    cursors: list[str] = []
    assert run(caller(sender).call("worker", request, EvaluateReply, cursors)).position == 9
    assert cursors == []
    assert (sender.bodies[1]["position"], sender.bodies[1]["sums"]) == (5, {"loss": "0x1p0"})


# Hedges


async def known(calls: Caller, sender: Script, seconds: float, *, cold: float = 0.0) -> None:
    """Two answers of a kind that took so long: what is usual."""
    sender.outcomes[:0] = [reply(seconds=seconds, cold=cold), reply(seconds=seconds)]
    for _ in range(2):
        await calls.call("worker", train(), TrainReply)
    for seen in (sender.bodies, sender.times, sender.seconds):
        seen.clear()


def hedged(*outcomes: Outcome, usual: float = 0.1, cold: float = 0.0) -> tuple[Script, Caller, Heard, Any]:
    """A call after two usual ones."""
    sender, heard = Script(*outcomes), Heard()
    calls = caller(sender, observer=heard)

    async def scenario() -> Any:
        await known(calls, sender, usual, cold=cold)
        heard.words.clear()
        return await calls.call("worker", train(), TrainReply)

    return sender, calls, heard, run(scenario())


@pytest.mark.parametrize(
    ("usual", "cold", "patience"),
    [
        (0.1, 0.0, HEDGE_FLOOR),
        (5.0, 0.0, HEDGE_FACTOR * 5.0),
        (0.1, 4.0, HEDGE_FLOOR + 2 * 4.0),
    ],
)
def test_a_straggler_gets_one_second_call_after_some_patience_and_is_given_up_when_that_answers(
    usual: float, cold: float, patience: float
) -> None:
    sender, calls, heard, answer = hedged(never(), after(0.5, reply({"samples": 7})), usual=usual, cold=cold)
    assert answer.samples == 7
    assert sender.times[1] - sender.times[0] == pytest.approx(patience)
    assert [body["attempt"] for body in sender.bodies] == [0, 1]
    assert (sender.given_up, calls.account.hedges, calls.account.retries) == (1, 1, 0)
    assert heard.words == [("hedged", "worker", "train", 3), ("answered", "worker", "train", TrainReply)]


def test_a_straggler_that_answers_first_counts_and_its_second_call_is_given_up() -> None:
    sender, calls, _, answer = hedged(after(HEDGE_FLOOR + 1, reply({"samples": 5})), never())
    assert (answer.samples, sender.given_up, calls.account.hedges) == (5, 1, 1)


def test_there_is_never_a_third_call_at_once() -> None:
    sender, calls, _, _ = hedged(after(1000, reply()), after(900, reply()))
    assert len(sender.bodies) == 2
    assert calls.account.hedges == 1


def test_the_failure_of_one_of_two_calls_leaves_the_other_at_work() -> None:
    _, calls, heard, answer = hedged(
        after(HEDGE_FLOOR + 1, InstanceLost("the first died")), after(5, reply({"samples": 3}))
    )
    assert answer.samples == 3
    assert [word[0] for word in heard.words] == ["hedged", "answered"]
    assert (calls.account.retries, calls.account.failures) == (0, None)


def test_two_calls_that_both_fail_are_one_failure_and_then_tried_again() -> None:
    sender, calls, _, answer = hedged(
        after(HEDGE_FLOOR + 1, InstanceLost("the first died")),
        after(5, InstanceLost("the second died")),
        reply({"samples": 2}),
    )
    assert answer.samples == 2
    assert [body["attempt"] for body in sender.bodies] == [0, 1, 2]
    assert (calls.account.retries, calls.account.failures) == (1, {"InstanceLost": 1})


def test_nobody_is_a_straggler_before_it_is_known_what_is_usual() -> None:
    sender = Script(reply(seconds=0.1), after(3000, reply()))

    async def scenario(calls: Caller) -> None:
        await calls.call("worker", train(), TrainReply)
        await calls.call("worker", train(), TrainReply)

    calls = caller(sender)
    run(scenario(calls))
    assert calls.account.hedges == 0


def test_an_operation_of_another_kind_says_nothing_of_what_is_usual() -> None:
    merge = MergeRequest(
        job="job",
        version=3,
        seconds_left=1,
        children=[Ref(key="a", start=0, stop=1)],
        output=Ref(key="b", start=0, stop=1),
    )
    sender = Script(after(3000, reply()))
    calls = caller(sender)

    async def scenario() -> None:
        await known(calls, sender, 0.1)
        await calls.call("merger", merge, MergeReply)

    run(scenario())
    assert calls.account.hedges == 0


def test_answers_of_others_show_that_the_platform_is_busy_and_not_this_call_lost() -> None:
    """Quiet counts from the last answer of any call: a queue that moves makes no stragglers."""
    busy = [after(HEDGE_FLOOR * 0.9 * turn, reply()) for turn in (1, 2, 3)]
    sender = Script(after(HEDGE_FLOOR * 3.5, reply({"samples": 1})), *busy)
    calls = caller(sender)

    async def scenario() -> None:
        await known(calls, sender, 0.1)
        await asyncio.gather(*(calls.call("worker", train(), TrainReply) for _ in range(4)))

    run(scenario())
    assert calls.account.hedges == 0


def test_a_call_that_is_given_up_gives_up_its_racers() -> None:
    sender = Script(never(), never())
    calls = caller(sender)

    async def scenario() -> None:
        await known(calls, sender, 0.1)
        task = asyncio.create_task(calls.call("worker", train(), TrainReply))
        await asyncio.sleep(HEDGE_FLOOR + 1)
        assert len(sender.bodies) == 2
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(scenario())
    assert sender.given_up == 2


# The account


def test_the_account_sums_what_calls_cost_by_the_size_of_their_instances() -> None:
    """Two calls: 2 s at the 256 MiB that were asked for, 1 s at the 512 MiB that the instance says it has."""
    sender = Script(reply(seconds=2.0, cold=3.0), reply(seconds=1.0, memory=512 * MIB))
    calls = caller(sender)

    async def scenario() -> None:
        for _ in range(2):
            await calls.call("worker", train(), TrainReply)

    run(scenario())
    account = calls.account
    assert account.cost_usd == pytest.approx(2 * 0.5 + 2.0 * 256 + 1.0 * 512)
    assert (account.invocations, account.cold_starts, calls.slowest_start) == (2, 1, 3.0)


def test_the_account_goes_on_from_what_earlier_drivers_spent() -> None:
    earlier = Account(seconds=100.0, cost_usd=7.0, invocations=5, retries=1, failures={"InstanceLost": 1})
    calls = caller(Script(InstanceLost("lost"), reply(seconds=0.001)), account=earlier)
    run(calls.call("worker", train(), TrainReply))
    account = calls.account
    assert (account.invocations, account.retries, account.failures) == (7, 2, {"InstanceLost": 2})
    assert account.seconds > 100.0
    assert account.cost_usd == pytest.approx(7.0 + 0.5 + 0.5 + 0.256)


def test_both_calls_of_a_race_are_invocations_and_only_the_one_that_counts_is_in_the_tally() -> None:
    _, calls, _, _ = hedged(
        after(HEDGE_FLOOR + 1, reply({"seconds": {"compute": 1.0}})),
        after(50, reply({"seconds": {"compute": 9.0}})),
    )
    assert calls.account.invocations == 2 + 2
    assert calls.take_tally().phases["compute"] == 1.0


def test_the_tally_sums_phases_bytes_and_the_greatest_memory_and_begins_anew_when_it_is_taken() -> None:
    first = {
        "seconds": {"read": 1.0, "compute": 2.0},
        "bytes": {"read": 10, "written": 5, "storeRead": 3, "storeWritten": 0},
        "peakMemoryBytes": 100,
    }
    second = {"seconds": {"compute": 4.0}, "bytes": {"read": 1, "written": 1}, "peakMemoryBytes": 70}
    sender = Script(reply(first, seconds=4.0, cold=0.5, queue=0.25), reply(second, seconds=6.0, memory=MIB))
    calls = caller(sender)

    async def scenario() -> None:
        for level in (0, 0):
            await calls.call("worker", train(), TrainReply, level=level)

    run(scenario())
    tally = calls.take_tally()
    assert tally.phases == {"read": 1.0, "compute": 6.0, "queue": 0.25, "cold": 0.5}
    assert (tally.bytes_read, tally.bytes_written) == (11, 6)
    assert (tally.store_read, tally.store_written) == (3, 0)
    assert (tally.peak_memory, tally.limits) == ({"worker": 100}, {"worker": {MIB}})
    assert list(tally.levels) == [0]
    leg = tally.levels[0]
    assert (leg.calls, leg.seconds, leg.slowest) == (2, 10.0, 6.0)
    assert (leg.phases, leg.bytes_read, leg.bytes_written) == ({"read": 1.0, "compute": 6.0}, 11, 6)
    assert leg.cost_usd == pytest.approx(2 * 0.5 + 4.0 * 256 + 6.0 * 1)
    assert calls.take_tally().levels == {}


def test_a_call_beside_the_tree_is_on_none_of_its_levels() -> None:
    calls = caller(Script(reply({"bytes": {"read": 3}})))
    run(calls.call("worker", train(), TrainReply))
    tally = calls.take_tally()
    assert (tally.levels, tally.bytes_read) == ({}, 3)


def test_the_tally_sums_what_was_read_of_the_data_and_knows_when_nobody_counted() -> None:
    some = {"data": {"bytes": 100, "seconds": 0.5, "requests": 2}, "seconds": {"data": 0.25}}
    calls = caller(Script(reply(some), reply(some), reply()))

    async def scenario() -> None:
        for _ in range(3):
            await calls.call("worker", train(), TrainReply, level=0)

    run(scenario())
    tally = calls.take_tally()
    assert (tally.data_bytes, tally.data_seconds, tally.phases["data"]) == (200, 1.0, 0.5)
    assert (calls.take_tally().data_bytes, calls.take_tally().data_seconds) == (None, None)


def test_an_evaluation_costs_and_is_no_part_of_the_step_beside_it() -> None:
    body = {"seconds": {"compute": 9.0}, "bytes": {"read": 10**9, "written": 0}, "peakMemoryBytes": 10**10}
    of_evaluation = {"position": 5, "samples": 5, "sums": {"loss": "0x1p0"}, "data": {"bytes": 7}}
    request = EvaluateRequest(
        job="job", version=3, seconds_left=1, spec=SPEC, manifest=SPEC, params=[], sizes=SIZES
    )
    calls = caller(Script(reply(body | of_evaluation), reply({"seconds": {"compute": 1.0}})))

    async def scenario() -> None:
        await calls.call("worker", request, EvaluateReply)
        await calls.call("worker", train(), TrainReply, level=0)

    run(scenario())
    tally = calls.take_tally()
    assert tally.phases["compute"] == 1.0
    assert (tally.bytes_read, tally.data_bytes, tally.peak_memory) == (0, None, {"worker": 0})
    assert calls.account.cost_usd == pytest.approx(2 * (0.5 + 256))


# What fails costs, too


@pytest.mark.parametrize("error", [InvocationTimeout("late"), InstanceLost("died"), OutOfMemory("killed")])
def test_a_call_that_fails_costs_from_its_request_to_its_end(error: InvocationError) -> None:
    sender = Script(after(12.0, error), reply(seconds=1.0))
    calls = caller(sender)
    with contextlib.suppress(JobFailed):
        run(calls.call("worker", train(), TrainReply))
    answered = 0.0 if isinstance(error, OutOfMemory) else 0.5 + 256
    assert calls.account.cost_usd == pytest.approx(0.5 + 12 * 256 + answered, rel=1e-3)


def test_a_call_that_exceeds_its_seconds_is_billed_up_to_them() -> None:
    calls = caller(Script(after(40.0, InvocationTimeout("late")), reply()), seconds=30.0)
    run(calls.call("worker", train(), TrainReply))
    assert calls.account.cost_usd == pytest.approx(0.5 + 30 * 256 + 0.5 + 256, rel=1e-3)


def test_the_loser_of_a_race_costs_until_it_is_given_up() -> None:
    usual = 2 * (0.5 + 0.1 * 256)
    _, calls, _, _ = hedged(never(), after(0.5, reply(seconds=0.5)))
    loser, winner = 0.5 + (HEDGE_FLOOR + 0.5) * 256, 0.5 + 0.5 * 256
    assert calls.account.cost_usd == pytest.approx(usual + loser + winner, rel=1e-3)


def test_a_failed_call_is_billed_at_the_size_that_its_role_had_last() -> None:
    calls = caller(Script(reply(memory=MIB), after(10.0, InstanceLost("died")), reply(memory=MIB)))

    async def scenario() -> None:
        for _ in range(2):
            await calls.call("worker", train(), TrainReply)

    run(scenario())
    assert calls.account.cost_usd == pytest.approx(3 * 0.5 + (1 + 10 + 1) * 1, rel=1e-3)


class Queue(Script):
    """A sender of one slot, which says when a call waits and when an instance has it."""

    def __init__(self, *outcomes: Outcome) -> None:
        super().__init__(*outcomes)
        self.slots = Slots(1)

    async def invoke(self, role: Role, request: Mapping[str, Any], *, seconds: float) -> Reply:
        await self.slots.acquire(urgent=False)
        try:
            handover.begins()
            return await super().invoke(role, request, seconds=seconds)
        finally:
            self.slots.release()


def test_what_waits_for_a_slot_costs_nothing_until_an_instance_has_it() -> None:
    sender = Queue(after(10.0, reply(seconds=10.0)), after(5.0, InstanceLost("died")), never())
    calls = caller(sender, retries=0)

    async def scenario() -> None:
        first, second, third = (
            asyncio.create_task(calls.call("worker", train(), TrainReply)) for _ in range(3)
        )
        await first
        with pytest.raises(JobFailed):
            await second
        await asyncio.sleep(1.0)
        third.cancel()
        await asyncio.gather(third, return_exceptions=True)
        fourth = asyncio.create_task(calls.call("worker", train(), TrainReply))
        sender.slots._free = 0
        await asyncio.sleep(100.0)
        fourth.cancel()
        await asyncio.gather(fourth, return_exceptions=True)

    run(scenario())
    assert calls.account.cost_usd == pytest.approx(3 * 0.5 + (10 + 5 + 1) * 256, rel=1e-3)


def test_a_call_that_reached_no_instance_costs_nothing() -> None:
    class Refused(Script):
        async def invoke(self, role: Role, request: Mapping[str, Any], *, seconds: float) -> Reply:
            handover.begins()
            await asyncio.sleep(3.0)
            handover.not_had()
            return await super().invoke(role, request, seconds=seconds)

    calls = caller(Refused(InvocationError("no connection")))
    with pytest.raises(JobFailed):
        run(calls.call("worker", train(), TrainReply))
    assert calls.account.cost_usd == 0.0


def test_repeating_ends_where_the_budget_is_spent() -> None:
    sender = Script(*(after(10.0, InstanceLost("it died")) for _ in range(4)))
    calls = caller(sender, retries=99, budget=3.5 * (0.5 + 10 * 256), account=Account(cost_usd=1.0))
    with pytest.raises(JobFailed, match=r"budgetUSD .* is spent, partly by calls that failed") as caught:
        run(calls.call("worker", train(), TrainReply))
    assert (caught.value.reason, caught.value.version) == ("BudgetExceeded", 2)
    assert calls.account.invocations == 4


# Cells


def test_keys_to_remove_in_a_cell_travel_with_the_next_call_that_succeeds_there() -> None:
    garbage = CellGarbage(2)
    garbage.take_in(Leftovers(in_cells=[(0, "of cell 0"), (1, "of cell 1")]))
    sender = Script(InstanceLost("lost"), reply({"node": "here"}), reply(), reply())
    calls = caller(sender, garbage=garbage)

    async def scenario() -> None:
        await calls.call("worker", train(cell=1), TrainReply)
        await calls.call("worker", train(cell=1), TrainReply)
        await calls.call("worker", train(), TrainReply)

    run(scenario())
    assert [body.get("collect") for body in sender.bodies] == [["of cell 1"], ["of cell 1"], None, None]
    assert calls.take_tally().nodes == {1: "here"}
    assert garbage.take(0) == ["of cell 0"]
