"""What a preparation takes is forecast once its first rows are parsed, and graded at its end."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from helpers import virtual_loop
from helpers.functions import requests
from helpers.preparations import LinesReader, PreparationRun, flights, parts, prepared_job
from helpers.tapped_store import Killed, TappedStore, Write

from sapflow.driver import preparation, preparation_forecast
from sapflow.driver.early_account import EarlyAccount
from sapflow.driver.preparation import PreparedData
from sapflow.objects.stores.protocol import Store
from sapflow.records.commits import Records
from sapflow.steps.observer import Observer


class Told(Observer):
    def __init__(self) -> None:
        self.said: list[Mapping[str, Any]] = []

    def preparation_forecast(self, said: Mapping[str, Any]) -> None:
        self.said.append(said)


def run_of(path: Path, lines: int = 10) -> PreparationRun:
    if not (path / "raw").exists():
        flights(path / "raw")
    return PreparationRun(path / "store", prepared_job(path / "raw"), parts=parts(LinesReader(lines=lines)))


def prepared(
    run: PreparationRun, told: Told, store: Store | None = None, *, kept: bool = True
) -> PreparedData:
    async def main() -> PreparedData:
        resolved = run.session.settle()
        early = EarlyAccount(Records(store or run.store, resolved.prefix))
        return await preparation.prepare(
            resolved,
            store or run.store,
            run.functions,
            told,
            at_once=2,
            account=await early.read(),
            kept=early if kept else None,
            recorded=True,
        )

    return virtual_loop.run(main(), expected=(Killed,))


def recorded(run: PreparationRun) -> dict[str, Any] | None:
    return asyncio.run(preparation_forecast.recorded(Records(run.store, run.session.resolved.prefix)))


def killed(run: PreparationRun, told: Told, before: str) -> None:
    """A driver that is gone, as by SIGKILL, before it writes such an object."""

    def failpoint(write: Write, after: bool) -> None:
        if not after and before in write.key:
            raise Killed

    with pytest.raises(BaseException) as caught:
        prepared(run, told, TappedStore(run.store, failpoint))
    assert isinstance(caught.value, Killed) or caught.group_contains(Killed)


def test_a_forecast_is_told_once_and_graded_by_what_was_measured(tmp_path: Path) -> None:
    run, told = run_of(tmp_path), Told()
    account = prepared(run, told).account
    first, last = told.said
    assert first["secondsRange"][0] < first["seconds"] < first["secondsRange"][1]
    assert first["costRange"][0] < first["costUSD"] < first["costRange"][1]
    assert "secondsError" not in first
    assert last["measuredSeconds"] == pytest.approx(account.seconds, rel=0.05, abs=0.1)
    assert last["secondsError"] == pytest.approx(first["seconds"] / last["measuredSeconds"] - 1)
    assert last["costError"] == pytest.approx(first["costUSD"] / last["measuredUSD"] - 1)
    assert {name: last[name] for name in first} == first
    assert recorded(run) == last


def test_data_that_is_found_prepared_has_no_forecast(tmp_path: Path) -> None:
    prepared(run_of(tmp_path), Told())
    job = prepared_job(tmp_path / "raw")
    other = job.model_copy(update={"metadata": job.metadata.model_copy(update={"name": "another"})})
    again, told = PreparationRun(tmp_path / "store", other, parts=parts(LinesReader(lines=10))), Told()
    prepared(again, told)
    assert told.said == []
    assert recorded(again) is None


def test_the_forecast_of_a_driver_that_died_is_graded_by_what_all_drivers_took(tmp_path: Path) -> None:
    run, first, second = run_of(tmp_path), Told(), Told()
    killed(run, first, "running/account-1")
    prepared(run, Told())
    # The driver may have died before or after its forecast, which follows from when it wrote its account.
    found = recorded(run)
    if not first.said:
        assert found is None
        return
    assert found is not None
    assert found["seconds"] == first.said[0]["seconds"]
    assert not second.said


def test_a_preparation_that_was_begun_without_a_forecast_gets_none(tmp_path: Path) -> None:
    run, told = run_of(tmp_path), Told()
    killed(run, Told(), "preparation/forecast")
    prepared(run, told)
    assert told.said == []
    assert recorded(run) is None


def test_without_an_account_of_all_drivers_only_the_whole_is_graded(tmp_path: Path) -> None:
    run, told = run_of(tmp_path), Told()

    def failpoint(write: Write, after: bool) -> None:
        if requests(run.functions.log, "write"):
            raise Killed

    with pytest.raises(BaseException) as caught:
        prepared(run, told, TappedStore(run.store, failpoint), kept=False)
    assert isinstance(caught.value, Killed) or caught.group_contains(Killed)
    again = Told()
    prepared(run, again, kept=False)
    assert all("secondsError" not in each for each in again.said)
