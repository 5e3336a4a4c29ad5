"""The driver's walk through a preparation, with simulated preparers."""

import csv
import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import virtual_loop
from helpers.functions import Functions, requests
from helpers.packed import small_partitions
from helpers.preparations import (
    COLUMNS,
    STEPS,
    LinesReader,
    PreparationRun,
    flights,
    parts,
    prepared_job,
    raw_files,
)
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sapflow.data.cut import settle_files
from sapflow.data.manifest import block_key, decode_block
from sapflow.data.sampler import Reader
from sapflow.data.source_files import data_files
from sapflow.driver import preparation
from sapflow.driver.data_cut import cut_by_worker
from sapflow.driver.preparation import PreparedData
from sapflow.errors import InvocationError, JobFailed
from sapflow.objects import keys
from sapflow.objects.stores.factory import open_store
from sapflow.preparation.batch import Batch
from sapflow.preparation.fitted_file import of_file
from sapflow.preparation.reading.csv_reader import CsvReader
from sapflow.preparation.reading.reader import Asked
from sapflow.preparation.steps.split import SplitStep
from sapflow.records.commits import Account
from sapflow.spec.preparation.prepare import SplitSpec
from sapflow.spec.resolved import ResolvedJob
from sapflow.steps.observer import Observer, PreparedSoFar


def run_of(tmp_path: Path, job: Any = None, **changes: Any) -> PreparationRun:
    source = tmp_path / "raw"
    if not source.exists():
        flights(source, bad=changes.pop("bad", 0))
    return PreparationRun(tmp_path / "store", job or prepared_job(source), **changes)


def held_rows(source: Path, fraction: float, seed: int) -> np.ndarray:
    """bool [n]: which rows the split holds out, file by file and partition by partition."""
    reader, files = LinesReader(), raw_files(source)
    plan = reader.survey(files, raw_asked())
    split = SplitStep(SplitSpec(fraction=fraction), "late", seed).begin({})
    found = []
    for number in range(len(plan.partitions)):
        for parsed in reader.batches(files, plan, number):
            held = split.apply(parsed.batch).batch.held  # type: ignore[union-attr]
            assert held is not None
            found.append(held)
    return np.concatenate(found)


def raw_asked() -> Asked:
    return Asked({}, {"carrier": "Text", "note": "Text", "late": "Text"})


def test_prepared_samples_are_scikit_learns(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    manifest = run.run().manifest
    rows = [
        row
        for file in sorted((tmp_path / "raw").iterdir())
        for row in csv.DictReader(file.read_text().splitlines())
    ]
    held = held_rows(tmp_path / "raw", 0.2, 3)
    delay = np.array([[np.nan if row["delay"] == "NA" else float(row["delay"])] for row in rows])
    distance = np.array([[float(row["distance"])] for row in rows])
    carrier = np.array([[row["carrier"] or "~"] for row in rows], object)
    train = ~held
    filled = SimpleImputer(strategy="median").fit(delay[train]).transform(delay)
    numbers = np.hstack([filled, distance])
    scaled = StandardScaler().fit(numbers[train]).transform(numbers)
    hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False).fit(carrier[train]).transform(carrier)
    expected = {
        "delay": scaled[:, 0], "distance": scaled[:, 1], "delay_missing": np.isnan(delay)[:, 0].astype(float),
        **{f"carrier={name}": hot[:, place] for place, name in enumerate(["AA", "B6", "UA", "WN"])},
        "carrier is missing": hot[:, 4],
    }  # fmt: skip
    assert set(manifest.columns) == set(expected)
    assert (manifest.train_samples, manifest.validation_samples) == (train.sum(), held.sum())
    assert manifest.class_names == ("no", "yes")
    wanted = np.column_stack([expected[name] for name in manifest.columns])
    for part, mask in (("train", train), ("validation", held)):
        found = stored(run, manifest, part)
        order, other = np.lexsort(found.T), np.lexsort(wanted[mask].astype(np.float32).T)
        assert found[order] == pytest.approx(wanted[mask][other], abs=1e-6)


def stored(run: PreparationRun, manifest: Any, part: Any) -> np.ndarray:
    prefix = run.session.resolved.data_prefix
    found = []
    for index, count in enumerate(manifest.blocks(part)):
        key = block_key(prefix, part, index)
        found.append(decode_block(run.store.read(key), key, manifest, count)[0])
    return np.concatenate(found)


def test_features_of_raw_rows_are_those_of_training_bit_for_bit(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    manifest = run.run().manifest
    content = bytes(run.store.read(keys.fitted_preparation(run.session.resolved.data_prefix)))
    fitted = of_file(content, manifest.preparation, "it")
    reader, files = LinesReader(lines=1000, batch=7), raw_files(tmp_path / "raw")
    plan = reader.survey(files, raw_asked())
    applied = fitted.for_rows(["late"])
    found = []
    for number in range(len(plan.partitions)):
        for parsed in reader.batches(files, plan, number):
            columns = {name: each for name, each in parsed.batch.columns.items() if name != "late"}
            batch = Batch(columns, parsed.batch.numbers, number)
            found += [made.features for made in applied.of(batch)]
    everything = np.concatenate([stored(run, manifest, part) for part in ("train", "validation")])
    assert sorted(map(bytes, np.concatenate(found))) == sorted(map(bytes, everything))


def test_training_reads_prepared_data_as_it_reads_cut_data(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    manifest = run.run().manifest
    features, targets = Reader(run.store, run.session.resolved.data_prefix, manifest).range(
        0, manifest.validation_samples
    )
    assert features.shape == (manifest.validation_samples, 8)
    assert set(targets.tolist()) == {0, 1}


def test_prepared_data_is_found_again_by_another_job_of_the_same_source_and_steps(tmp_path: Path) -> None:
    run_of(tmp_path).run()
    job = prepared_job(tmp_path / "raw")
    other = job.model_copy(update={"metadata": job.metadata.model_copy(update={"name": "another"})})
    again = run_of(tmp_path, other)
    again.run()
    assert again.functions.log == []


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": [*STEPS[:-1], {"clip": {"columns": ["delay"], "max": 3}}, STEPS[-1]]},
        {"missing": ["NA", "", "x"]},
    ],
    ids=["a step more", "another word for missing"],
)
def test_other_steps_or_types_are_prepared_anew(tmp_path: Path, changes: dict[str, Any]) -> None:
    run_of(tmp_path).run()
    other = run_of(tmp_path, prepared_job(tmp_path / "raw", **changes))
    other.run()
    assert requests(other.functions.log, "finish")


def test_nothing_is_left_of_the_work_but_blocks_and_what_the_steps_have_learnt(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    run.run()
    folders = {name.partition("/")[0] for name in run.data()}
    assert folders == {
        "train",
        "validation",
        "manifest.json",
        "preparation.safetensors",
        "profile.safetensors",
    }


def test_what_an_interrupted_clearing_has_left_is_cleared_by_the_next_job(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    run.run()
    prefix = run.session.resolved.data_prefix
    left = [keys.preparation_plan(prefix, "survey"), keys.parsed(prefix, 0, 0)]
    for key in left:
        run.store.create(key, b"{}")
    again = run_of(tmp_path)
    again.run()
    assert [each.request["op"] for each in again.functions.log] == ["clear"]
    assert not any(run.store.exists(key) for key in left)


def test_too_many_bad_rows_fail_the_job_naming_the_first_ones_which_are_kept_aside(tmp_path: Path) -> None:
    run = run_of(tmp_path, bad=7)
    with pytest.raises(
        JobFailed, match=r"7 rows are bad, and maxBadRows allows 0 of 300: .*part-0.csv, line 2: .*2 more"
    ):
        run.run()
    rejected = [name for name in run.data() if name.startswith("rejected/")]
    assert len(rejected) == 1


def test_bad_rows_of_steps_are_told_with_file_and_line(tmp_path: Path) -> None:
    source = flights(tmp_path / "raw", rows=20)
    path = source / "part-1.csv"
    head, *rows = path.read_text().splitlines()
    cells = rows[6].split(",")
    path.write_text("\n".join([head, *rows[:6], ",".join(["soon", *cells[1:]]), *rows[7:]]) + "\n")
    steps = [{"cast": {"columns": ["delay"], "type": "Number"}}, *STEPS]
    columns = {**COLUMNS, "delay": "Text"}
    run = run_of(tmp_path, prepared_job(source, steps, columns=columns), parts=parts(CsvReader()))
    with pytest.raises(JobFailed, match=r"1 row is bad, .*part-1\.csv, line 8: column delay: .* \('soon'\)"):
        run.run()
    (kept,) = [name for name in run.data() if name.startswith("rejected/steps/")]
    found = json.loads((run.path / run.session.resolved.data_prefix / kept).read_text())
    assert (found["file"], found["line"], found["text"]) == (str(path), 8, "soon")


def test_bad_rows_within_the_limit_are_kept_aside_and_the_rest_is_prepared(tmp_path: Path) -> None:
    source = flights(tmp_path / "raw", bad=7)
    for allowed in ({"maxBadRows": 7}, {"maxBadShare": 0.03}):
        run = run_of(tmp_path, prepared_job(source, **allowed))
        manifest = run.run().manifest
        assert manifest.train_samples + manifest.validation_samples == 293
        assert [name for name in run.data() if name.startswith("rejected/reading/")]


def test_rows_that_a_step_cannot_take_are_told_with_the_column_and_the_reason(tmp_path: Path) -> None:
    steps = [*STEPS[:1], {"encode": {"columns": ["carrier"], "method": "Ordinal"}}, *STEPS[2:3], STEPS[-1]]
    run = run_of(tmp_path, prepared_job(flights(tmp_path / "raw"), steps))
    with pytest.raises(JobFailed, match="column delay: is missing after the last step: impute it"):
        run.run()


def test_a_step_that_fits_no_column_fails_before_anything_is_parsed(tmp_path: Path) -> None:
    steps = [{"scale": {"columns": ["dealy"], "method": "Standard"}}]
    run = run_of(tmp_path, prepared_job(flights(tmp_path / "raw"), steps))
    with pytest.raises(
        JobFailed, match=r"spec.data.prepare.steps\[0\].scale.columns: no column is called dealy"
    ):
        run.run()
    assert not requests(run.functions.log, "parse")


def test_an_observer_is_told_of_passes_partitions_and_rows(tmp_path: Path) -> None:
    told: list[PreparedSoFar] = []

    class Noted(Observer):
        def prepared(self, position: PreparedSoFar) -> None:
            told.append(position)

    run_of(tmp_path, observer=Noted()).run()
    assert told[0] == replace(told[0], done=0, partitions=6, rows=0, bad=0)
    assert told[-1] == replace(told[-1], done=6, partitions=6, rows=300)
    assert 0 < told[0].account.invocations < told[-1].account.invocations
    assert any("learning impute" in each.what for each in told)


def test_what_is_used_is_counted_and_at_most_so_many_calls_are_made_at_once(tmp_path: Path) -> None:
    run = run_of(tmp_path, at_once=3, parts=parts(LinesReader(lines=20)))
    account = run.run().account
    assert account.invocations == len(run.functions.log)
    assert account.cost_usd > 0
    assert run.functions.most == 3


def test_as_many_preparers_are_at_work_as_a_search_may_call(tmp_path: Path) -> None:
    run = run_of(tmp_path, parts=parts(LinesReader(lines=20)))
    assert run.job.spec.workers == 4
    work = cut_by_worker(run.session.settle(), run.store, run.functions, at_once=7)
    # Workers of a cluster do not see a path of this machine; preparers of this test do.
    with pytest.raises(JobFailed, match="cut of version 0 failed"):
        virtual_loop.run(work, expected=(InvocationError,))
    assert run.functions.most == 7


def test_a_source_that_changes_while_it_is_parsed_is_refused_and_nothing_says_that_it_is_done(
    tmp_path: Path,
) -> None:
    changed = tmp_path / "raw" / "part-1.csv"

    class Changing(LinesReader):
        def batches(self, files: Any, plan: Any, number: int, first: int = 0) -> Any:
            yield from super().batches(files, plan, number, first)
            changed.write_text(changed.read_text().replace("yes", "no"))

    run = run_of(tmp_path, parts=parts(Changing()))
    with pytest.raises(JobFailed, match=r"has changed while it was cut: .*part-1.csv"):
        run.run()
    prefix = run.session.resolved.data_prefix
    assert not run.store.exists(keys.parsed_facts(prefix, 0))


def test_data_of_a_job_alone_is_prepared_anew_where_its_source_has_changed(tmp_path: Path) -> None:
    source = flights(tmp_path / "raw")
    job = prepared_job(source)
    store = open_store(str(tmp_path / "store"))
    resolved = ResolvedJob(job, keys.job("alone"))
    assert resolved.area is None
    functions = Functions(store, preparers=parts())

    def prepared() -> int:
        settle_files(resolved, store, data_files(job.spec.data))
        return virtual_loop.run(preparation.prepare(resolved, store, functions)).manifest.train_samples

    first = prepared()
    assert prepared() == first
    assert len(requests(functions.log, "finish")) == 1
    flights(tmp_path / "other", rows=100, files=1)
    (source / "part-0.csv").write_text((tmp_path / "other" / "part-0.csv").read_text())
    assert prepared() < first


def test_a_budget_that_is_spent_ends_a_preparation_and_a_larger_one_goes_on(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    resolved, functions = run.session.settle(), run.functions

    def prepared(budget: float, account: Account | None = None) -> PreparedData:
        work = preparation.prepare(resolved, run.store, functions, account=account, budget=budget)
        return virtual_loop.run(work)

    with pytest.raises(
        JobFailed, match=r"spec\.limits\.budgetUSD \(1e-09\) is spent before the data"
    ) as caught:
        prepared(1e-9)
    assert caught.value.reason == "BudgetExceeded"
    assert len(requests(functions.log, "survey")) == 1
    assert not run.store.exists(keys.manifest(resolved.data_prefix))
    before = Account(seconds=5.0, cost_usd=0.25)
    found = prepared(1.0, before).account
    assert found.seconds >= 5.0
    assert 0.25 < found.cost_usd < 1.0


@pytest.mark.parametrize("scanned", [False, True])
def test_the_beginning_of_a_source_is_prepared_as_if_there_were_no_more(
    tmp_path: Path, scanned: bool
) -> None:
    lines = LinesReader(lines=40, scanned=scanned)
    run = run_of(tmp_path, parts=parts(lines))
    resolved = run.session.settle()
    work = preparation.prepare(resolved, run.store, run.functions, beginning=2)
    manifest = virtual_loop.run(work).manifest
    assert manifest.train_samples + manifest.validation_samples == manifest.raw_rows == 80
    assert manifest.preparation
    scans = requests(run.functions.log, "scan")
    assert sum(each["last"] - each["first"] for each in scans) == (3 if scanned else 0)
    assert not list(run.store.list(keys.preparation_work(resolved.data_prefix)))


@pytest.mark.parametrize("files", [1, 40])
def test_the_beginning_of_packed_files_is_prepared_as_that_of_files_that_are_not(
    tmp_path: Path, files: int
) -> None:
    flights(tmp_path / "raw", rows=20_000, files=files)
    (tmp_path / "packed").mkdir()
    for path in (tmp_path / "raw").iterdir():
        (tmp_path / "packed" / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    found = []
    with small_partitions(1 << 16, 1 << 14):
        for folder in ("raw", "packed"):
            run = run_of(tmp_path, prepared_job(tmp_path / folder), parts=parts(CsvReader()))
            work = preparation.prepare(run.session.settle(), run.store, run.functions, beginning=2)
            found.append(virtual_loop.run(work).manifest)
    plain, packed = found
    assert (packed.train, packed.validation) == (plain.train, plain.validation)
    indexes = requests(run.functions.log, "index")
    assert (len(indexes) == 1) if files == 1 else (1 < len(indexes) < files)
    assert len(requests(run.functions.log, "partition")) == 1
