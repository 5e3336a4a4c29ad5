"""What a job consumed before its first version counts in its account although drivers were stopped or killed."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from helpers import virtual_loop
from helpers.preparations import LinesReader, PreparationRun, flights, parts, prepared_job
from helpers.tapped_store import Killed, TappedStore, Write

from sapflow.driver import preparation
from sapflow.driver.data_cut import cut_by_worker
from sapflow.driver.early_account import GROWTH, EarlyAccount
from sapflow.errors import InvocationError, JobFailed
from sapflow.objects import keys
from sapflow.objects.stores.protocol import Store
from sapflow.quantities.prices import cost
from sapflow.quantities.roles import Role
from sapflow.records.commits import Account, Records
from sapflow.runtimes.sender import Answered
from sapflow.steps.observer import Observer

PREFIX = keys.job("u")


class Bill(Observer):
    """Adds up what answered calls have cost."""

    def __init__(self, run: PreparationRun) -> None:
        self._job, self.dollars, self.calls = run.job, 0.0, 0

    def answered(self, role: Role, op: str, answer: Answered[Any]) -> None:
        memory, cpus = self._job.memory_bytes[role], self._job.cpus[role]
        self.dollars += cost(self._job.price, memory, answer.seconds, cpus)
        self.calls += 1


def run_of(path: Path) -> PreparationRun:
    flights(path / "raw")
    return PreparationRun(path / "store", prepared_job(path / "raw"), parts=parts(LinesReader(lines=20)))


def prepared(run: PreparationRun, bill: Bill, store: Store | None = None, budget: float | None = None) -> Any:
    """One driver's preparation, from what earlier ones have recorded; `store` is the driver's own view of it."""

    async def main() -> Any:
        resolved = run.session.settle()
        kept = EarlyAccount(Records(store or run.store, resolved.prefix))
        return await preparation.prepare(
            resolved,
            store or run.store,
            run.functions,
            bill,
            at_once=2,
            account=await kept.read(),
            budget=budget,
            kept=kept,
        )

    return virtual_loop.run(main(), expected=(Killed,))


def killed_after(run: PreparationRun, bill: Bill, calls: int) -> None:
    """A driver that is gone, as by SIGKILL, when it writes its account after so many answers."""

    def failpoint(write: Write, after: bool) -> None:
        if after and write.kind == "create" and "running/" in write.key and bill.calls >= calls:
            raise Killed

    with pytest.raises(BaseException) as caught:
        prepared(run, bill, TappedStore(run.store, failpoint))
    assert isinstance(caught.value, Killed) or caught.group_contains(Killed)


@pytest.mark.parametrize("calls", [1, 4, 9])
def test_dollars_of_a_driver_that_was_killed_in_a_preparation_count_but_for_a_tenth(
    tmp_path: Path, calls: int
) -> None:
    run = run_of(tmp_path)
    first, second = Bill(run), Bill(run)
    killed_after(run, first, calls)
    account = prepared(run, second).account
    assert first.dollars > 0
    assert first.dollars / (1 + GROWTH) <= account.cost_usd - second.dollars <= first.dollars * 1.0001


def test_dollars_of_a_preparation_whose_budget_was_spent_count_in_full(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    first, second = Bill(run), Bill(run)
    with pytest.raises(JobFailed, match="budgetUSD"):
        prepared(run, first, budget=1e-9)
    account = prepared(run, second).account
    assert account.cost_usd == pytest.approx(first.dollars + second.dollars)
    assert account.invocations == first.calls + second.calls


def test_a_larger_budget_counts_what_runs_before_it_have_spent(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    with pytest.raises(JobFailed, match="budgetUSD"):
        prepared(run, Bill(run), budget=1e-9)
    again = Bill(run)
    with pytest.raises(JobFailed, match="budgetUSD"):
        prepared(run, again, budget=1e-9)
    assert again.calls == 0


def test_what_a_job_that_failed_after_its_preparation_has_cost_is_known_to_the_next_driver(
    tmp_path: Path,
) -> None:
    run = run_of(tmp_path)
    resolved = run.session.settle()
    known = EarlyAccount(Records(run.store, resolved.prefix))
    for _ in range(2):
        # Workers of a cluster do not see a path of this machine; preparers of this test do.
        with pytest.raises(JobFailed, match="cut of version 0 failed"):
            virtual_loop.run(cut_by_worker(resolved, run.store, run.functions), expected=(InvocationError,))
        assert asyncio.run(known.read()).invocations == len(run.functions.log)


def test_the_newer_of_two_records_counts_and_a_broken_one_does_not(directory_store: Store) -> None:
    records = Records(directory_store, PREFIX)

    async def keep(*accounts: Account) -> Account:
        kept = EarlyAccount(records)
        await kept.read()
        for account in accounts:
            await kept.keep(account)
        return await EarlyAccount(records).read()

    found = [Account(seconds=each, cost_usd=each / 10, invocations=each) for each in (1, 2, 3)]
    assert asyncio.run(keep()) == Account()
    assert asyncio.run(keep(*found)) == found[2]
    assert asyncio.run(keep()) == found[2]
    directory_store.delete([keys.early_account(PREFIX, 0)])
    directory_store.create(keys.early_account(PREFIX, 0), b"{")
    assert asyncio.run(keep()) == found[1]
