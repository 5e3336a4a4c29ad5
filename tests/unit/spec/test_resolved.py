"""The resolved job: one document, which driver and functions read, of this release and of the one before."""

import json
from typing import Any

import pytest
from helpers.jobs import document, tiny_job

from sapflow.client.session import uid_of
from sapflow.errors import SpecError
from sapflow.objects import keys
from sapflow.records.memory_search import SearchSettings
from sapflow.spec import resolved
from sapflow.spec.document import parse
from sapflow.spec.resolved import ResolvedJob
from sapflow.spec.training_job import CLUSTER_ONLY

PREFIX = keys.job("u1")
STORAGE = {
    "endpoint": "http://minio:9000",
    "bucket": "mine",
    "secretName": "keys",
    "deletionPolicy": "Delete",
}
CLUSTER: dict[str, Any] = {
    "model_image": "registry.example/mine:2",
    "memory": {"growOnOOM": True, "optimize": {"goal": "Cost"}},
    "cpu": {"merger": "500m"},
    "suspend": True,
    "ttlSecondsAfterFinished": 60,
    "storage": STORAGE,
}


def cluster_job() -> ResolvedJob:
    search = SearchSettings(goal="Cost", every_steps=10, max_updates=5, start=512, least=64, most=1024)
    body = document(**CLUSTER)
    del body["spec"]["model"]["name"]
    body["spec"]["model"] |= {"entrypoint": "mine:model"}
    body["spec"]["model"].pop("args", None)
    return ResolvedJob(parse(body, "kubernetes"), PREFIX, "kubernetes", search)


def again(job: ResolvedJob) -> ResolvedJob:
    """The job as it is read from what its JSON text says."""
    return resolved.read(json.loads(json.dumps(job.to_json())), job.prefix)


def test_every_field_that_only_a_cluster_honours_reaches_driver_and_functions_but_the_operators_own() -> None:
    found = again(cluster_job())
    assert (found.runtime, found.uid) == ("kubernetes", "u1")
    assert found.search == cluster_job().search
    spec, asked = found.job.spec, cluster_job().job.spec
    assert (spec.model, spec.memory, spec.cpu) == (asked.model, asked.memory, asked.cpu)
    assert (spec.suspend, spec.ttl_seconds_after_finished) == (False, None)
    assert spec.storage is not None
    assert (spec.storage.secret_name, spec.storage.deletion_policy) == (None, "Retain")


def test_what_was_read_is_written_the_same_again() -> None:
    for job in (cluster_job(), ResolvedJob(tiny_job(), PREFIX)):
        assert again(again(job)) == again(job)
        assert again(job).to_json() == job.to_json()


def test_a_local_jobs_document_is_its_yaml_with_all_defaults_and_its_uid_is_as_ever() -> None:
    # No field that a later release has brought, whose default may change the uid of no job.
    job = tiny_job(merge_channel=None)
    written = ResolvedJob(job, PREFIX).to_json()
    assert "runtime" not in written
    assert parse(written) == job
    assert uid_of(job) == uid_of(parse(written)) == "tiny-08642fcd"


def test_a_document_names_the_shared_area_of_its_data_and_is_fixed_on_it() -> None:
    job = ResolvedJob(tiny_job(), PREFIX, area="0a" * 16)
    assert again(job) == job
    assert job.data_prefix == f"shared/{'0a' * 16}/data/"
    assert resolved.area_of(job.to_json()) == job.area
    alone = ResolvedJob(tiny_job(), PREFIX)
    assert "sharedArea" not in alone.to_json()
    assert alone.data_prefix == f"{PREFIX}data/"
    assert resolved.fixed_fields(job.to_json()) != resolved.fixed_fields(alone.to_json())
    assert resolved.differences(alone.to_json(), job.to_json()) == ["sharedArea"]
    for wrong in ("../jobs/other", "0A" * 16, "0a" * 15, 7, ["0a" * 16]):
        with pytest.raises(SpecError, match="sharedArea"):
            resolved.read({**alone.to_json(), "sharedArea": wrong}, PREFIX)
        assert resolved.area_of({"sharedArea": wrong}) is None


def test_documents_of_the_release_before_are_read() -> None:
    local = tiny_job().to_json()
    assert resolved.read(local, PREFIX) == ResolvedJob(tiny_job(), PREFIX)
    # Its operator left out what a local run refuses, and wrote the uid of the TrainingJob.
    body = document()
    body["metadata"] |= {"namespace": "team", "uid": "0b7c6a0e-8a3e-4a53-9d4e-6a7f1a2b3c4d"}
    found = resolved.read(parse(body).to_json(), PREFIX)
    assert found.runtime == "kubernetes"
    assert found.job.spec == tiny_job().spec


def test_a_local_jobs_document_with_a_field_for_clusters_is_refused() -> None:
    written = cluster_job().to_json()
    del written["runtime"]
    with pytest.raises(SpecError) as caught:
        resolved.read(written, PREFIX)
    named = {path for path, _ in caught.value.problems}
    assert {"spec.model.image", "spec.cpu", "spec.memory.growOnOOM"} <= named & set(CLUSTER_ONLY)


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ({"runtime": "moon"}, "runtime"),
        ({"memorySearch": {"goal": "Speed"}}, "memorySearch.goal"),
        ({"invented": 1}, "invented"),
    ],
)
def test_what_this_release_does_not_know_is_refused_by_name(written: dict[str, Any], path: str) -> None:
    with pytest.raises(SpecError) as caught:
        resolved.read(cluster_job().to_json() | written, PREFIX)
    assert path in {path for path, _ in caught.value.problems}


def test_a_trials_job_is_called_by_its_search_and_number() -> None:
    trial = ResolvedJob(tiny_job(), keys.trial(PREFIX, 3))
    assert trial.uid == "u1/trials/3"
    assert keys.prefix_of(keys.spec(trial.prefix)) == trial.prefix
