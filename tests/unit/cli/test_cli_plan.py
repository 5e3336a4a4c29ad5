"""`sapflow plan`: a job's merge trees, predicted before anything starts."""

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.commands import Shell, write_job
from helpers.jobs import document, tiny_job
from helpers.search_runs import iris_search

from sapflow import models
from sapflow.cli.plan import draw
from sapflow.data.blocks import Manifest
from sapflow.errors import SpecError
from sapflow.planning import workload
from sapflow.planning.constants import KNATIVE, LOCAL_DIRECTORY, LOCAL_MINIO
from sapflow.spec.document import parse
from sapflow.training import estimate


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


def size(**changes: Any) -> workload.Size:
    found = {"parameters": 10_000, "averaged": 0, "slots": 1, "forward_flops": 20_000}
    return workload.Size(**{**found, **changes})


def test_a_plan_shows_candidates_the_job_s_own_and_the_tree(shell: Shell, tmp_path: Path) -> None:
    path = write_job(tmp_path / "job.yaml", workers=8, merge_structure=[1, 2, 3, 8])
    done = shell("plan", path, "--candidates", 2, "--instances", 100)
    assert (done.code, done.err) == (0, "")
    assert "tiny: 8 workers, 5 steps, local" in done.out
    lines = done.out.splitlines()
    head = next(index for index, line in enumerate(lines) if "bottleneck" in line)
    assert lines[head].split()[:2] == ["structure", "shards"]
    rows = lines[head + 1 : head + 4]
    assert [line.lstrip().startswith("*") for line in rows] == [False, False, True]
    assert "[1, 2, 3, 8]" in rows[2]
    rest = "the planner's choice: least time, and once more from its own first steps"
    said = f"merge.structure asks for it; the rest is {rest}"
    assert f"* what the job runs: {said}" in lines
    assert lines[-1].endswith("8 workers")
    assert list(tmp_path.iterdir()) == [path]


def test_a_plan_for_machines_has_all_figures(shell: Shell, tmp_path: Path) -> None:
    path = write_job(tmp_path / "job.yaml", algorithm_steps=None, algorithm_epochs=2, merge_structure=None)
    body = shell("plan", path, "--json", "--simulate", "--instances", 9, "--candidates", 4).json
    assert body["steps"] == 2 * 4
    assert body["model"]["parameters"] == 4 * 8 + 8 + 8 * 3 + 3
    assert body["model"]["forwardFlops"] == 2 * (4 * 8 + 8 * 3)
    assert body["asked"] == {"structure": None, "shards": None, "fits": True}
    assert [each["own"] for each in body["candidates"]] == [True, False]
    for each in body["candidates"]:
        assert each["seconds"] == pytest.approx(8 * each["secondsPerStep"])
        assert each["dollars"] == pytest.approx(8 * each["dollarsPerStep"])
        assert each["secondsPerStep"] == pytest.approx(sum(each["parts"].values()))
        assert each["simulatedSecondsPerStep"] == pytest.approx(each["secondsPerStep"], rel=0.1)


def test_a_plan_of_a_job_with_affinity_shows_its_cells_and_what_they_spare(
    shell: Shell, tmp_path: Path
) -> None:
    affinity = [
        {"from": "Worker", "to": "Merger", "weight": 100},
        {"from": "Merger", "to": "Root", "weight": 50},
    ]
    path = write_job(
        tmp_path / "job.yaml",
        workers=8,
        merge_structure=[1, 2, 8],
        merge_shards=1,
        affinity=affinity,
        placement_cells=2,
    )
    body = shell("plan", path, "--json").json
    vector = 4 * body["model"]["parameters"]
    # One of ten edges crosses, written and read. Parameters and momentum are written, parameters read in one more cell.
    assert body["placement"] == {
        "cells": 2,
        "workers": [4, 4],
        "edges": 10,
        "crossing": 1,
        "bytesThroughStore": 5 * vector,
        "bytesThroughStoreWithoutCells": 2 * 10 * vector + 8 * vector + 2 * vector,
    }
    lines = [line.strip() for line in shell("plan", path).out.splitlines()]
    assert "cells      2: 4 + 4 workers; 1 of 10 edges cross" in lines
    assert "1.3 KiB a step through the store, 7.9 KiB without cells; seconds are predicted without" in lines
    affine = {"workers": 8, "merge_structure": [1, 2, 8], "affinity": affinity}
    unknown = write_job(tmp_path / "unknown.yaml", **affine)
    lines = [line.strip() for line in shell("plan", unknown, "--target", "kubernetes").out.splitlines()]
    assert "cells      one a schedulable node: name placement.cells to see what that spares" in lines
    small = write_job(tmp_path / "small.yaml", **affine, placement={"cells": 2, "memoryPerCell": "1Gi"})
    done = shell("plan", small)
    assert (done.code, done.out) == (2, "")
    assert "raise placement.cells or placement.workersPerCell" in done.err
    assert "placement" not in shell("plan", write_job(tmp_path / "other.yaml"), "--json").json


def test_dollars_can_be_what_is_best(shell: Shell, tmp_path: Path) -> None:
    path = write_job(tmp_path / "job.yaml", workers=100, merge_structure=[1, 10, 100])
    body = shell("plan", path, "--json", "--instances", 1000, "--candidates", 3, "--by", "dollars").json
    cheap, own = body["candidates"][0], body["candidates"][-1]
    assert own["own"]
    assert own["secondsPerStep"] < cheap["secondsPerStep"]
    assert own["dollarsPerStep"] > cheap["dollarsPerStep"]


def test_steps_of_data_that_is_not_read_whole_are_unknown(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sapflow.data.survey.MAX_BYTES", 1000)
    path = write_job(
        tmp_path / "job.yaml", data_source="synthetic:binary", algorithm_steps=None, algorithm_epochs=1
    )
    body = shell("plan", path, "--json").json
    assert body["steps"] is None
    assert "seconds" not in body["candidates"][0]


def test_a_cluster_s_job_is_planned_with_a_cluster_s_constants(shell: Shell, tmp_path: Path) -> None:
    path = write_job(tmp_path / "job.yaml", cpu_worker="500m", memory_growOnOOM=True)
    assert shell("plan", path).code == 2
    body = shell("plan", path, "--target", "kubernetes", "--json").json
    assert (body["target"], body["constants"]) == ("kubernetes", KNATIVE.origin)
    assert body["instances"] is None


def test_a_model_that_no_merger_can_hold_is_refused(shell: Shell, tmp_path: Path) -> None:
    path = write_job(tmp_path / "job.yaml", model_args={"hidden": [8000, 8000]}, memory_worker="8Gi")
    done = shell("plan", path)
    assert done.code == 2
    assert "spec.memory.merger" in done.err
    assert "whatever the structure" in done.err


def test_more_shards_make_room_for_the_root(shell: Shell, tmp_path: Path) -> None:
    # The sum of 12 M parameters and the export fit; the root's parameters and two vectors beside them do not.
    path = write_job(
        tmp_path / "job.yaml",
        model_args={"hidden": [3460, 3460]},
        memory={"worker": "2Gi", "merger": "128Mi"},
        optimizer={"name": "Adam", "learningRate": 0.1},
        merge_shards=1,
    )
    body = shell("plan", path, "--json").json
    proposed = [each for each in body["candidates"] if not each["own"]]
    assert min(each["shards"] for each in proposed) > 1
    assert body["data"]["bytesPerWorkerAndStep"] > 0
    assert all(each["parts"]["data"] == body["data"]["secondsPerStep"] > 0 for each in proposed)
    assert body["asked"]["fits"] is False


def test_an_optimizer_that_needs_whole_tensors_is_planned_with_one_shard(
    shell: Shell, tmp_path: Path
) -> None:
    large = {"model_args": {"hidden": [500, 500]}, "merge_structure": None, "optimizer_momentum": None}
    free = shell("plan", write_job(tmp_path / "free.yaml", **large), "--json").json
    whole = shell("plan", write_job(tmp_path / "whole.yaml", **large, optimizer_name="LAMB"), "--json").json
    assert {each["shards"] for each in free["candidates"]} > {1}
    assert {each["shards"] for each in whole["candidates"]} == {1}


def test_a_worker_without_enough_memory_is_told_and_one_that_may_grow_is_not() -> None:
    manifest = Manifest("test", "classification", (4,), "float32", (), 3, (120,), (30,))
    with pytest.raises(SpecError, match=r"spec\.memory\.worker: 128\.0 MiB is below"):
        estimate.measure(tiny_job(memory_worker="128Mi"), manifest)
    growing = parse(document(memory_worker="128Mi", memory_growOnOOM=True), "kubernetes")
    assert estimate.measure(growing, manifest).parameters == 67


def test_asynchronous_jobs_have_no_tree_to_plan(shell: Shell, tmp_path: Path) -> None:
    path = write_job(tmp_path / "job.yaml", algorithm_mode="Async", merge_structure=None)
    done = shell("plan", path)
    assert done.code == 2
    assert "spec.algorithm.mode: Async has one root" in done.err


@pytest.mark.parametrize("flags", [("--candidates", "0"), ("--instances", "-1"), ("--by", "hope")])
def test_flags_that_make_no_sense_are_refused(flags: tuple[str, str], shell: Shell, tmp_path: Path) -> None:
    assert shell("plan", write_job(tmp_path / "job.yaml"), *flags).code == 2


def test_a_drawing_has_a_line_a_level_and_elides_what_is_many() -> None:
    lines = draw((1, 5, 22, 100))
    assert [line.split("   ")[-1].strip() for line in lines] == [
        "root, sums 5",
        "5 mergers, each sums 4 or 5",
        "22 mergers, each sums 4 or 5",
        "100 workers",
    ]
    assert [line.count("●") for line in lines] == [1, 5, 16, 16]
    assert ["…" in line for line in lines] == [False, False, True, True]
    assert draw((1, 1)) == ["●   root, sums 1", "●   1 worker"]


def test_constants_follow_runtime_and_store() -> None:
    assert workload.constants_of(".sapflow", "local") is LOCAL_DIRECTORY
    assert workload.constants_of("file:///data/sapflow", "local") is LOCAL_DIRECTORY
    assert workload.constants_of("s3://jobs?endpoint=http://store:9000", "local") is LOCAL_MINIO
    assert workload.constants_of("s3://jobs?endpoint=http://store:9000", "kubernetes") is KNATIVE


def test_computing_follows_arithmetic_batch_and_cpus() -> None:
    def computing(runtime: Any = "local", **changes: Any) -> float:
        job = parse(document(**changes), runtime)
        return workload.work_of(job, size(), KNATIVE, runtime, None).compute_seconds

    one = 3 * 20_000 * 8 * KNATIVE.flop
    assert computing() == pytest.approx(one)
    assert computing(data_batchSize=16, algorithm_localSteps=3) == pytest.approx(6 * one)
    assert computing(threads=2) == pytest.approx(one / 2)
    assert computing("kubernetes", cpu_worker="250m") == pytest.approx(4 * one)
    assert computing("kubernetes", cpu_worker="2") == pytest.approx(one)
    assert computing("kubernetes") == pytest.approx(one), "512 MiB may use one CPU, as any"
    by_memory = {"cpu_policy": "ByMemory", "memory_worker": "1769Mi"}
    assert computing("kubernetes", **by_memory) == pytest.approx(one)
    halved = by_memory | {"memory_worker": "885Mi"}
    assert computing("kubernetes", **halved) == pytest.approx(2 * one, rel=0.01)


def test_the_bill_follows_memory_and_named_limits_whatever_a_function_may_use() -> None:
    def billed(**changes: Any) -> tuple[float | None, float | None]:
        job = parse(document(**changes), "kubernetes")
        return workload.work_of(job, size(), KNATIVE, "kubernetes", None).cpu_limits

    assert billed() == billed(cpu_policy="ByMemory") == (None, None)
    assert billed(cpu_worker="2") == (2.0, None)


def test_a_policy_for_cpu_needs_a_function_that_names_no_limit() -> None:
    parse(document(cpu_policy="ByMemory", cpu_worker="1"), "kubernetes")
    with pytest.raises(SpecError, match=r"leave out cpu\.worker or cpu\.merger"):
        parse(document(cpu_policy="ByMemory", cpu_worker="1", cpu_merger="1"), "kubernetes")
    with pytest.raises(SpecError, match=r"spec\.cpu"):
        parse(document(cpu_policy="ByMemory"), "local")


def test_what_travels_beside_the_parameters_is_counted() -> None:
    manifest = Manifest("test", "classification", (4,), "float32", (), 3, (120,), (30,))
    plain = estimate.measure(tiny_job(), manifest)
    local = {"algorithm_localSteps": 2, "algorithm_localState": "Average"}
    travelling = estimate.measure(tiny_job(**local), manifest)
    statistics = estimate.measure(tiny_job(model_args={"hidden": [8], "batchNorm": True}), manifest)
    assert (plain.averaged, plain.slots) == (0, 1)
    assert (travelling.averaged, travelling.slots) == (travelling.parameters, 0)
    assert statistics.averaged == 16


def test_arithmetic_of_convolutions_is_counted_by_position() -> None:
    mlp = models.forward_flops("mlp", {"hidden": [100] * 5}, inputs=(20,), outputs=1)
    assert mlp == 2 * (20 * 100 + 4 * 100 * 100 + 100)
    cnn = models.forward_flops("cnn", {}, inputs=(3, 24, 24), outputs=10)
    assert cnn > 10 * estimate_of_cnn()


def estimate_of_cnn() -> int:
    facts, _ = models.examine("cnn", {}, inputs=(3, 24, 24), outputs=10)
    return facts.parameters


@pytest.mark.parametrize("option", [("--candidates", 3), ("--by", "dollars"), ("--simulate",)])
def test_options_about_merge_trees_are_refused_for_a_search(
    shell: Shell, tmp_path: Path, option: tuple[Any, ...]
) -> None:
    path = tmp_path / "tune.yaml"
    path.write_text(json.dumps(iris_search().to_json()))
    done = shell("plan", path, *option)
    assert (done.code, done.out) == (2, "")
    assert f"{option[0]}: is for a TrainingJob" in done.err


def test_what_is_wrong_with_a_search_is_named_before_anything_starts(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "tune.yaml"
    job = iris_search().to_json()
    job["spec"]["maxWorkers"] = 0
    path.write_text(json.dumps(job))
    done = shell("plan", path)
    assert done.code == 2
    assert "spec.maxWorkers" in done.err
    assert str(path) in done.err
