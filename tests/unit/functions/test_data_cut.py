"""The `cut` operation: a worker cuts the data of a job whose driver cannot."""

import asyncio
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from helpers.functions import Functions
from helpers.jobs import document, tiny_job

from sapflow.data.chunks import Part
from sapflow.data.cut import cut, write_spec
from sapflow.data.manifest import block_key
from sapflow.driver.data_cut import cut_by_worker
from sapflow.errors import InvocationError, JobFailed
from sapflow.messages.requests import CutRequest
from sapflow.objects import keys
from sapflow.objects.stores.factory import open_store
from sapflow.objects.stores.protocol import Store
from sapflow.records.commits import Account
from sapflow.spec.document import parse
from sapflow.spec.resolved import ResolvedJob
from sapflow.spec.sources import beside
from sapflow.spec.training_job import Runtime, TrainingJob
from sapflow.timing import Timing
from sapflow_functions.roles import data_cut

PARTS: tuple[Part, ...] = ("train", "validation")


def resolved(job: TrainingJob, runtime: Runtime = "local") -> ResolvedJob:
    return ResolvedJob(job, keys.job("uid"), runtime)


def cut_on(store: Store, job: ResolvedJob) -> tuple[Any, Account, Functions]:
    functions = Functions(store)
    found = asyncio.run(cut_by_worker(job, store, functions))
    return found.manifest, found.account, functions


def test_a_worker_cuts_the_same_blocks_as_a_local_run(tmp_path: Path, directory_store: Store) -> None:
    job, local = resolved(tiny_job()), open_store(str(tmp_path / "local"))
    manifest, account, _ = cut_on(directory_store, job)
    assert manifest == cut(job, local)
    for part in PARTS:
        for index in range(len(manifest.blocks(part))):
            key = block_key(keys.data(keys.job("uid")), part, index)
            assert bytes(directory_store.read(key)) == bytes(local.read(key))
    assert account.invocations == 1
    assert account.cost_usd > 0


def test_data_that_is_cut_wakes_no_worker_and_its_cut_stays_in_the_account(directory_store: Store) -> None:
    first, spent, _ = cut_on(directory_store, resolved(tiny_job()))
    again, account, functions = cut_on(directory_store, resolved(tiny_job()))
    assert again == first
    assert functions.log == []
    assert account.invocations == 1
    assert account.cost_usd == spent.cost_usd


def test_data_in_a_shared_area_is_cut_once_and_every_job_is_checked_against_it(
    directory_store: Store,
) -> None:
    area = "0a" * 16

    def sharing(uid: str, **changes: Any) -> ResolvedJob:
        return ResolvedJob(tiny_job(**changes), keys.job(uid), area=area)

    first, _, _ = cut_on(directory_store, sharing("one"))
    prefix = keys.data(keys.area(area))
    blocks = {each.key for each in directory_store.list(keys.SHARED)}
    assert blocks == {f"{prefix}manifest.json", f"{prefix}train/0", f"{prefix}validation/0"}
    second, account, functions = cut_on(directory_store, sharing("two", optimizer_learningRate=0.2))
    assert second == first
    assert [call.request["op"] for call in functions.log] == ["cut"], "it checks the job"
    assert account.invocations == 1
    assert {each.key for each in directory_store.list(keys.SHARED)} == blocks
    assert not list(directory_store.list(keys.data(keys.job("two"))))
    with pytest.raises(JobFailed, match=r"spec\.model\.loss"):
        cut_on(directory_store, sharing("three", model_loss="MSE"))
    directory_store.create(keys.commit(keys.job("two"), 0), b"{}")
    _, account, functions = cut_on(directory_store, sharing("two", optimizer_learningRate=0.2))
    assert functions.log == [], "a job that has begun was checked before"
    assert account.invocations == 1


def test_the_answer_names_the_manifest_and_counts_the_samples(directory_store: Store) -> None:
    job = tiny_job()
    spec = write_spec(resolved(job), directory_store)
    request = CutRequest(job="uid", version=0, seconds_left=60, spec=spec)
    reply = data_cut.cut_for_job(directory_store, request, Timing(time.monotonic() + 60))
    assert (reply.done, reply.train, reply.validation) == (True, 120, 30)
    assert directory_store.exists(reply.manifest)


@pytest.mark.parametrize(
    ("changes", "reason", "words"),
    [
        ({"data_source": "sklearn:nothing"}, "InvalidData", "nothing"),
        (
            {"data_validation": {"source": "held.csv"}, "data_validationFraction": None},
            "InvalidData",
            r"spec\.data\.validation\.source 'held\.csv' is a path",
        ),
        ({"data_source": "some/folder"}, "InvalidData", "s3://bucket/prefix"),
        ({"model_loss": "MSE"}, "InvalidSpec", "spec.model.loss"),
        (
            {"model_args": {"hidden": [4000, 4000]}, "memory_worker": "128Mi"},
            "InvalidSpec",
            "spec.memory.worker",
        ),
    ],
)
def test_what_is_wrong_fails_the_job_in_the_workers_words(
    directory_store: Store, changes: dict[str, Any], reason: str, words: str
) -> None:
    with pytest.raises(JobFailed, match=words) as caught:
        cut_on(directory_store, resolved(tiny_job(**changes)))
    assert (caught.value.reason, caught.value.version) == (reason, -1)
    kept = json.loads(bytes(directory_store.read(keys.failure(keys.job("uid"), 0))))
    assert (kept["reason"], kept["message"]) == (reason, str(caught.value))


def test_too_little_memory_is_no_error_where_functions_are_given_more(directory_store: Store) -> None:
    spec = document(model_args={"hidden": [4000, 4000]}, memory_worker="128Mi", memory_growOnOOM=True)
    manifest, _, _ = cut_on(directory_store, resolved(parse(spec, "kubernetes"), "kubernetes"))
    assert manifest.train_samples == 120


def test_a_cut_that_takes_too_long_says_which_limit_to_raise(directory_store: Store) -> None:
    job = tiny_job(data_source="synthetic:binary", data_options={"samples": 5000})
    spec = write_spec(resolved(job), directory_store)
    request = CutRequest(job="uid", version=0, seconds_left=1, spec=spec)
    with pytest.raises(InvocationError, match=r"raise spec\.limits\.invocationSeconds") as caught:
        data_cut.cut_for_job(directory_store, request, Timing(time.monotonic()))
    assert not caught.value.retryable


def test_a_cut_is_given_up_when_the_instance_is_told_to_stop(directory_store: Store) -> None:
    job = tiny_job(data_source="synthetic:binary", data_options={"samples": 5000})
    spec = write_spec(resolved(job), directory_store)
    request = CutRequest(job="uid", version=0, seconds_left=1, spec=spec)
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(InvocationError) as caught:
        data_cut.cut_for_job(directory_store, request, Timing(time.monotonic() + 60, cancelled))
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("source", "store", "found"),
    [
        ("s3://data/cifar", "s3://b/p?endpoint=http://m:9000&region=eu", "s3://data/cifar?endpoint=http://m:9000&region=eu"),
        ("s3://data/cifar?endpoint=http://other", "s3://b?endpoint=http://m:9000", "s3://data/cifar?endpoint=http://other"),
        ("s3://data/cifar", "file:///store", "s3://data/cifar"),
    ],
)  # fmt: skip
def test_a_source_without_an_endpoint_is_where_the_store_is(source: str, store: str, found: str) -> None:
    assert beside(source, store) == found
