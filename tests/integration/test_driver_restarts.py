"""What a driver that takes over still knows: the forecast, and why the one before had stopped."""

import itertools
from pathlib import Path

from helpers import virtual_loop
from helpers.functions import Functions
from helpers.jobs import Crash, Simulation, make_place, tiny_job
from helpers.tapped_store import Write

from sapflow.driver.driver import Driver
from sapflow.driver.plans import Environment
from sapflow.records.commits import INTERRUPTED


def test_a_driver_that_did_not_cut_the_data_itself_forecasts_all_the_same(tmp_path: Path) -> None:
    # Of a cut that an earlier driver asked for, nobody has told the model's arithmetic.
    place = make_place(tmp_path / "store", tiny_job(merge_structure=None))
    functions = Functions(place.store, 0, {}, 0.0, lambda write, after: None)
    driver = Driver(
        place.resolved, place.manifest, place.store, functions, environment=Environment(forward_flops=None)
    )
    outcome = virtual_loop.run(driver.run())
    forecast = place.commit(0).forecast
    assert forecast is not None
    assert forecast.seconds_per_step > 0
    assert "forecast" in outcome


def test_the_reason_of_a_driver_is_kept_where_only_an_evaluation_remains(tmp_path: Path) -> None:
    job = tiny_job()
    keys: list[str] = []

    def count(write: Write, after: bool) -> None:
        if not after:
            keys.append(write.key)

    Simulation(make_place(tmp_path / "whole", job), driver_failpoint=count).run()
    last = next(number for number, key in enumerate(keys) if key.endswith("evaluations/5.json"))
    place = make_place(tmp_path / "store", job)
    outcome = Simulation(place, crashes=[Crash(last, "before")]).run()
    assert outcome["version"] == 5
    assert outcome["resumed"] == INTERRUPTED
    assert all(each.measured.resumed is None for each in itertools.islice(place.commits(), 6))


def test_a_job_that_nothing_stopped_tells_of_no_other_driver(tmp_path: Path) -> None:
    assert "resumed" not in Simulation(make_place(tmp_path / "store", tiny_job())).run()
