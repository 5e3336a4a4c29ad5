"""`sapflow plan` of a search with real processes, and the grade of the run that follows it."""

import json
from pathlib import Path
from typing import Any

import pytest
from helpers import commands
from helpers.search_runs import RATE, iris_search

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("forked_functions")]

HIDDEN = "spec.model.args.hidden"
SPACE: list[dict[str, Any]] = [
    {"path": RATE, "float": {"min": 0.01, "max": 1.0, "log": True}},
    {"path": HIDDEN, "categorical": {"choices": [[16], [1024, 1024]]}},
]


def digits_search(path: Path, **spec: Any) -> Path:
    """A small search on digits, in a file."""
    job = iris_search(parameters=SPACE, parallelTrials=2, **spec).to_json()
    template = job["spec"]["template"]["spec"]
    template["data"] |= {"source": "sklearn:digits", "batchSize": 32}
    template["algorithm"] = {"epochs": 2, "seed": 0}
    template["evaluation"] = {}
    job["spec"]["prune"] = {"name": "ASHA", "first": 1, "factor": 2}
    path.write_text(json.dumps(job))
    return path


def test_a_search_is_planned_run_and_its_forecast_graded(tmp_path: Path) -> None:
    file, store = digits_search(tmp_path / "tune.yaml"), tmp_path / "store"
    done = commands.here("plan", file, "--json")
    assert done.code == 0, done.err
    said = done.json
    assert list(tmp_path.iterdir()) == [file]
    assert said["cheapest"]["parameters"][HIDDEN] == [16]
    assert said["dearest"]["parameters"][HIDDEN] == [1024, 1024]
    assert [each["path"] for each in said["growth"]] == [HIDDEN]
    assert said["trials"]["begun"] == {"p10": 6, "p50": 6, "p90": 6}
    assert said["endedBy"] == {"Completed": 1.0}
    assert 0 < said["costUSD"]["p10"] < said["costUSD"]["p50"] < said["costUSD"]["p90"]

    ran = commands.here("run", file, "--store", store, "--json")
    assert ran.code == 0, ran.err
    outcome = ran.json
    events = [json.loads(line) for line in ran.err.splitlines() if line.startswith("{")]
    names = [each["event"] for each in events]
    assert names.index("forecast") < names.index("began")
    (told,) = [each for each in events if each["event"] == "forecast"]
    graded = outcome["forecast"]
    assert (graded["seconds"], graded["costUSD"]) == (told["seconds"], told["costUSD"])
    cost = graded["measuredUSD"]
    assert 0 < cost < outcome["account"]["costUSD"]
    assert graded["costError"] == pytest.approx(graded["costUSD"] / cost - 1)
    assert graded["secondsError"] == pytest.approx(graded["seconds"] / graded["measuredSeconds"] - 1)
    low, high = graded["costRange"]
    assert graded["costWithin"] == (low <= cost <= high)
    print(
        f"\nplan: {said['seconds']['p50']:.1f} s and ${said['costUSD']['p50']:.6f}; run's own: "
        f"{graded['seconds']:.1f} s and ${graded['costUSD']:.6f}; measured: {graded['measuredSeconds']:.1f} s and "
        f"${cost:.6f}"
    )

    (folder,) = store.glob("jobs/*")
    assert (folder / "forecast.json").exists()
    assert not (folder / "rehearsal").exists()
    found = commands.here("status", file, "--store", store)
    assert "too much of cost" in found.out or "too little of cost" in found.out
    again = commands.here("run", file, "--store", store, "--json")
    assert again.json == outcome


def test_a_search_in_a_cluster_is_planned_by_the_planner_s_constants(tmp_path: Path) -> None:
    file = digits_search(tmp_path / "tune.yaml", budgetUSD=1e-6)
    done = commands.here("plan", file, "--target", "kubernetes", "--instances", 3)
    assert done.code == 0, done.err
    assert "kubernetes" in done.out.splitlines()[0]
    assert "Knative" in done.out
    assert "3 calls at work" in done.out
    assert "It ends by spec.budgetUSD" in done.out


def test_a_template_that_cannot_be_trained_is_refused_by_its_field(tmp_path: Path) -> None:
    file = digits_search(tmp_path / "tune.yaml")
    job = json.loads(file.read_text())
    job["spec"]["template"]["spec"]["memory"] = {"worker": "64Mi", "merger": "256Mi"}
    file.write_text(json.dumps(job))
    done = commands.here("plan", file)
    assert done.code == 2
    assert "spec.template.spec.memory.worker" in done.err
